package emulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// GBS file (spec 3.2): magic, metadata length, metadata (JSON), payload up to the end of the file.
const (
	gbsMagic       = "XeonFPGA\xb7GBSv001"
	gbsHeaderSize  = 20
	gbsMaxMetadata = 4095
)

// maxPayload bounds what GBS makes in memory, in bytes: twice what readers of the format take by default.
const maxPayload = 1 << 30

// gbsMetadata holds the fields of the metadata that say what a bitstream is.
type gbsMetadata struct {
	Version  int    `json:"version"`
	Platform string `json:"platform-name,omitempty"`
	Image    struct {
		Interface string       `json:"interface-uuid"`
		MagicNo   int          `json:"magic-no"`
		Power     int          `json:"power"`
		High      int          `json:"clock-frequency-high"`
		Low       int          `json:"clock-frequency-low"`
		Clusters  []gbsCluster `json:"accelerator-clusters"`
	} `json:"afu-image"`
}

type gbsCluster struct {
	Name     string `json:"name"`
	Contexts int    `json:"total-contexts"`
	Type     string `json:"accelerator-type-uuid"`
}

// GBS makes a valid bitstream file for the interface and function. Its payload has size bytes which depend on the two
// ids only, so equal arguments give equal files and different functions different payloads.
func GBS(iface, afu string, size int) ([]byte, error) {
	iface, err := parseID(iface)
	if err != nil {
		return nil, fmt.Errorf("interface %w", err)
	}
	if afu, err = parseID(afu); err != nil {
		return nil, fmt.Errorf("afu %w", err)
	}
	if size < 1 || size > maxPayload {
		return nil, fmt.Errorf("payload of %d bytes: want 1 to %d", size, maxPayload)
	}
	m := gbsMetadata{Version: 1, Platform: "DCP"}
	m.Image.Interface, m.Image.MagicNo = dashed(iface), 488605312
	m.Image.High, m.Image.Low = 312, 156
	m.Image.Clusters = []gbsCluster{{Name: "emulated", Contexts: 1, Type: dashed(afu)}}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, gbsHeaderSize+len(text)+size+sha256.Size)
	out = append(out, gbsMagic...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(text)))
	out = append(out, text...)
	return appendPayload(out, iface+afu, size), nil
}

// appendPayload appends a stream of hashes of seed: it neither compresses nor repeats, like real configuration data.
func appendPayload(out []byte, seed string, size int) []byte {
	end := len(out) + size
	for block := uint64(0); len(out) < end; block++ {
		sum := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte(seed), block))
		out = append(out, sum[:]...)
	}
	return out[:end]
}

func dashed(id string) string {
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// gbsHead is what the head of a GBS says; the payload is the rest of the stream.
type gbsHead struct {
	iface, afu string
	offset     int64 // of the payload
}

// readGBSHead reads the head and leaves r at the payload.
func readGBSHead(r io.Reader) (gbsHead, error) {
	var head [gbsHeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return gbsHead{}, fmt.Errorf("gbs header: %w", err)
	}
	if string(head[:16]) != gbsMagic {
		return gbsHead{}, errors.New("gbs header: wrong magic")
	}
	n := binary.LittleEndian.Uint32(head[16:])
	if n < 1 || n > gbsMaxMetadata {
		return gbsHead{}, fmt.Errorf("gbs metadata of %d bytes", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return gbsHead{}, fmt.Errorf("gbs metadata: %w", err)
	}
	var m struct {
		Image struct {
			Interface string `json:"interface-uuid"`
			Clusters  []struct {
				Type string `json:"accelerator-type-uuid"`
			} `json:"accelerator-clusters"`
		} `json:"afu-image"`
	}
	// A decoder, not Unmarshal: only the first JSON value counts, what follows it is padding.
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&m); err != nil {
		return gbsHead{}, fmt.Errorf("gbs metadata: %w", err)
	}
	if len(m.Image.Clusters) != 1 {
		return gbsHead{}, fmt.Errorf("gbs metadata: %d accelerator clusters, want 1", len(m.Image.Clusters))
	}
	h := gbsHead{offset: gbsHeaderSize + int64(n)}
	var err error
	if h.iface, err = parseID(m.Image.Interface); err != nil {
		return gbsHead{}, fmt.Errorf("gbs interface: %w", err)
	}
	if h.afu, err = parseID(m.Image.Clusters[0].Type); err != nil {
		return gbsHead{}, fmt.Errorf("gbs afu: %w", err)
	}
	return h, nil
}
