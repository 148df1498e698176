package bitstream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"

	"github.com/inlay-project/inlay/fpga"
)

// The layout of a GBS file, spec section 3.2.
const (
	magic       = "XeonFPGA\xb7GBSv001"
	headerSize  = len(magic) + 4
	maxMetadata = 4095
	maxHead     = headerSize + maxMetadata
)

// head is what stands before a GBS file's payload.
type head struct {
	iface     fpga.InterfaceID
	afu       fpga.AFUID
	payloadAt int64
}

// metadata holds the fields that are used; they must be there and of the right type. Others may be anything.
type metadata struct {
	Image struct {
		Interface string `json:"interface-uuid"`
		Clusters  []struct {
			AFU string `json:"accelerator-type-uuid"`
		} `json:"accelerator-clusters"`
	} `json:"afu-image"`
}

// readHead reads a GBS file's header and metadata, at most maxHead bytes.
func readHead(r io.Reader) (head, error) {
	var buf [maxHead]byte
	if n, err := io.ReadFull(r, buf[:headerSize]); err != nil {
		return head{}, short(err, "header: %d bytes of %d", n, headerSize)
	}
	if string(buf[:len(magic)]) != magic {
		return head{}, invalid("header: no GBS magic")
	}
	size := binary.LittleEndian.Uint32(buf[len(magic):])
	if size < 1 || size > maxMetadata {
		return head{}, invalid("header: metadata length %d is not 1 to %d", size, maxMetadata)
	}
	text := buf[headerSize : headerSize+int(size)]
	if n, err := io.ReadFull(r, text); err != nil {
		return head{}, short(err, "metadata: %d bytes of %d", n, size)
	}
	h, err := parseMetadata(text)
	h.payloadAt = int64(headerSize) + int64(size)
	return h, err
}

// short tells a file that ends too early from one that cannot be read.
func short(err error, format string, args ...any) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid(format, args...)
	}
	return err
}

func parseMetadata(text []byte) (head, error) {
	// The first JSON value counts; what follows it is padding.
	var m metadata
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&m); err != nil {
		return head{}, invalid("metadata: %w", err)
	}
	if n := len(m.Image.Clusters); n != 1 {
		return head{}, invalid("metadata: %d accelerator clusters instead of one", n)
	}
	iface, err := fpga.ParseInterfaceID(m.Image.Interface)
	if err != nil {
		return head{}, invalid("metadata: %w", err)
	}
	afu, err := fpga.ParseAFUID(m.Image.Clusters[0].AFU)
	if err != nil {
		return head{}, invalid("metadata: %w", err)
	}
	return head{iface: iface, afu: afu}, nil
}

// payloadSize checks what is left after the head of a GBS file of that size.
func (h head) payloadSize(size, most int64) (int64, error) {
	switch left := size - h.payloadAt; {
	case left <= 0:
		return 0, invalid("no payload")
	case left > most:
		return 0, fail(ErrTooLarge, "payload of %d bytes, the limit is %d", left, most)
	default:
		return left, nil
	}
}
