package emulator

import (
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// AOCX makes an OpenCL bitstream file (spec 3.3) around the GBS of the same arguments: an ELF file whose section
// .acl.fpga.bin is an ELF file whose section .acl.gbs.gz is that GBS. hash is its name in the store, 40 hex digits;
// empty = derived from the GBS. It returns the file and the hash.
func AOCX(iface, afu, hash string, size int) ([]byte, string, error) {
	if raw, err := hex.DecodeString(hash); hash != "" && (err != nil || len(raw) != sha1.Size) {
		return nil, "", fmt.Errorf("hash %.80q: want 40 hex digits", hash)
	}
	hash = strings.ToLower(hash)
	gbs, err := GBS(iface, afu, size)
	if err != nil {
		return nil, "", err
	}
	if hash == "" {
		sum := sha1.Sum(gbs) // only a name, and 40 digits long as the compiler's
		hash = hex.EncodeToString(sum[:])
	}
	var packed bytes.Buffer
	zw, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return nil, "", err
	}
	if _, err := zw.Write(gbs); err != nil {
		return nil, "", err
	}
	if err := zw.Close(); err != nil {
		return nil, "", err
	}
	inner := elfFile([]elfSection{{".acl.gbs.gz", packed.Bytes()}})
	outer := elfFile([]elfSection{
		{".acl.board", []byte("pac_a10")},
		{".acl.target", []byte("fpga")},
		{".acl.version", []byte("17.1.1.273")},
		{".acl.rand_hash", []byte(hash)},
		{".acl.fpga.bin", inner},
	})
	return outer, hash, nil
}

type elfSection struct {
	name string
	data []byte
}

// elfFile writes a little-endian ELF64 file that holds nothing but sections.
func elfFile(sections []elfSection) []byte {
	const headerSize, sectionSize = 64, 64
	names := []byte{0}
	var body []byte
	headers := make([]elf.Section64, 1, len(sections)+2) // section 0 is the null section
	add := func(name string, kind elf.SectionType, data []byte) {
		headers = append(headers, elf.Section64{
			Name: uint32(len(names)), Type: uint32(kind), Off: uint64(headerSize + len(body)), Size: uint64(len(data)), Addralign: 1,
		})
		names = append(append(names, name...), 0)
		body = append(body, data...)
	}
	for _, s := range sections {
		add(s.name, elf.SHT_PROGBITS, s.data)
	}
	all := append(append([]byte(nil), names...), ".shstrtab\x00"...) // the table names itself too
	add(".shstrtab", elf.SHT_STRTAB, all)
	header := elf.Header64{
		Type: uint16(elf.ET_NONE), Machine: uint16(elf.EM_X86_64), Version: 1,
		Shoff: uint64(headerSize + len(body)), Ehsize: headerSize, Shentsize: sectionSize,
		Shnum: uint16(len(headers)), Shstrndx: uint16(len(headers) - 1),
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	var out bytes.Buffer
	_ = binary.Write(&out, binary.LittleEndian, header) // a bytes.Buffer takes everything
	out.Write(body)
	_ = binary.Write(&out, binary.LittleEndian, headers)
	return out.Bytes()
}

// openAOCX gives the GBS inside an AOCX file, unpacked while it is read.
func openAOCX(r io.ReaderAt) (io.Reader, error) {
	outer, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("aocx: %w", err)
	}
	bin := outer.Section(".acl.fpga.bin")
	if bin == nil {
		return nil, errors.New("aocx: no section .acl.fpga.bin")
	}
	inner, err := elf.NewFile(bin)
	if err != nil {
		return nil, fmt.Errorf("aocx: .acl.fpga.bin: %w", err)
	}
	gz := inner.Section(".acl.gbs.gz")
	if gz == nil {
		return nil, errors.New("aocx: no section .acl.gbs.gz")
	}
	zr, err := gzip.NewReader(gz.Open())
	if err != nil {
		return nil, fmt.Errorf("aocx: .acl.gbs.gz: %w", err)
	}
	return zr, nil
}
