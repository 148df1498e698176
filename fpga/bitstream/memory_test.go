package bitstream_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga/bitstream"
	bt "github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
)

const mib = 1 << 20

// write hands the payload to a system call that reads all of it, as the PR ioctl does.
func write(t testing.TB, to *os.File, b *bitstream.Bitstream) (int, error) {
	t.Helper()
	p, err := b.Payload()
	if err != nil {
		t.Fatal(err)
	}
	n, _, errno := unix.Syscall(unix.SYS_WRITE, to.Fd(), uintptr(p.Addr), uintptr(p.Size))
	runtime.KeepAlive(b)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func memfd(t testing.TB) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("kernel", unix.MFD_CLOEXEC)
	if err != nil {
		t.Skipf("no memfd here: %v", err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { f.Close() })
	return f
}

func throughKernel(t testing.TB, b *bitstream.Bitstream) string {
	t.Helper()
	f := memfd(t)
	n, err := write(t, f, b)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, n)
	if _, err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func TestPayloadIsWholeAtAnyOffsetInAPage(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789abcdef"), 3000)
	for _, head := range []int{300, 4075, 4076, 4077, 4095} { // the head alone fills a page at 4076
		text := fmt.Sprintf("%-*s", head, `{"afu-image":{"interface-uuid":"`+bt.Interface+
			`","accelerator-clusters":[{"accelerator-type-uuid":"`+bt.AFU+`"}]}}`)
		path := must(t)(bt.Write(t.TempDir(), "", "x.gbs", bt.GBS{Metadata: text, Payload: payload}.Bytes()))
		b, err := bitstream.OpenFile(path, bitstream.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := throughKernel(t, b); got != string(payload) {
			t.Errorf("metadata of %d bytes: payload differs", head)
		}
		b.Close()
	}
}

func TestFileThatShrinksIsAnErrorOfTheCallAndNoCrash(t *testing.T) {
	path := must(t)(bt.Write(t.TempDir(), "", "x.gbs", bt.GBS{Payload: make([]byte, 3*mib)}.Bytes()))
	b, err := bitstream.OpenFile(path, bitstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := os.Truncate(path, mib); err != nil {
		t.Fatal(err)
	}
	// write(2) gives the part that it could read where the PR call gives EFAULT for all.
	if n, err := write(t, memfd(t), b); err == nil && n >= 2*mib {
		t.Errorf("the system call read %d bytes of a file of 1 MiB", n)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if n, err := write(t, memfd(t), b); !errors.Is(err, unix.EFAULT) {
		t.Errorf("system call on an empty file's payload: %d, %v; want EFAULT", n, err)
	}
	r, err := b.Reader()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); n != 0 || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Reader on an empty file: %d bytes, %v", n, err)
	}
}

// status reads a memory figure of this process, in bytes.
func status(t testing.TB, field string) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			var kib int64
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Skipf("no %s in /proc/self/status", field)
	return 0
}

// peak runs f and gives by how much the process's memory was larger meanwhile, at its largest.
func peak(t testing.TB, f func()) int64 {
	t.Helper()
	runtime.GC()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Skipf("the kernel does not reset the memory mark: %v", err)
	}
	before := status(t, "VmRSS")
	f()
	return status(t, "VmHWM") - before
}

// allocated runs f and gives what Go allocated meanwhile in all, freed or not.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

func TestGBSCostsNoMemory(t *testing.T) {
	const size = 40 * mib
	path := must(t)(bt.Write(t.TempDir(), "", "x.gbs", bt.GBS{Payload: make([]byte, size)}.Bytes()))
	before := status(t, "RssAnon")
	var b *bitstream.Bitstream
	heap := allocated(func() {
		var err error
		if b, err = bitstream.OpenFile(path, bitstream.Options{}); err != nil {
			t.Fatal(err)
		}
		if n, err := write(t, memfd(t), b); err != nil || n != size {
			t.Errorf("system call: %d, %v", n, err)
		}
	})
	defer b.Close()
	if grown := status(t, "RssAnon") - before; grown > 4*mib || heap > mib/4 {
		t.Errorf("a GBS of 40 MiB took %d KiB of anonymous memory, %d KiB of heap", grown>>10, heap>>10)
	}
}

func TestAOCXCostsItsPayload(t *testing.T) {
	const size = 40 * mib
	path := must(t)(bt.Write(t.TempDir(), "", "x.aocx", bt.AOCX{GBS: bt.GBS{Payload: make([]byte, size)}}.Bytes()))
	before := status(t, "RssAnon")
	var b *bitstream.Bitstream
	heap := allocated(func() {
		var err error
		if b, err = bitstream.OpenFile(path, bitstream.Options{}); err != nil {
			t.Fatal(err)
		}
	})
	grown := status(t, "RssAnon") - before
	if grown < size || grown > size+8*mib || heap > mib {
		t.Errorf("an AOCX of 40 MiB took %d KiB of anonymous memory, %d KiB of heap", grown>>10, heap>>10)
	}
	b.Close()
	if left := status(t, "RssAnon") - before; left > 8*mib {
		t.Errorf("%d KiB of anonymous memory left after Close", left>>10)
	}
}

// members gives content followed by n times 1 MiB of zeros, gzipped in pieces so that the test is quick.
func members(content []byte, n int) []byte {
	out := bt.Gzip(content)
	zeros := bt.Gzip(make([]byte, mib))
	return append(out, bytes.Repeat(zeros, n)...)
}

