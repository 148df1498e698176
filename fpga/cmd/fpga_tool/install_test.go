package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	bt "github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
)

const place = "srv/intel.com/fpga/" + bt.Interface + "/" + bt.AFU + ".gbs"

// files lists what lies in the folder of the interface.
func (b *bench) files() string {
	entries, err := os.ReadDir(filepath.Dir(filepath.Join(b.root, place)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestInstallCopiesWholeFilesOnly(t *testing.T) {
	old, valid := "an old file", string(bt.GBS{}.Bytes())
	for name, test := range map[string]struct {
		args   string
		before func(*bench)
		code   int
		want   string // content at place afterwards; "" = no file
	}{
		"new":                   {args: "install", want: valid},
		"quiet":                 {args: "-q install", want: valid},
		"dry run":               {args: "-dry-run install"},
		"quiet dry run":         {args: "-q -dry-run install"}, // regression, spec 8.40: it was copied
		"quiet double dash":     {args: "--q --dry-run install"},
		"flags behind":          {args: "install -dry-run"},
		"JSON dry run":          {args: "-o json -dry-run install"},
		"there already":         {args: "install", before: func(b *bench) { b.file(place, old) }, code: 1, want: old},
		"there already, dry":    {args: "-dry-run install", before: func(b *bench) { b.file(place, old) }, code: 1, want: old},
		"there already, force":  {args: "-force install", before: func(b *bench) { b.file(place, old) }, want: valid},
		"force dry":             {args: "-force -dry-run install", before: func(b *bench) { b.file(place, old) }, want: old},
		"a broken link there":   {args: "install", before: func(b *bench) { b.file(place, "-> nowhere") }, code: 1},
		"force over a link":     {args: "-force install", before: func(b *bench) { b.file("target", old); b.file(place, "-> ../../../../target") }, want: valid},
		"folder cannot be made": {args: "install", before: func(b *bench) { b.file(filepath.Dir(place), old) }, code: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.file("some.gbs", valid)
			if test.before != nil {
				test.before(b)
			}
			code, _, stderr := b.run(append([]string{"-b", "ROOT/some.gbs"}, strings.Fields(test.args)...)...)
			if code != test.code || (code != 0) != (strings.Count(stderr, "\n") == 1) {
				t.Errorf("exit %d, stderr %q; want %d", code, stderr, test.code)
			}
			path := filepath.Join(b.root, place)
			if got, _ := os.ReadFile(path); string(got) != test.want {
				t.Errorf("the store holds %.40q, want %.40q", got, test.want)
			}
			if name == "folder cannot be made" {
				return
			}
			if names := b.files(); strings.TrimSuffix(names, filepath.Base(place)) != "" {
				t.Errorf("left in the store: %s", names)
			}
			if st, err := os.Stat(path); err == nil && test.want == valid && st.Mode() != 0o644 {
				t.Errorf("mode %v", st.Mode())
			}
			if got, err := os.ReadFile(filepath.Join(b.root, "target")); err == nil && string(got) != old {
				t.Error("the link's target was written")
			}
		})
	}
}

func TestInstallFollowsAliasFoldersInsideTheHost(t *testing.T) {
	b := newBench(t)
	b.file("some.gbs", string(bt.GBS{}.Bytes()))
	b.file("srv/alias/keep", "")
	b.file("srv/intel.com/fpga/"+bt.Interface, "-> /srv/alias")
	if code, _, stderr := b.run("-b", "ROOT/some.gbs", "install"); code != 0 {
		t.Fatal(stderr)
	}
	if _, err := os.Stat(filepath.Join(b.root, "srv/alias", bt.AFU+".gbs")); err != nil {
		t.Error(err)
	}
}

// The hook resolves the store's links inside the host root: what is installed must be where it looks.
func TestInstallNeverLeavesTheHostRoot(t *testing.T) {
	for _, link := range []string{"srv/intel.com/fpga/" + bt.Interface, "srv/intel.com", "srv"} {
		for _, inside := range []bool{false, true} {
			b, outside := newBench(t), t.TempDir()
			b.file("some.gbs", string(bt.GBS{}.Bytes()))
			b.file(link, "-> "+outside)
			if inside {
				b.file(filepath.Join(outside, "keep"), "")
			}
			code, _, stderr := b.run("-b", "ROOT/some.gbs", "install")
			if !inside && (code != 1 || !strings.Contains(stderr, "ROOT/"+link+" is a link to \""+outside+"\", which is not there inside the host root")) {
				t.Errorf("%s: exit %d, %s", link, code, stderr)
			}
			if inside {
				at := strings.TrimPrefix(strings.TrimPrefix(place, link), "/")
				if _, err := os.Stat(filepath.Join(b.root, outside, at)); err != nil || code != 0 {
					t.Errorf("%s: exit %d, %s, %v", link, code, stderr, err)
				}
			}
			if names, err := os.ReadDir(outside); err != nil || len(names) > 0 {
				t.Errorf("%s: outside the host root: %v, %v", link, names, err)
			}
		}
	}
}

func TestInstallRemovesWhatAKilledOneLeft(t *testing.T) {
	b := newBench(t)
	b.file("some.gbs", string(bt.GBS{}.Bytes()))
	dir := filepath.Dir(place)
	kept := map[string]string{
		"/.hidden": "", "/" + bt.OtherAFU + ".gbs": "x", "/." + bt.AFU + ".gbs": "", "/." + bt.AFU + ".gbs.old": "",
		"/." + bt.AFU + ".gbs.8": "-> " + bt.OtherAFU + ".gbs",
	}
	for name, text := range kept {
		b.file(dir+name, text)
	}
	b.file(dir+"/."+bt.AFU+".gbs.503000280", "half")
	b.file(dir+"/."+strings.Repeat("c", 40)+".aocx.7", "half")
	living, err := os.Open(b.file(dir+"/."+bt.AFU+".gbs.9", "half"))
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	if err := unix.Flock(int(living.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := b.run("-b", "ROOT/some.gbs", "install"); code != 0 {
		t.Fatal(stderr)
	}
	var want []string
	for name := range kept {
		want = append(want, name[1:])
	}
	want = append(want, "."+bt.AFU+".gbs.9", bt.AFU+".gbs")
	slices.Sort(want)
	if diff := cmp.Diff(strings.Join(want, " "), b.files()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestInstallEndsWithASignalAndLeavesNothing(t *testing.T) {
	b := newBench(t)
	b.file("some.gbs", string(bt.GBS{}.Bytes()))
	b.ended = errors.New("ended by SIGTERM")
	code, _, stderr := b.run("-b", "ROOT/some.gbs", "install")
	if want := "fpga_tool: install: ROOT/" + place + ": not installed: ended by SIGTERM\n"; code != 1 || stderr != want {
		t.Errorf("exit %d, %q; want %q", code, stderr, want)
	}
	if names := b.files(); names != "" {
		t.Errorf("left in the store: %s", names)
	}
}

func TestNothingIsReadAfterASignal(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	end(errors.New("ended by SIGTERM"))
	if n, err := io.Copy(io.Discard, reader{ctx, strings.NewReader("text")}); n != 0 || err == nil || err.Error() != "not installed: ended by SIGTERM" {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestInstallsAtTheSameTimeLeaveEachOtherAlone(t *testing.T) {
	b := newBench(t)
	b.file("some.gbs", string(bt.GBS{}.Bytes()))
	var installs sync.WaitGroup
	for range 8 {
		installs.Go(func() {
			for range 20 {
				if code, _, stderr := b.run("-b", "ROOT/some.gbs", "-force", "install"); code != 0 {
					t.Errorf("exit %d, %s", code, stderr)
				}
			}
		})
	}
	installs.Wait()
	if names := b.files(); names != filepath.Base(place) {
		t.Errorf("in the store: %s", names)
	}
}

// The same with a process, in the middle of a large copy.
func TestASignalReachesTheCopy(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT} {
		b := newBench(t)
		large := b.file("large.gbs", string(bt.GBS{}.Bytes()))
		if err := os.Truncate(large, 500<<20); err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd := exec.Command(os.Args[0], "-host-root", b.root, "-b", large, "install")
		cmd.Env, cmd.Stderr = append(os.Environ(), asTool+"=1"), &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); b.files() == "" && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		_ = cmd.Process.Signal(sig)
		_ = cmd.Wait()
		if want := "not installed: ended by " + unix.SignalName(sig) + "\n"; cmd.ProcessState.ExitCode() != 1 || !strings.HasSuffix(stderr.String(), want) {
			t.Errorf("%v, stderr %q; want %q", cmd.ProcessState, stderr.String(), want)
		}
		if names := b.files(); names != "" {
			t.Errorf("left in the store: %s", names)
		}
	}
}

// Regression, spec 8.41: ids out of the file became a path unchecked.
func TestFileWithClimbingIDsIsNotInstalled(t *testing.T) {
	b := newBench(t)
	b.file("evil.gbs", string(bt.GBS{Interface: "../../../../evil"}.Bytes()))
	b.file("evil.aocx", string(bt.AOCX{Hash: "../../../../evil"}.Bytes()))
	for _, name := range []string{"evil.gbs", "evil.aocx"} {
		if code, _, stderr := b.run("-b", "ROOT/"+name, "-force", "install"); code != 1 || !strings.Contains(stderr, "hex digits") {
			t.Errorf("%s: exit %d, %s", name, code, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(b.root, "srv")); err == nil {
		t.Error("something was made in the store")
	}
}
