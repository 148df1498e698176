package bitstream_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
	bt "github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
	"github.com/inlay-project/inlay/internal/hostfs"
)

const store = "/srv/intel.com/fpga"

// host makes a host tree and gives it and its store's folder.
func host(t testing.TB) (*hostfs.Root, string) {
	t.Helper()
	root, err := hostfs.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, filepath.Join(root.Dir(), store)
}

func must(t testing.TB) func(string, error) string {
	return func(path string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
}

func TestOpenGivesWhatTheStoreHolds(t *testing.T) {
	root, dir := host(t)
	must(t)(bt.WriteGBS(dir, bt.GBS{Payload: []byte("gbs payload")}))
	must(t)(bt.WriteAOCX(dir, bt.AOCX{GBS: bt.GBS{Payload: []byte("aocx payload")}}))
	for _, test := range []struct {
		fn      fpga.FunctionID
		want    bitstream.Info
		payload string
	}{
		{bt.AFU, bitstream.Info{
			Path: store + "/" + bt.Interface + "/" + bt.AFU + ".gbs", Kind: bitstream.GBS,
			Interface: bt.Interface, AFU: bt.AFU, Unique: bt.AFU, PayloadSize: 11,
		}, "gbs payload"},
		{bt.Hash, bitstream.Info{
			Path: store + "/" + bt.Interface + "/" + bt.Hash + ".aocx", Kind: bitstream.AOCX,
			Interface: bt.Interface, AFU: bt.OpenCLAFU, Unique: bt.Hash, PayloadSize: 12,
			Board: "pac_a10", Target: "fpga", Hash: bt.Hash, Version: "17.1.1.273",
		}, "aocx payload"},
	} {
		b, err := bitstream.Open(root, store, bt.Interface, test.fn, bitstream.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		got := b.Info()
		identity, path, err := bitstream.Stat(root, store, bt.Interface, test.fn)
		if err != nil || path != got.Path || identity != got.Identity {
			t.Errorf("Stat(%s) = %v, %s, %v; want %v, %s", test.fn, identity, path, err, got.Identity, got.Path)
		}
		header, err := bitstream.CheckHeader(root, store, bt.Interface, test.fn, bitstream.Options{})
		if err != nil {
			t.Error(err)
		}
		test.want.Identity = got.Identity
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("Open(%s): -want +got\n%s", test.fn, diff)
		}
		if got.Kind == bitstream.AOCX {
			test.want.PayloadSize = 0
		}
		if diff := cmp.Diff(test.want, header); diff != "" {
			t.Errorf("CheckHeader(%s): -want +got\n%s", test.fn, diff)
		}
		if kernel := throughKernel(t, b); kernel != test.payload {
			t.Errorf("payload as a system call sees it: %q, want %q", kernel, test.payload)
		}
		r, err := b.Reader()
		if err != nil {
			t.Fatal(err)
		}
		if read, err := io.ReadAll(r); err != nil || string(read) != test.payload {
			t.Errorf("Reader: %q, %v; want %q", read, err, test.payload)
		}
		if err := b.Unchanged(); err != nil {
			t.Error(err)
		}
	}
}

func TestPlaceDecidesWhichFileIsUsed(t *testing.T) {
	valid := bt.GBS{}.Bytes()
	otherDir := strings.Repeat("ab", 16)
	gbs, aocx := bt.AFU+".gbs", bt.AFU+".aocx"
	tests := map[string]struct {
		make func(t *testing.T, dir, root string)
		kind error  // nil: opens
		text string // in the error's text
	}{
		"nothing there": {
			make: func(*testing.T, string, string) {},
			kind: bitstream.ErrNotFound, text: bt.AFU,
		},
		"a broken gbs wins over a valid aocx": {
			make: func(t *testing.T, dir, _ string) {
				must(t)(bt.Write(dir, bt.Interface, gbs, []byte("broken")))
				must(t)(bt.Write(dir, bt.Interface, aocx, bt.AOCX{Hash: bt.AFU}.Bytes()))
			},
			kind: bitstream.ErrInvalid, text: gbs + ": header: 6 bytes of 20",
		},
		"an aocx by its hash": {
			make: func(t *testing.T, dir, _ string) {
				must(t)(bt.Write(dir, bt.Interface, aocx, bt.AOCX{Hash: bt.AFU}.Bytes()))
			},
		},
		"an aocx with another hash": {
			make: func(t *testing.T, dir, _ string) {
				must(t)(bt.Write(dir, bt.Interface, aocx, bt.AOCX{}.Bytes()))
			},
			kind: bitstream.ErrMismatch, text: `holds function "` + bt.Hash,
		},
		"an aocx without a hash": {
			make: func(t *testing.T, dir, _ string) {
				must(t)(bt.Write(dir, bt.Interface, aocx, bt.AOCX{NoHash: true}.Bytes()))
			},
			kind: bitstream.ErrMismatch, text: `holds function ""`,
		},
		"an aocx with nothing to program": {
			make: func(t *testing.T, dir, _ string) {
				must(t)(bt.Write(dir, bt.Interface, aocx, bt.AOCX{Hash: bt.AFU, NoBin: true}.Bytes()))
			},
			kind: bitstream.ErrInvalid, text: "nothing to program",
		},
		"an aocx for another interface": {
			make: func(t *testing.T, dir, _ string) {
				must(t)(bt.Write(dir, bt.Interface, aocx, bt.AOCX{Hash: bt.AFU, GBS: bt.GBS{Interface: otherDir}}.Bytes()))
			},
			kind: bitstream.ErrMismatch, text: "is for interface " + otherDir,
		},
		"a gbs for another interface": {
			make: func(t *testing.T, dir, _ string) {
				must(t)(bt.Write(dir, bt.Interface, gbs, bt.GBS{Interface: otherDir}.Bytes()))
			},
			kind: bitstream.ErrMismatch, text: "is for interface " + otherDir,
		},
		"a gbs with another AFU": {
			make: func(t *testing.T, dir, _ string) {
				must(t)(bt.Write(dir, bt.Interface, gbs, bt.GBS{AFU: bt.OtherAFU}.Bytes()))
			},
			kind: bitstream.ErrMismatch, text: `holds function "` + bt.OtherAFU,
		},
		"a link": {
			make: func(t *testing.T, dir, _ string) {
				must(t)(bt.Write(dir, "elsewhere", "nlb0.gbs", valid))
				must(t)(bt.Write(dir, bt.Interface, "placeholder", nil))
				link(t, "../elsewhere/nlb0.gbs", filepath.Join(dir, bt.Interface, gbs))
			},
		},
		"an alias folder by an absolute link inside the host": {
			make: func(t *testing.T, dir, _ string) {
				must(t)(bt.Write(dir, "dcp1.2", gbs, valid))
				link(t, store+"/dcp1.2", filepath.Join(dir, bt.Interface))
			},
		},
		"a link out of the host ends inside it": {
			make: func(t *testing.T, dir, root string) {
				outside := filepath.Join(t.TempDir(), "x.gbs")
				if err := os.WriteFile(outside, valid, 0o644); err != nil {
					t.Fatal(err)
				}
				must(t)(bt.Write(dir, bt.Interface, "placeholder", nil))
				link(t, outside, filepath.Join(dir, bt.Interface, gbs))
			},
			kind: bitstream.ErrNotFound, text: gbs,
		},
		"a folder": {
			make: func(t *testing.T, dir, _ string) { must(t)(bt.Write(dir, bt.Interface, gbs+"/x", nil)) },
			kind: bitstream.ErrInvalid, text: "not a regular file",
		},
		"a FIFO, which would never open": {
			make: func(t *testing.T, dir, _ string) {
				must(t)(bt.Write(dir, bt.Interface, "placeholder", nil))
				if err := unix.Mkfifo(filepath.Join(dir, bt.Interface, gbs), 0o644); err != nil {
					t.Fatal(err)
				}
			},
			kind: bitstream.ErrInvalid, text: "not a regular file",
		},
		"the interface's folder is a file": {
			make: func(t *testing.T, dir, _ string) { must(t)(bt.Write(dir, "", bt.Interface, nil)) },
			kind: unix.ENOTDIR, text: "open: not a directory",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root, dir := host(t)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			test.make(t, dir, root.Dir())
			for _, deep := range []bool{true, false} {
				check(t, test.kind, test.text, func() error {
					if !deep {
						_, err := bitstream.CheckHeader(root, store, bt.Interface, bt.AFU, bitstream.Options{})
						return err
					}
					b, err := bitstream.Open(root, store, bt.Interface, bt.AFU, bitstream.Options{})
					if err == nil {
						b.Close()
					}
					return err
				})
			}
		})
	}
}

