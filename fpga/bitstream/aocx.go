package bitstream

import (
	"bufio"
	"compress/gzip"
	"io"
	"strings"

	"github.com/inlay-project/inlay/fpga"
)

// Sections of an AOCX file, spec section 3.3.
const (
	sectionBin     = ".acl.fpga.bin" // an ELF file with sectionGBS
	sectionGBS     = ".acl.gbs.gz"
	sectionHash    = ".acl.rand_hash"
	sectionBoard   = ".acl.board"
	sectionTarget  = ".acl.target"
	sectionVersion = ".acl.version"
)

const (
	maxText = 64 << 10 // bytes of a text section
	// gzipPeek is how much of the gzip stream a check of the header reads: a GBS head is 4115 bytes.
	gzipPeek = 64 << 10
	// gzipSlack is what gzip may add to content that does not compress: 5 bytes in each 64 KiB and the headers.
	gzipSlack = 1 << 20
)

// aocx is an AOCX file's outside: nothing is gunzipped yet.
type aocx struct {
	hash                   fpga.FunctionID // "" if the section is missing or empty
	board, target, version string
	gz                     section
	programmable           bool // there is a .acl.fpga.bin
}

// errNothing: such a file can be shown but not programmed.
func errNothing() error { return invalid("no section %s: nothing to program", sectionBin) }

func readAOCX(src io.ReaderAt, length int64) (aocx, error) {
	outer, err := findSections(src, length, sectionBin, sectionHash, sectionBoard, sectionTarget, sectionVersion)
	if err != nil {
		return aocx{}, err
	}
	var a aocx
	var hash string
	for name, field := range map[string]*string{
		sectionHash: &hash, sectionBoard: &a.board, sectionTarget: &a.target, sectionVersion: &a.version,
	} {
		if *field, err = text(name, outer); err != nil {
			return aocx{}, err
		}
	}
	if hash != "" {
		if a.hash, err = fpga.ParseFunctionID(hash); err != nil {
			return aocx{}, invalid("section %s: %w", sectionHash, err)
		}
	}
	bin, there := outer[sectionBin]
	if !there {
		return a, nil
	}
	inner, err := findSections(bin, bin.Size(), sectionGBS)
	if err != nil {
		return aocx{}, within(sectionBin, err)
	}
	a.gz, a.programmable = inner[sectionGBS]
	if !a.programmable {
		return aocx{}, invalid("section %s: no section %s", sectionBin, sectionGBS)
	}
	return a, nil
}

// text reads a section of a few words; one that is missing is "".
func text(name string, sections map[string]section) (string, error) {
	s, there := sections[name]
	if !there {
		return "", nil
	}
	if s.Size() > maxText {
		return "", invalid("section %s: %d bytes of text, the limit is %d", name, s.Size(), maxText)
	}
	b, err := io.ReadAll(s)
	if err != nil {
		return "", err
	}
	return strings.Trim(string(b), " \t\r\n\x00"), nil
}

// peek reads the head of the GBS file inside, from the first gzipPeek bytes of the stream.
func (a aocx) peek() (head, error) {
	z, err := gzip.NewReader(bufio.NewReader(io.NewSectionReader(a.gz, 0, min(a.gz.Size(), gzipPeek))))
	if err != nil {
		return head{}, within(sectionGBS, err)
	}
	h, err := readHead(z)
	if err != nil {
		return head{}, within(sectionGBS, err)
	}
	return h, nil
}

// unpack gunzips the GBS file inside into a buffer of its own, verifying gzip's checksum to the end. The buffer is
// the caller's to release.
func (a aocx) unpack(most int64) (*buffer, head, error) {
	if a.gz.Size() > most+gzipSlack {
		return nil, head{}, fail(ErrTooLarge, "section %s: %d bytes, the limit is %d", sectionGBS, a.gz.Size(), most)
	}
	z, err := gzip.NewReader(bufio.NewReaderSize(a.gz, 64<<10))
	if err != nil {
		return nil, head{}, within(sectionGBS, err)
	}
	// The head first: what is no GBS file is refused before it is unpacked.
	h, err := a.peek()
	if err != nil {
		return nil, head{}, err
	}
	b, err := newBuffer(h.payloadAt + most)
	if err != nil {
		return nil, head{}, err
	}
	if err := b.fill(z); err != nil {
		_ = b.release() // what fill says is the cause
		return nil, head{}, err
	}
	return b, h, nil
}
