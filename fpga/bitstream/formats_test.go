package bitstream_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/fpga/bitstream"
	bt "github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
)

type formatTest struct {
	content []byte
	max     int64
	kind    error // nil: opens
	text    string
}

func runFormatTests(t *testing.T, kind bitstream.Kind, tests map[string]formatTest) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x."+string(kind))
			if err := os.WriteFile(path, test.content, 0o644); err != nil {
				t.Fatal(err)
			}
			b, err := bitstream.OpenFile(path, bitstream.Options{MaxBytes: test.max})
			if err == nil {
				defer b.Close()
			}
			if test.kind == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v; want %v with %q in one line", err, test.kind, test.text)
			}
		})
	}
}

func metadata(format string, args ...any) []byte {
	return bt.GBS{Metadata: fmt.Sprintf(format, args...)}.Bytes()
}

func length(n uint32) *uint32 { return &n }

func TestGBSChecks(t *testing.T) {
	const cluster = `[{"accelerator-type-uuid":"` + bt.AFU + `"}]`
	whole := bt.GBS{}.Bytes()
	runFormatTests(t, bitstream.GBS, map[string]formatTest{
		"valid":                       {content: whole},
		"payload of one byte":         {content: bt.GBS{Payload: []byte{0}}.Bytes()},
		"payload as large as allowed": {content: bt.GBS{Payload: make([]byte, 4096)}.Bytes(), max: 4096},
		"payload too large": {
			content: bt.GBS{Payload: make([]byte, 4097)}.Bytes(), max: 4096,
			kind: bitstream.ErrTooLarge, text: "payload of 4097 bytes, the limit is 4096",
		},
		"no payload":           {content: bt.GBS{NoPayload: true}.Bytes(), kind: bitstream.ErrInvalid, text: "no payload"},
		"empty file":           {kind: bitstream.ErrInvalid, text: "0 bytes of 20"},
		"19 bytes":             {content: whole[:19], kind: bitstream.ErrInvalid, text: "19 bytes of 20"},
		"header only":          {content: whole[:20], kind: bitstream.ErrInvalid, text: "metadata: 0 bytes of"},
		"metadata cut":         {content: whole[:60], kind: bitstream.ErrInvalid, text: "metadata: 40 bytes of"},
		"wrong magic":          {content: bt.GBS{Magic: "XeonFPGA\xb7GBSv002"}.Bytes(), kind: bitstream.ErrInvalid, text: "magic"},
		"metadata length 0":    {content: bt.GBS{Length: length(0)}.Bytes(), kind: bitstream.ErrInvalid, text: "length 0"},
		"metadata length 4096": {content: bt.GBS{Length: length(4096)}.Bytes(), kind: bitstream.ErrInvalid, text: "4096"},
		"metadata length beyond 2 GiB": {
			content: bt.GBS{Length: length(math.MaxUint32)}.Bytes(), kind: bitstream.ErrInvalid, text: "4294967295",
		},
		"metadata of 4095 bytes": {
			content: metadata("%-4095s", `{"afu-image":{"interface-uuid":"`+bt.Interface+`","accelerator-clusters":`+cluster+`}}`),
		},
		"dashes and upper case": {
			content: metadata(`{"afu-image":{"interface-uuid":"69528DB6-EB31-577A-8C36-68F9FAA081F6","accelerator-clusters":%s}}`, cluster),
		},
		"second JSON value is padding": {
			content: metadata(`{"afu-image":{"interface-uuid":%q,"accelerator-clusters":%s}} {"x`, bt.Interface, cluster),
		},
		"field that nobody uses of another type": {
			content: metadata(`{"version":"one","afu-image":{"power":0.5,"interface-uuid":%q,"accelerator-clusters":%s}}`, bt.Interface, cluster),
		},
		"no JSON":      {content: metadata(`hello`), kind: bitstream.ErrInvalid, text: "metadata: invalid character"},
		"JSON cut":     {content: metadata(`{"afu-image":`), kind: bitstream.ErrInvalid, text: "metadata: unexpected EOF"},
		"no AFU image": {content: metadata(`{}`), kind: bitstream.ErrInvalid, text: "0 accelerator clusters"},
		"two clusters": {
			content: metadata(`{"afu-image":{"interface-uuid":%q,"accelerator-clusters":[{},{}]}}`, bt.Interface),
			kind:    bitstream.ErrInvalid, text: "2 accelerator clusters",
		},
		"no interface id": {
			content: metadata(`{"afu-image":{"accelerator-clusters":%s}}`, cluster), kind: bitstream.ErrInvalid, text: "interface id",
		},
		"interface id of another type": {
			content: metadata(`{"afu-image":{"interface-uuid":7,"accelerator-clusters":%s}}`, cluster), kind: bitstream.ErrInvalid, text: "metadata",
		},
		// Regression, spec 8.41: the reference installed such a file outside the store.
		"interface id that climbs": {
			content: metadata(`{"afu-image":{"interface-uuid":"../../../../../../../etc/cron.d/","accelerator-clusters":%s}}`, cluster),
			kind:    bitstream.ErrInvalid, text: "interface id",
		},
		"AFU id too short": {
			content: metadata(`{"afu-image":{"interface-uuid":%q,"accelerator-clusters":[{"accelerator-type-uuid":"d8424dc4"}]}}`, bt.Interface),
			kind:    bitstream.ErrInvalid, text: "AFU id",
		},
		"line feed in an id": {
			content: metadata(`{"afu-image":{"interface-uuid":"a\nb","accelerator-clusters":%s}}`, cluster), kind: bitstream.ErrInvalid, text: `a\nb`,
		},
	})
}