// check wants an error of that kind, in one line, naming the store once.
func check(t *testing.T, kind error, text string, open func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- open() }()
	var err error
	select {
	case err = <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("open hangs")
	}
	if kind == nil {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v; want %v with %q", err, kind, text)
		return
	}
	if strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), store) > 1 {
		t.Errorf("not one line with the path once: %q", err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func TestIDsThatAreNoneNeverBecomeAPath(t *testing.T) {
	root, dir := host(t)
	must(t)(bt.Write(dir, "", "secret.gbs", bt.GBS{}.Bytes()))
	must(t)(bt.WriteGBS(dir, bt.GBS{}))
	for _, test := range []struct {
		iface fpga.InterfaceID
		fn    fpga.FunctionID
	}{
		{bt.Interface, "../secret"},
		{bt.Interface, ""},
		{bt.Interface, fpga.FunctionID(strings.ToUpper(bt.AFU))},
		{bt.Interface, "../" + bt.Interface + "/" + bt.AFU},
		{"..", "secret"},
		{"", bt.AFU},
		{bt.Interface + "/", bt.AFU},
	} {
		b, err := bitstream.Open(root, store, test.iface, test.fn, bitstream.Options{})
		if !errors.Is(err, bitstream.ErrInvalid) {
			t.Errorf("Open(%q, %q) = %v, %v; want ErrInvalid", test.iface, test.fn, b, err)
		}
	}
}

func TestOpenFileTakesAFileOutsideAnyStore(t *testing.T) {
	dir := t.TempDir()
	path := must(t)(bt.Write(dir, "", "anything.gbs", bt.GBS{}.Bytes()))
	b, err := bitstream.OpenFile(path, bitstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Info(); got.Path != path || got.Unique != bt.AFU {
		t.Errorf("Info: %+v", got)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	for name, kind := range map[string]error{"none.gbs": bitstream.ErrNotFound, "x.bin": bitstream.ErrInvalid, "x.GBS": bitstream.ErrInvalid} {
		if _, err := bitstream.OpenFile(filepath.Join(dir, name), bitstream.Options{}); !errors.Is(err, kind) {
			t.Errorf("OpenFile(%s): %v, want %v", name, err, kind)
		}
	}
}

// Regression, spec 8.42: such a file made the reference's tool crash.
func TestAOCXWithNothingToProgramCanBeShown(t *testing.T) {
	path := must(t)(bt.Write(t.TempDir(), "", "x.aocx", bt.AOCX{NoBin: true}.Bytes()))
	b, err := bitstream.OpenFile(path, bitstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got := b.Info(); got.Hash != bt.Hash || got.Interface != "" {
		t.Errorf("Info: %+v", got)
	}
	if p, err := b.Payload(); !errors.Is(err, bitstream.ErrInvalid) {
		t.Errorf("Payload: %v, %v; want ErrInvalid", p, err)
	}
}

func TestFileThatIsWrittenMeanwhileIsNoticed(t *testing.T) {
	path := must(t)(bt.Write(t.TempDir(), "", "x.gbs", bt.GBS{}.Bytes()))
	b, err := bitstream.OpenFile(path, bitstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if err := b.Unchanged(); !errors.Is(err, bitstream.ErrChanged) || !strings.HasSuffix(err.Error(), ": changed while it was in use") {
		t.Errorf("Unchanged: %v, want ErrChanged", err)
	}
}
