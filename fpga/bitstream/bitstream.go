package bitstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
)

// Kind is a file format, told by the file's extension alone (spec section 3.1).
type Kind string

// The formats, as their extension without the dot.
const (
	GBS  Kind = "gbs"
	AOCX Kind = "aocx"
)

// DefaultMaxBytes is the largest payload that is taken when Options says nothing.
const DefaultMaxBytes = 512 << 20

// Options bound what a file may cost.
type Options struct {
	// MaxBytes is the largest payload; 0 means DefaultMaxBytes. The PR call's size field has 32 bits, so no value
	// lets a payload of 4 GiB through.
	MaxBytes int64
}

func (o Options) most() int64 {
	if o.MaxBytes <= 0 {
		return DefaultMaxBytes
	}
	return min(o.MaxBytes, math.MaxUint32)
}

// Identity tells one version of a file from another without reading it.
type Identity struct {
	Dev     uint64 `json:"dev"`
	Ino     uint64 `json:"ino"`
	Size    int64  `json:"size"` // bytes of the whole file
	MtimeNS int64  `json:"mtimeNs"`
}

func (i Identity) String() string {
	return fmt.Sprintf("%d:%d size %d mtime %d.%09d", i.Dev, i.Ino, i.Size, i.MtimeNS/1e9, i.MtimeNS%1e9)
}

// Info is what a file says of itself. Ids are normalised.
type Info struct {
	Path      string // host path of a store's file; as given to OpenFile otherwise
	Kind      Kind
	Interface fpga.InterfaceID // "" only for an AOCX file with nothing to program
	AFU       fpga.AFUID       // what the port reads once it is programmed; "" as Interface
	Unique    fpga.FunctionID  // the file's name in a store: AFU of a GBS, Hash of an AOCX file
	Identity  Identity

	// PayloadSize is in bytes. CheckHeader leaves it 0 for an AOCX file: it is known once that is unpacked.
	PayloadSize int64

	Board, Target, Hash, Version string // AOCX only, as the compiler wrote them
}

// Payload is where the kernel finds what it programs. The memory belongs to the Bitstream and is there until its
// Close. It is for a system call's argument: Go code must not read through Addr (see the package comment).
type Payload struct {
	Addr unsafe.Pointer
	Size uint32
}

// Bitstream is an open, verified file. It is not safe for concurrent use.
type Bitstream struct {
	info    Info
	file    *os.File
	mapping []byte  // GBS: the file's pages. Never index it: see the package comment.
	unpack  *buffer // AOCX: the gunzipped GBS file
	payload Payload
	body    *io.SectionReader
}

// OpenFile opens a file wherever it lies, by a path of this process. The ids are what the file says; nobody promised
// others.
func OpenFile(path string, opts Options) (*Bitstream, error) {
	kind, err := kindOf(path)
	if err != nil {
		return nil, located(path, err)
	}
	f, err := os.OpenFile(path, openFlags, 0)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = &Error{Kind: ErrNotFound, Err: errors.New("not found")}
		}
		return nil, located(path, err)
	}
	return verify(f, path, kind, opts)
}

func kindOf(path string) (Kind, error) {
	for _, kind := range []Kind{GBS, AOCX} {
		if strings.HasSuffix(path, "."+string(kind)) {
			return kind, nil
		}
	}
	return "", invalid("the name ends neither in .gbs nor in .aocx")
}

// openFlags: without O_NONBLOCK the open of a FIFO would wait for a writer for ever.
const openFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

// verify checks a file in full and makes its payload available. It owns f.
func verify(f *os.File, path string, kind Kind, opts Options) (*Bitstream, error) {
	b := &Bitstream{file: f, info: Info{Path: path, Kind: kind}}
	err := b.read(opts.most())
	if err != nil {
		b.Close()
		return nil, located(path, err)
	}
	return b, nil
}

func (b *Bitstream) read(most int64) error {
	var err error
	if b.info.Identity, err = identify(b.file); err != nil {
		return err
	}
	if b.info.Kind == GBS {
		return b.readGBS(most)
	}
	return b.readAOCX(most)
}