func TestGzipBombIsRefusedInBoundedMemory(t *testing.T) {
	const limit = 32 * mib
	for name, test := range map[string]struct {
		gzip []byte
		kind error
		most int64
	}{
		"1 GiB of zeros":              {members(nil, 1024), bitstream.ErrInvalid, mib},
		"1 GiB of payload":            {members(bt.GBS{}.Bytes(), 1024), bitstream.ErrTooLarge, limit + 16*mib},
		"a million empty members":     {bytes.Repeat(bt.Gzip(nil), 1<<20), bitstream.ErrInvalid, mib},
		"empty members after a valid": {append(bt.Gzip(bt.GBS{}.Bytes()), bytes.Repeat(bt.Gzip(nil), 3<<19)...), bitstream.ErrTooLarge, mib},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.aocx")
			if err := os.WriteFile(path, bt.AOCX{Gzip: test.gzip}.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			grown := peak(t, func() {
				heap := allocated(func() {
					b, err := bitstream.OpenFile(path, bitstream.Options{MaxBytes: limit})
					if err == nil {
						b.Close()
					}
					if !errors.Is(err, test.kind) {
						t.Errorf("error %v, want %v", err, test.kind)
					}
				})
				if heap > mib {
					t.Errorf("%d KiB of heap", heap>>10)
				}
			})
			if grown > test.most+4*mib {
				t.Errorf("memory grew by %d KiB", grown>>10)
			}
		})
	}
}

func TestHeaderCheckIsBounded(t *testing.T) {
	// A hostile file with the largest tables that are taken, and a gzip stream that never gets to the head.
	var many []bt.Section
	for range 2000 {
		many = append(many, bt.Section{Name: strings.Repeat("n", 50)})
	}
	inner := append([]bt.Section{{Name: ".acl.gbs.gz", Data: bytes.Repeat(bt.Gzip(nil), 1<<18)}}, many...)
	root, dir := host(t)
	must(t)(bt.WriteAOCX(dir, bt.AOCX{Bin: bt.ELF(inner...), More: many}))
	heap := allocated(func() {
		_, err := bitstream.CheckHeader(root, store, bt.Interface, bt.Hash, bitstream.Options{})
		if !errors.Is(err, bitstream.ErrInvalid) {
			t.Errorf("error %v, want ErrInvalid", err)
		}
	})
	if heap > mib {
		t.Errorf("%d KiB of heap for a header check", heap>>10)
	}
}

func TestCloseGivesEverythingBack(t *testing.T) {
	dir := t.TempDir()
	paths := []string{
		must(t)(bt.Write(dir, "", "x.gbs", bt.GBS{}.Bytes())),
		must(t)(bt.Write(dir, "", "x.aocx", bt.AOCX{}.Bytes())),
		must(t)(bt.Write(dir, "", "cut.aocx", bt.AOCX{Gzip: bt.Gzip(bt.GBS{}.Bytes())[:200]}.Bytes())),
		must(t)(bt.Write(dir, "", "cut.gbs", bt.GBS{NoPayload: true}.Bytes())),
	}
	count := func() (fds, maps int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skipf("no /proc: %v", err)
		}
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries), bytes.Count(b, []byte(dir))
	}
	fds, _ := count()
	for _, path := range paths {
		if b, err := bitstream.OpenFile(path, bitstream.Options{}); err == nil {
			if err := b.Close(); err != nil {
				t.Errorf("close %s: %v", path, err)
			}
			if err := b.Close(); err != nil {
				t.Errorf("second close %s: %v", path, err)
			}
			if p, err := b.Payload(); err == nil {
				t.Errorf("payload after close: %v", p)
			}
		}
	}
	if now, maps := count(); now != fds || maps != 0 {
		t.Errorf("%d descriptors of %d before, %d mappings left", now, fds, maps)
	}
}

var sink unsafe.Pointer

func BenchmarkOpen(b *testing.B) {
	contents := map[string]func() []byte{
		"x.gbs":  func() []byte { return bt.GBS{Payload: make([]byte, 40*mib)}.Bytes() },
		"x.aocx": func() []byte { return bt.AOCX{GBS: bt.GBS{Payload: make([]byte, 40*mib)}}.Bytes() },
	}
	for name, content := range contents {
		b.Run(filepath.Ext(name)[1:]+"-40MiB", func(b *testing.B) {
			path := must(b)(bt.Write(b.TempDir(), "", name, content()))
			debug.FreeOSMemory() // what made the file
			before, most := status(b, "RssAnon"), int64(0)
			b.ReportAllocs()
			for b.Loop() {
				f, err := bitstream.OpenFile(path, bitstream.Options{})
				if err != nil {
					b.Fatal(err)
				}
				p, err := f.Payload()
				if err != nil {
					b.Fatal(err)
				}
				sink = p.Addr
				b.StopTimer()
				most = max(most, status(b, "RssAnon")-before)
				b.StartTimer()
				f.Close()
			}
			b.ReportMetric(float64(most)/mib, "anonMiB")
		})
	}
}

func BenchmarkCheckHeader(b *testing.B) {
	root, dir := host(b)
	must(b)(bt.WriteGBS(dir, bt.GBS{Payload: make([]byte, mib)}))
	must(b)(bt.WriteAOCX(dir, bt.AOCX{GBS: bt.GBS{Payload: make([]byte, mib)}}))
	for name, fn := range map[string]string{"gbs": bt.AFU, "aocx": bt.Hash} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bitstream.CheckHeader(root, store, bt.Interface, functionID(fn), bitstream.Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
