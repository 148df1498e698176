package hookfile_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/hookfile"
)

func TestInstallPutsTheProgramAndTheLinkInPlaceOnce(t *testing.T) {
	h := newHost(t)
	old := unix.Umask(0o077) // must not matter
	in := h.mustInstall('a', "v1")
	unix.Umask(old)
	if want := hookfile.FileName("v1", digest('a')); in != (hookfile.Installed{Name: want, Copied: true, Linked: true}) {
		t.Fatalf("%+v, want %s", in, want)
	}
	h.whole(in.Name, 'a')
	for _, dir := range []string{"opt", "opt/inlay", "opt/inlay/bin"} {
		if st, err := os.Stat(filepath.Join(h.root, dir)); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", dir, st.Mode(), err)
		}
	}
	before, err := os.Stat(h.bin(in.Name))
	if err != nil {
		t.Fatal(err)
	}
	again := h.mustInstall('a', "v1")
	after, err := os.Stat(h.bin(in.Name))
	if err != nil || again.Copied || again.Linked || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("the second time: %+v, %v", again, err)
	}
}

func TestVersionsStandSideBySideAndTheLinkLeadsToTheLast(t *testing.T) {
	h := newHost(t)
	v1, v2 := h.mustInstall('a', "v1"), h.mustInstall('b', "v2")
	rebuilt := h.mustInstall('c', "v2")
	h.whole(rebuilt.Name, 'c')
	want := []string{hookfile.Name, v1.Name, v2.Name, rebuilt.Name}
	slices.Sort(want)
	if got := h.names(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if down := h.mustInstall('a', "v1"); down.Copied || !down.Linked {
		t.Errorf("a downgrade: %+v", down)
	}
	h.whole(v1.Name, 'a')
}

func TestInstallMendsWhatIsNotAsItShouldBe(t *testing.T) {
	name := hookfile.FileName("v1", digest('a'))
	for _, tt := range []struct {
		what    string
		arrange func(h *host) error
		root    bool
	}{
		{"other content", func(h *host) error { return os.WriteFile(h.bin(name), content('b'), 0o755) }, false},
		{"a byte changed", func(h *host) error {
			f, err := os.OpenFile(h.bin(name), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("x"), 1000)
			return err
		}, false},
		{"empty", func(h *host) error { return os.Truncate(h.bin(name), 0) }, false},
		{"writable by others", func(h *host) error { return os.Chmod(h.bin(name), 0o777) }, false},
		{"writable by its group", func(h *host) error { return os.Chmod(h.bin(name), 0o775) }, false},
		{"not to be run", func(h *host) error { return os.Chmod(h.bin(name), 0o644) }, false},
		{"set-uid", func(h *host) error { return unix.Chmod(h.bin(name), 0o4755) }, false},
		{"another owner", func(h *host) error { return os.Chown(h.bin(name), 4711, 0) }, true},
		{"a link to a good one", func(h *host) error {
			return firstError(os.Rename(h.bin(name), h.bin("elsewhere")), os.Symlink("elsewhere", h.bin(name)))
		}, false},
		{"a link out of the folder", func(h *host) error {
			return firstError(os.Remove(h.bin(name)), os.Symlink(h.outside(), h.bin(name)))
		}, false},
		{"a dangling link", func(h *host) error {
			return firstError(os.Remove(h.bin(name)), os.Symlink("nothing", h.bin(name)))
		}, false},
		{"a FIFO", func(h *host) error {
			return firstError(os.Remove(h.bin(name)), unix.Mkfifo(h.bin(name), 0o755))
		}, false},
		{"a socket", func(h *host) error {
			return firstError(os.Remove(h.bin(name)), unix.Mknod(h.bin(name), unix.S_IFSOCK|0o755, 0))
		}, false},
		{"no link", func(h *host) error { return os.Remove(h.bin("inlay-hook")) }, false},
		{"a program in the link's place", func(h *host) error {
			return firstError(os.Remove(h.bin("inlay-hook")), os.WriteFile(h.bin("inlay-hook"), content('o'), 0o755))
		}, false},
		{"a link elsewhere", func(h *host) error {
			return firstError(os.Remove(h.bin("inlay-hook")), os.Symlink("/usr/bin/true", h.bin("inlay-hook")))
		}, false},
		{"a link that leads there by a detour", func(h *host) error {
			return firstError(os.Remove(h.bin("inlay-hook")), os.Symlink("./"+name, h.bin("inlay-hook")))
		}, false},
		{"what a killed installer left", func(h *host) error {
			return firstError(os.WriteFile(h.bin(".inlay-hook-host.X"), content('a')[:10], 0o600), os.Symlink("x", h.bin(".inlay-hook-host.Y")))
		}, false},
	} {
		t.Run(tt.what, func(t *testing.T) {
			if tt.root {
				needsRoot(t)
			}
			h := newHost(t)
			if err := os.WriteFile(h.outside(), []byte("untouched"), 0o644); err != nil {
				t.Fatal(err)
			}
			h.mustInstall('a', "v1")
			if err := tt.arrange(h); err != nil {
				t.Fatal(err)
			}
			h.mustInstall('a', "v1")
			h.whole(name, 'a')
			for _, left := range h.names() {
				if hookfile.Leftover(left) {
					t.Errorf("left: %s", left)
				}
			}
			if b, err := os.ReadFile(h.outside()); err != nil || string(b) != "untouched" {
				t.Errorf("a link was followed: %d bytes, %v", len(b), err)
			}
		})
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestInstallRefusesAFolderThatOthersCouldChange(t *testing.T) {
	name := hookfile.FileName("v1", digest('a'))
	for _, tt := range []struct {
		what, wantErr string
		arrange       func(h *host) error
		root          bool
	}{
		{"writable by others", "folder ROOT/opt/inlay/bin has mode 0777: others than root can write it", func(h *host) error {
			return os.Chmod(h.bin(""), 0o777)
		}, false},
		{"writable by its group", "folder ROOT/opt/inlay/bin has mode 0775", func(h *host) error { return os.Chmod(h.bin(""), 0o775) }, false},
		{"sticky", "folder ROOT/opt has mode 1777", func(h *host) error {
			return unix.Chmod(filepath.Join(h.root, "opt"), 0o1777)
		}, false},
		{"the one above", "folder ROOT/opt/inlay has mode 0777", func(h *host) error { return os.Chmod(filepath.Join(h.root, "opt/inlay"), 0o777) }, false},
		{"the host root", "folder ROOT has mode 0777", func(h *host) error { return os.Chmod(h.root, 0o777) }, false},
		{"another owner", "folder ROOT/opt/inlay belongs to uid 4711, not to root", func(h *host) error {
			return os.Chown(filepath.Join(h.root, "opt/inlay"), 4711, 0)
		}, true},
		{"a link", "ROOT/opt/inlay is a link or no folder", func(h *host) error {
			return firstError(os.Rename(filepath.Join(h.root, "opt/inlay"), filepath.Join(h.root, "opt/real")),
				os.Symlink("real", filepath.Join(h.root, "opt/inlay")))
		}, false},
		{"a link at the end", "ROOT/opt/inlay/bin is a link or no folder", func(h *host) error {
			return firstError(os.RemoveAll(h.bin("")), os.Symlink("/tmp", h.bin("")))
		}, false},
		{"a file", "ROOT/opt/inlay/bin is a link or no folder", func(h *host) error {
			return firstError(os.RemoveAll(h.bin("")), os.WriteFile(h.bin(""), nil, 0o644))
		}, false},
		{"a FIFO", "ROOT/opt/inlay/bin is a link or no folder", func(h *host) error {
			return firstError(os.RemoveAll(h.bin("")), unix.Mkfifo(h.bin(""), 0o644))
		}, false},
		{"a folder in the program's place", name + " is a folder: take it away", func(h *host) error {
			return firstError(os.Remove(h.bin(name)), os.Mkdir(h.bin(name), 0o755))
		}, false},
		{"a folder in the link's place", "inlay-hook is a folder: take it away", func(h *host) error {
			return firstError(os.Remove(h.bin("inlay-hook")), os.Mkdir(h.bin("inlay-hook"), 0o755))
		}, false},
	} {
		t.Run(tt.what, func(t *testing.T) {
			if tt.root {
				needsRoot(t)
			}
			h := newHost(t)
			h.mustInstall('a', "v1")
			if err := tt.arrange(h); err != nil {
				t.Fatal(err)
			}
			_, err := h.install('a', "v1")
			if want := strings.ReplaceAll(tt.wantErr, "ROOT", h.root); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
			_ = os.Chmod(h.root, 0o755) // the end of the test takes it away
		})
	}
}

func TestWithoutCreateNothingIsMade(t *testing.T) {
	h := newHost(t)
	if f, err := hookfile.OpenFolder(h.root, bin, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, %v", f, err)
	}
	if entries, err := os.ReadDir(h.root); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestTheFolderIsOneInstallersAtATime(t *testing.T) {
	h := newHost(t)
	folder, err := hookfile.OpenFolder(h.root, bin, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := folder.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := hookfile.OpenFolder(h.root, bin, true)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := other.Install(ctx, program(t, 'a'), "v1"); err == nil || !strings.Contains(err.Error(), "another process is changing it") {
		t.Error(err)
	}
	folder.Close()
	if _, err := other.Install(t.Context(), program(t, 'a'), "v1"); err != nil {
		t.Error(err)
	}
}

func TestSweepTakesOnlyVersionsThatNobodyNeeds(t *testing.T) {
	h := newHost(t)
	v1, v2, v3 := h.mustInstall('a', "v1"), h.mustInstall('b', "v2"), h.mustInstall('c', "v3")
	link := "inlay-hook-v0-00000000"
	folderName := "inlay-hook-v0-11111111"
	if err := firstError(
		os.Symlink("inlay-nri", h.bin(link)), os.Mkdir(h.bin(folderName), 0o755),
		os.WriteFile(h.bin("inlay-nri"), nil, 0o755), os.WriteFile(h.bin("inlay-hook-1.2.3"), nil, 0o755),
	); err != nil {
		t.Fatal(err)
	}
	folder, err := hookfile.OpenFolder(h.root, bin, false)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	gone, err := folder.Sweep(t.Context(), func(name string, written time.Time) bool {
		if age := time.Since(written); name != link && (age < -time.Minute || age > time.Hour) {
			t.Errorf("%s was written %v ago", name, age)
		}
		return name == v1.Name
	})
	slices.Sort(gone)
	want := []string{link, v2.Name}
	slices.Sort(want)
	if err != nil || !slices.Equal(gone, want) {
		t.Errorf("gone %q, %v; want %q", gone, err, want)
	}
	left := []string{hookfile.Name, v1.Name, v3.Name, folderName, "inlay-nri", "inlay-hook-1.2.3"}
	slices.Sort(left)
	if got := h.names(); !slices.Equal(got, left) {
		t.Errorf("left %q, want %q", got, left)
	}
	h.whole(v3.Name, 'c') // to which the link leads stays, whoever names it
}
