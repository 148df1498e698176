package bitstream

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// bufferStep is by how much a buffer grows. A page that was not written costs no memory.
const bufferStep = 4 << 20

// buffer is one anonymous mapping that grows in place up to its limit: address space is reserved for the limit and
// made writable as the content comes, so nothing is copied twice and a limit of 512 MiB costs nothing by itself, also
// where the kernel does not overcommit.
type buffer struct {
	mem   []byte // reserved, page multiple
	limit int64  // content is refused beyond
	open  int64  // writable so far
	used  int64
}

func newBuffer(limit int64) (*buffer, error) {
	page := int64(os.Getpagesize())
	size := (limit + page - 1) / page * page
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	return &buffer{mem: mem, limit: limit}, nil
}

func (b *buffer) grow() error {
	end := min(b.open+bufferStep, int64(len(b.mem)))
	if err := unix.Mprotect(b.mem[b.open:end], unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return fmt.Errorf("memory for %d bytes: %w", end, err)
	}
	b.open = end
	return nil
}

// fill reads the gunzipped stream to its end.
func (b *buffer) fill(r io.Reader) error {
	for {
		if b.used == b.limit {
			return b.mustEnd(r)
		}
		if b.used == b.open {
			if err := b.grow(); err != nil {
				return err
			}
		}
		n, err := r.Read(b.mem[b.used:min(b.open, b.limit)])
		b.used += int64(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return within(sectionGBS, err)
		}
	}
}

// mustEnd reads on to the end of a stream that has filled the buffer, which is also where gzip's checksum is tested.
func (b *buffer) mustEnd(r io.Reader) error {
	var one [1]byte
	switch _, err := io.ReadFull(r, one[:]); err {
	case io.EOF:
		return nil
	case nil:
		return fail(ErrTooLarge, "section %s: unpacks to more than %d bytes", sectionGBS, b.limit)
	default:
		return within(sectionGBS, err)
	}
}

func (b *buffer) content() []byte { return b.mem[:b.used] }

func (b *buffer) release() error {
	if b.mem == nil {
		return nil
	}
	mem := b.mem
	b.mem = nil
	return unix.Munmap(mem)
}
