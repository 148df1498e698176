package bitstream

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
)

// What an ELF file may make us read. The compiler's files have a few dozen sections; source files that it packs in
// can make that hundreds.
const (
	maxSections = 2048
	maxNames    = 128 << 10 // bytes of the section name table
)

// The few constants of the ELF format that count here. debug/elf is not imported for them: it brings its DWARF reader
// along into inlay-hook.
const (
	elfMagic       = "\x7fELF"
	elfClassAt     = 4
	elfOrderAt     = 5
	elfClass32     = 1
	elfClass64     = 2
	elfLittle      = 1
	elfBig         = 2
	sectionNoBits  = 8     // SHT_NOBITS
	flagCompressed = 0x800 // SHF_COMPRESSED
)

// section is a piece of an ELF file, for reading in place.
type section struct{ *io.SectionReader }

// Fixed places in ELF headers, by class. debug/elf itself would keep every section that a file claims to have and
// inflate compressed ones, so a hostile file decides its memory; here a file costs at most its two bounded tables.
type elfLayout struct {
	header, entry       int // sizes
	shoff, shentsize    int // offsets in the file header; shnum and shstrndx follow shentsize
	flags, offset, size int // offsets in a section header
}

var (
	elf32 = elfLayout{header: 52, entry: 40, shoff: 32, shentsize: 46, flags: 8, offset: 16, size: 20}
	elf64 = elfLayout{header: 64, entry: 64, shoff: 40, shentsize: 58, flags: 8, offset: 24, size: 32}
)

// elfFile reads the section table of one ELF file.
type elfFile struct {
	src    io.ReaderAt
	length int64
	order  binary.ByteOrder
	wide   bool
	layout elfLayout
}

func (f *elfFile) word(b []byte, at int) uint64 {
	if f.wide {
		return f.order.Uint64(b[at:])
	}
	return uint64(f.order.Uint32(b[at:]))
}

// findSections finds sections by name in an ELF file of that length. A name that is not there is not in the answer;
// one that is there twice, compressed, without content or beyond the file is an error.
func findSections(src io.ReaderAt, length int64, wanted ...string) (map[string]section, error) {
	f, table, namesIndex, err := openELF(src, length)
	if err != nil {
		return nil, err
	}
	entry := func(i int) []byte { return table[i*f.layout.entry : (i+1)*f.layout.entry] }
	names, err := f.names(entry(namesIndex))
	if err != nil {
		return nil, err
	}
	found := map[string]section{}
	for i := range len(table) / f.layout.entry {
		at := f.order.Uint32(entry(i))
		if int64(at) >= int64(len(names)) {
			continue
		}
		name, _, _ := bytes.Cut(names[at:], []byte{0})
		if !slices.Contains(wanted, string(name)) {
			continue
		}
		if _, twice := found[string(name)]; twice {
			return nil, invalid("ELF: two sections %s", name)
		}
		s, err := f.section(string(name), entry(i))
		if err != nil {
			return nil, err
		}
		found[string(name)] = s
	}
	return found, nil
}

// openELF reads the file header and the section table.
func openELF(src io.ReaderAt, length int64) (*elfFile, []byte, int, error) {
	refuse := func(format string, args ...any) (*elfFile, []byte, int, error) {
		return nil, nil, 0, invalid("ELF: "+format, args...)
	}
	var buf [64]byte
	if n, err := io.ReadFull(io.NewSectionReader(src, 0, length), buf[:elf32.header]); err != nil {
		return nil, nil, 0, short(err, "ELF: header: %d bytes", n)
	}
	if string(buf[:4]) != elfMagic {
		return refuse("no ELF magic")
	}
	f := &elfFile{src: src, length: length}
	switch buf[elfClassAt] {
	case elfClass32:
		f.layout = elf32
	case elfClass64:
		f.layout, f.wide = elf64, true
		if n, err := io.ReadFull(io.NewSectionReader(src, 0, length), buf[:]); err != nil {
			return nil, nil, 0, short(err, "ELF: header: %d bytes", n)
		}
	default:
		return refuse("unknown class %d", buf[elfClassAt])
	}
	switch buf[elfOrderAt] {
	case elfLittle:
		f.order = binary.LittleEndian
	case elfBig:
		f.order = binary.BigEndian
	default:
		return refuse("unknown byte order %d", buf[elfOrderAt])
	}
	at := f.layout.shentsize
	entry, count, names := int(f.order.Uint16(buf[at:])), int(f.order.Uint16(buf[at+2:])), int(f.order.Uint16(buf[at+4:]))
	switch {
	case count < 1 || count > maxSections:
		return refuse("%d sections, not 1 to %d", count, maxSections)
	case entry != f.layout.entry:
		return refuse("section headers of %d bytes instead of %d", entry, f.layout.entry)
	case names >= count:
		return refuse("section names in section %d of %d", names, count)
	}
	table, err := f.read("section table", f.word(buf[:], f.layout.shoff), uint64(count*entry))
	return f, table, names, err
}

// names reads the table of section names.
func (f *elfFile) names(entry []byte) ([]byte, error) {
	size := f.word(entry, f.layout.size)
	if size > maxNames {
		return nil, invalid("ELF: %d bytes of section names, the limit is %d", size, maxNames)
	}
	return f.read("section names", f.word(entry, f.layout.offset), size)
}

func (f *elfFile) inside(offset, size uint64) bool {
	length := uint64(f.length)
	return offset <= length && size <= length-offset
}

func (f *elfFile) read(what string, offset, size uint64) ([]byte, error) {
	if !f.inside(offset, size) {
		return nil, invalid("ELF: %s beyond the file", what)
	}
	b := make([]byte, size)
	if n, err := io.ReadFull(io.NewSectionReader(f.src, int64(offset), int64(size)), b); err != nil && size > 0 {
		return nil, short(err, "ELF: %s: %d bytes of %d", what, n, size)
	}
	return b, nil
}

// section checks the header of a section that is wanted.
func (f *elfFile) section(name string, entry []byte) (section, error) {
	offset, size := f.word(entry, f.layout.offset), f.word(entry, f.layout.size)
	switch {
	case f.order.Uint32(entry[4:]) == sectionNoBits:
		return section{}, invalid("ELF: section %s has no content", name)
	case f.word(entry, f.layout.flags)&flagCompressed != 0:
		return section{}, invalid("ELF: section %s is compressed", name)
	case !f.inside(offset, size):
		return section{}, invalid("ELF: section %s beyond the file", name)
	}
	return section{io.NewSectionReader(f.src, int64(offset), int64(size))}, nil
}
