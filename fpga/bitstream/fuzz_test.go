package bitstream_test

import (
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
	bt "github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
)

func functionID(s string) fpga.FunctionID { return fpga.FunctionID(s) }

// fuzz opens whatever bytes as a file of that kind: it must be refused with one of the package's errors or hold
// together, and cost little heap either way.
func fuzz(f *testing.F, kind bitstream.Kind) {
	path := f.TempDir() + "/x." + string(kind)
	const limit = 1 << 20
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		heap := allocated(func() { openAny(t, path, limit) })
		if heap > 4*limit {
			t.Errorf("%d KiB of heap for a file of %d bytes", heap>>10, len(content))
		}
	})
}

func openAny(t *testing.T, path string, limit int64) {
	b, err := bitstream.OpenFile(path, bitstream.Options{MaxBytes: limit})
	if err != nil {
		if !errors.Is(err, bitstream.ErrInvalid) && !errors.Is(err, bitstream.ErrTooLarge) {
			t.Errorf("an error of no kind: %v", err)
		}
		return
	}
	defer b.Close()
	info := b.Info()
	p, err := b.Payload()
	if err != nil {
		if info.Kind == bitstream.AOCX && info.Interface == "" {
			return
		}
		t.Fatal(err)
	}
	if _, err := fpga.ParseInterfaceID(string(info.Interface)); err != nil {
		t.Error(err)
	}
	if _, err := fpga.ParseAFUID(string(info.AFU)); err != nil {
		t.Error(err)
	}
	if p.Size == 0 || int64(p.Size) > limit || int64(p.Size) != info.PayloadSize {
		t.Errorf("payload of %d bytes, the file says %d", p.Size, info.PayloadSize)
	}
	r, err := b.Reader()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); err != nil || n != info.PayloadSize {
		t.Errorf("read %d bytes, %v", n, err)
	}
	null, err := os.OpenFile("/dev/null", unix.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if n, err := write(t, null, b); err != nil || n != int(p.Size) {
		t.Errorf("the kernel took %d bytes, %v", n, err)
	}
}

func FuzzGBS(f *testing.F) {
	f.Add(bt.GBS{}.Bytes())
	f.Add(bt.GBS{NoPayload: true}.Bytes())
	f.Add(bt.GBS{Length: length(4095)}.Bytes())
	f.Add(bt.GBS{Metadata: `{"afu-image":{"interface-uuid":"x","accelerator-clusters":[{},{}]}}`}.Bytes())
	f.Add(bt.GBS{}.Bytes()[:30])
	fuzz(f, bitstream.GBS)
}

func FuzzAOCX(f *testing.F) {
	f.Add(bt.AOCX{}.Bytes())
	f.Add(bt.AOCX{NoBin: true, NoHash: true}.Bytes())
	f.Add(bt.AOCX{Bin: bt.ELF()}.Bytes())
	f.Add(bt.AOCX{Gzip: members(bt.GBS{}.Bytes(), 3)}.Bytes())
	f.Add(bt.AOCX{More: []bt.Section{{Name: ".acl.x", Size: 1 << 63, Flags: 0x800, Type: 8}}}.Bytes())
	f.Add([]byte("\x7fELF\x01\x02\x01" + string(make([]byte, 60))))
	fuzz(f, bitstream.AOCX)
}