func TestAOCXChecks(t *testing.T) {
	gbs := bt.GBS{}.Bytes()
	gz := bt.Gzip(gbs)
	bin := bt.ELF(bt.Section{Name: ".acl.gbs.gz", Data: gz})
	flip := bytes.Clone(gz)
	flip[len(flip)-5] ^= 1 // in gzip's checksum
	patch := func(at int, value any) []byte {
		b := bytes.Clone(bt.AOCX{}.Bytes())
		if _, err := binary.Encode(b[at:], binary.LittleEndian, value); err != nil {
			t.Fatal(err)
		}
		return b
	}
	big := bt.AOCX{GBS: bt.GBS{Payload: make([]byte, 9000)}}.Bytes()
	runFormatTests(t, bitstream.AOCX, map[string]formatTest{
		"valid":                       {content: bt.AOCX{}.Bytes()},
		"hash with white space round": {content: bt.AOCX{Hash: " " + bt.Hash + "\n\x00"}.Bytes()},
		"hash of white space alone":   {content: bt.AOCX{Hash: " \n"}.Bytes()},
		"payload as large as allowed": {content: big, max: 9000},
		"payload too large":           {content: big, max: 8999, kind: bitstream.ErrTooLarge, text: "unpacks to more than"},
		"two gzip members":            {content: bt.AOCX{Gzip: append(bt.Gzip(gbs[:30]), bt.Gzip(gbs[30:])...)}.Bytes()},
		"unknown sections":            {content: bt.AOCX{More: []bt.Section{{Name: ".acl.x", Flags: 0x800}, {Name: ".acl.x"}}}.Bytes()},

		"32 bit big-endian": {content: bt.AOCX{Bin: bt.ELF32BE(bt.Section{Name: ".acl.gbs.gz", Data: gz})}.Bytes()},

		"not ELF":             {content: []byte("hello"), kind: bitstream.ErrInvalid, text: "ELF: header: 5 bytes"},
		"a GBS":               {content: gbs, kind: bitstream.ErrInvalid, text: "no ELF magic"},
		"inner not ELF":       {content: bt.AOCX{Bin: gbs}.Bytes(), kind: bitstream.ErrInvalid, text: ".acl.fpga.bin: ELF"},
		"inner empty":         {content: bt.AOCX{Bin: []byte{}}.Bytes(), kind: bitstream.ErrInvalid, text: ".acl.fpga.bin: ELF"},
		"inner without GBS":   {content: bt.AOCX{Bin: bt.ELF()}.Bytes(), kind: bitstream.ErrInvalid, text: "no section .acl.gbs.gz"},
		"GBS not gzipped":     {content: bt.AOCX{Gzip: gbs}.Bytes(), kind: bitstream.ErrInvalid, text: ".acl.gbs.gz: gzip"},
		"GBS invalid":         {content: bt.AOCX{Gzip: bt.Gzip([]byte("hello"))}.Bytes(), kind: bitstream.ErrInvalid, text: "header: 5 bytes of 20"},
		"GBS without payload": {content: bt.AOCX{GBS: bt.GBS{NoPayload: true}}.Bytes(), kind: bitstream.ErrInvalid, text: "no payload"},
		"gzip cut":            {content: bt.AOCX{Gzip: gz[:len(gz)-9]}.Bytes(), kind: bitstream.ErrInvalid, text: "unexpected EOF"},
		"gzip checksum":       {content: bt.AOCX{Gzip: flip}.Bytes(), kind: bitstream.ErrInvalid, text: "checksum"},
		"gzip with garbage":   {content: bt.AOCX{Gzip: append(bytes.Clone(gz), "garbage at the end"...)}.Bytes(), kind: bitstream.ErrInvalid, text: "gzip"},
		"checksum of a full buffer": {
			content: bt.AOCX{Gzip: append(bytes.Clone(gz[:len(gz)-8]), make([]byte, 8)...)}.Bytes(),
			max:     int64(len("payload of /") + 64), kind: bitstream.ErrInvalid, text: "checksum",
		},

		"hash no hex":        {content: bt.AOCX{Hash: "../../etc/passwd"}.Bytes(), kind: bitstream.ErrInvalid, text: ".acl.rand_hash: function id"},
		"hash too short":     {content: bt.AOCX{Hash: "abc"}.Bytes(), kind: bitstream.ErrInvalid, text: ".acl.rand_hash"},
		"text too long":      {content: bt.AOCX{Board: strings.Repeat("x", 65537)}.Bytes(), kind: bitstream.ErrInvalid, text: ".acl.board: 65537 bytes"},
		"section twice":      {content: bt.AOCX{More: []bt.Section{{Name: ".acl.rand_hash"}}}.Bytes(), kind: bitstream.ErrInvalid, text: "two sections .acl.rand_hash"},
		"section compressed": {content: bt.AOCX{NoBin: true, More: []bt.Section{{Name: ".acl.fpga.bin", Data: bin, Flags: 0x800}}}.Bytes(), kind: bitstream.ErrInvalid, text: "compressed"},
		"section without content": {
			content: bt.AOCX{NoBin: true, More: []bt.Section{{Name: ".acl.fpga.bin", Data: bin, Type: 8}}}.Bytes(),
			kind:    bitstream.ErrInvalid, text: "no content",
		},
		"section beyond the file": {
			content: bt.AOCX{NoBin: true, More: []bt.Section{{Name: ".acl.fpga.bin", Data: bin, Size: 1 << 40}}}.Bytes(),
			kind:    bitstream.ErrInvalid, text: "beyond the file",
		},
		"section size that overflows": {
			content: bt.AOCX{NoBin: true, More: []bt.Section{{Name: ".acl.fpga.bin", Data: bin, Size: math.MaxUint64}}}.Bytes(),
			kind:    bitstream.ErrInvalid, text: "beyond the file",
		},
		"section table beyond the file": {content: patch(40, uint64(1<<62)), kind: bitstream.ErrInvalid, text: "section table beyond"},
		"65535 sections":                {content: patch(60, uint16(65535)), kind: bitstream.ErrInvalid, text: "65535 sections"},
		"no sections":                   {content: patch(60, uint16(0)), kind: bitstream.ErrInvalid, text: "0 sections"},
		"names in no section":           {content: patch(62, uint16(99)), kind: bitstream.ErrInvalid, text: "names in section 99"},
		"odd header size":               {content: patch(58, uint16(1)), kind: bitstream.ErrInvalid, text: "headers of 1 bytes"},
		"unknown class":                 {content: patch(4, uint8(7)), kind: bitstream.ErrInvalid, text: "class 7"},
		"unknown byte order":            {content: patch(5, uint8(7)), kind: bitstream.ErrInvalid, text: "byte order 7"},
		"64 bit header cut":             {content: bt.AOCX{}.Bytes()[:60], kind: bitstream.ErrInvalid, text: "header: 60 bytes"},
	})
}