func (b *Bitstream) readGBS(most int64) error {
	h, size, err := gbsHead(b.file, b.info.Identity.Size, most)
	if err != nil {
		return err
	}
	b.info.describeGBS(h, size)
	// A mapping begins at a page; the payload begins inside it.
	skip := h.payloadAt % int64(os.Getpagesize())
	b.mapping, err = unix.Mmap(int(b.file.Fd()), h.payloadAt-skip, int(size+skip), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	b.payload = Payload{Addr: unsafe.Pointer(&b.mapping[skip]), Size: uint32(size)}
	b.body = io.NewSectionReader(b.file, h.payloadAt, size)
	return nil
}

func (b *Bitstream) readAOCX(most int64) error {
	a, err := readAOCX(b.file, b.info.Identity.Size)
	if err != nil {
		return err
	}
	b.info.describeAOCX(a)
	if !a.programmable {
		return nil
	}
	unpacked, h, err := a.unpack(most)
	if err != nil {
		return err
	}
	b.unpack = unpacked
	size, err := h.payloadSize(unpacked.used, most)
	if err != nil {
		return within(sectionGBS, err)
	}
	b.info.Interface, b.info.AFU, b.info.PayloadSize = h.iface, h.afu, size
	content := unpacked.content()[h.payloadAt:]
	b.payload = Payload{Addr: unsafe.Pointer(unsafe.SliceData(content)), Size: uint32(size)}
	b.body = io.NewSectionReader(bytes.NewReader(content), 0, size)
	return nil
}

func (i *Info) describeGBS(h head, size int64) {
	i.Interface, i.AFU, i.Unique, i.PayloadSize = h.iface, h.afu, fpga.FunctionID(h.afu), size
}

func (i *Info) describeAOCX(a aocx) {
	i.Unique, i.Hash, i.Board, i.Target, i.Version = a.hash, string(a.hash), a.board, a.target, a.version
}

func gbsHead(f io.ReaderAt, length, most int64) (head, int64, error) {
	h, err := readHead(io.NewSectionReader(f, 0, length))
	if err != nil {
		return head{}, 0, err
	}
	size, err := h.payloadSize(length, most)
	return h, size, err
}

// identify refuses what is not a regular file: a FIFO, a device, a folder.
func identify(f *os.File) (Identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Identity{}, fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Identity{}, invalid("not a regular file")
	}
	return Identity{Dev: st.Dev, Ino: st.Ino, Size: st.Size, MtimeNS: st.Mtim.Nano()}, nil
}

// Info tells what the file says of itself.
func (b *Bitstream) Info() Info { return b.info }

// Payload gives the memory that the PR call reads. An AOCX file without anything to program is ErrInvalid.
func (b *Bitstream) Payload() (Payload, error) {
	if b.payload.Addr == nil {
		return Payload{}, located(b.info.Path, errNothing())
	}
	return b.payload, nil
}

// Reader gives the payload's bytes to those who need them in Go: hashing, comparing. It reads the file, so one that
// shrinks meanwhile is an early end and not a crash. It is good until Close.
func (b *Bitstream) Reader() (*io.SectionReader, error) {
	if b.body == nil {
		return nil, located(b.info.Path, errNothing())
	}
	return io.NewSectionReader(b.body, 0, b.body.Size()), nil
}

// Source gives the whole file as it was opened, for copying it. It is good until Close.
func (b *Bitstream) Source() *io.SectionReader {
	return io.NewSectionReader(b.file, 0, b.info.Identity.Size)
}

// Unchanged tells whether the open file still is the one that was verified; ErrChanged if somebody wrote into it or
// cut it. A file that was replaced by rename is not noticed here, and need not be: what is open is the old one.
func (b *Bitstream) Unchanged() error {
	now, err := identify(b.file)
	if err == nil && now != b.info.Identity {
		err = fail(ErrChanged, "changed while it was in use")
	}
	return located(b.info.Path, err)
}

// Close gives mapping, buffer and file back. The Payload is invalid from here on.
func (b *Bitstream) Close() error {
	var errs []error
	b.payload, b.body = Payload{}, nil
	if b.mapping != nil {
		errs = append(errs, unix.Munmap(b.mapping))
		b.mapping = nil
	}
	if b.unpack != nil {
		errs = append(errs, b.unpack.release())
		b.unpack = nil
	}
	if b.file != nil {
		errs = append(errs, b.file.Close())
		b.file = nil
	}
	return errors.Join(errs...)
}
