// Package bitstreamtest makes bitstream files for tests and demos: valid ones, and with a field changed, broken ones.
// It imports nothing of package testing, so that programs can use it as well.
package bitstreamtest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// Ids of the reference's samples: an interface, two AFUs, the hash of an OpenCL build.
const (
	Interface = "69528db6eb31577a8c3668f9faa081f6"
	AFU       = "d8424dc4a4a3c413f89e433683f9040b" // nlb_400
	OtherAFU  = "f7df405cbd7acf7222f144b0b93acd18" // nlb_3
	Hash      = "4c4f1e2f8a5c3b6d7e8f9a0b1c2d3e4f5a6b7c8d"
	OpenCLAFU = "18b79ffa2ee54aa096ef4230dafacb5f"
)

// GBS describes a GBS file. Zero fields get a value that makes the file valid.
type GBS struct {
	Interface, AFU string
	Payload        []byte
	NoPayload      bool
	Magic          string // 16 bytes
	Metadata       string // the JSON text in place of the usual one
	Length         *uint32
}

// Bytes gives the file's content.
func (g GBS) Bytes() []byte {
	g.Interface, g.AFU = or(g.Interface, Interface), or(g.AFU, AFU)
	metadata := or(g.Metadata, fmt.Sprintf(`{"version":1,"platform-name":"DCP","afu-image":{"interface-uuid":%q,`+
		`"magic-no":488605312,"power":0,"clock-frequency-high":312,"clock-frequency-low":156,"accelerator-clusters":`+
		`[{"name":"nlb_400","total-contexts":1,"accelerator-type-uuid":%q}]}}`+"\n", g.Interface, g.AFU))
	length := uint32(len(metadata))
	if g.Length != nil {
		length = *g.Length
	}
	b := []byte(or(g.Magic, "XeonFPGA\xb7GBSv001"))
	b = binary.LittleEndian.AppendUint32(b, length)
	b = append(b, metadata...)
	switch {
	case g.NoPayload:
	case g.Payload == nil:
		b = append(b, "payload of "+g.Interface+"/"+g.AFU...)
	default:
		b = append(b, g.Payload...)
	}
	return b
}

// AOCX describes an OpenCL file. Zero fields get a value that makes the file valid.
type AOCX struct {
	Hash                   string
	Board, Target, Version string
	GBS                    GBS    // Interface, AFU (the usual OpenCL one if empty) and Payload of the file inside
	Gzip                   []byte // in place of the gzipped GBS
	Bin                    []byte // in place of the inner ELF file
	NoBin                  bool
	NoHash                 bool
	More                   []Section
}

// Bytes gives the file's content.
func (a AOCX) Bytes() []byte {
	a.Hash = or(a.Hash, Hash)
	if a.Gzip == nil {
		a.GBS.AFU = or(a.GBS.AFU, OpenCLAFU)
		a.Gzip = Gzip(a.GBS.Bytes())
	}
	if a.Bin == nil {
		a.Bin = ELF(Section{Name: ".acl.gbs.gz", Data: a.Gzip})
	}
	sections := []Section{
		{Name: ".acl.board", Data: []byte(or(a.Board, "pac_a10"))},
		{Name: ".acl.target", Data: []byte(or(a.Target, "fpga"))},
		{Name: ".acl.version", Data: []byte(or(a.Version, "17.1.1.273"))},
	}
	if !a.NoHash {
		sections = append(sections, Section{Name: ".acl.rand_hash", Data: []byte(a.Hash)})
	}
	if !a.NoBin {
		sections = append(sections, Section{Name: ".acl.fpga.bin", Data: a.Bin})
	}
	return ELF(append(sections, a.More...)...)
}

// WriteGBS puts a GBS file where a store has it and gives its path.
func WriteGBS(store string, g GBS) (string, error) {
	return Write(store, or(g.Interface, Interface), or(g.AFU, AFU)+".gbs", g.Bytes())
}

// WriteAOCX puts an AOCX file where a store has it and gives its path.
func WriteAOCX(store string, a AOCX) (string, error) {
	return Write(store, or(a.GBS.Interface, Interface), or(a.Hash, Hash)+".aocx", a.Bytes())
}

// Write puts any content below an interface of a store and gives its path.
func Write(store, iface, name string, content []byte) (string, error) {
	path := filepath.Join(store, iface, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, content, 0o644)
}

// Gzip compresses.
func Gzip(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b) // a bytes.Buffer takes everything
	z.Close()
	return out.Bytes()
}

// Section is a section of an ELF file.
type Section struct {
	Name  string
	Data  []byte
	Type  uint32 // 0: SHT_PROGBITS
	Flags uint64
	Size  uint64 // what the header claims, if not 0
}

// ELF makes a little-endian 64 bit ELF file of these sections, as the OpenCL compiler does.
func ELF(sections ...Section) []byte { return build(elf64, sections) }

// ELF32BE makes a big-endian 32 bit one.
func ELF32BE(sections ...Section) []byte { return build(elf32, sections) }

// elfForm tells the two kinds of ELF file apart: sizes of its headers and of its words, and where the words are.
type elfForm struct {
	ident         string
	order         binary.AppendByteOrder
	header, entry int
	wide          bool
}

var (
	elf64 = elfForm{"\x7fELF\x02\x01\x01", binary.LittleEndian, 64, 64, true}
	elf32 = elfForm{"\x7fELF\x01\x02\x01", binary.BigEndian, 52, 40, false}
)

// word adds a value of the file's width.
func (f elfForm) word(b []byte, v uint64) []byte {
	if f.wide {
		return f.order.AppendUint64(b, v)
	}
	return f.order.AppendUint32(b, uint32(v))
}

func build(f elfForm, sections []Section) []byte {
	names := []byte{0}
	body := make([]byte, f.header)
	table := make([]byte, f.entry) // section 0 is empty
	add := func(name string, kind uint32, flags, size uint64, data []byte) {
		e := f.order.AppendUint32(nil, uint32(len(names)))
		e = f.order.AppendUint32(e, kind)
		e = f.word(e, flags)
		e = f.word(e, 0) // address
		e = f.word(e, uint64(len(body)))
		e = f.word(e, size)
		table = append(append(table, e...), make([]byte, f.entry-len(e))...)
		names = append(append(names, name...), 0)
		body = append(body, data...)
	}
	for _, s := range sections {
		kind, size := s.Type, s.Size
		if kind == 0 {
			kind = 1 // SHT_PROGBITS
		}
		if size == 0 {
			size = uint64(len(s.Data))
		}
		add(s.Name, kind, s.Flags, size, s.Data)
	}
	const strtab, strtabName = 3, ".shstrtab"
	add(strtabName, strtab, 0, uint64(len(names)+len(strtabName)+1), nil)
	body = append(body, names...)

	h := append([]byte(f.ident), make([]byte, 16-len(f.ident))...)
	h = f.order.AppendUint16(h, 1) // ET_REL
	h = f.order.AppendUint16(h, 0)
	h = f.order.AppendUint32(h, 1)
	h = f.word(h, 0) // entry point
	h = f.word(h, 0) // program headers
	h = f.word(h, uint64(len(body)))
	h = f.order.AppendUint32(h, 0)
	for _, v := range []int{f.header, 0, 0, f.entry, len(sections) + 2, len(sections) + 1} {
		h = f.order.AppendUint16(h, uint16(v))
	}
	copy(body, h)
	return append(body, table...)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
