package hookfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/hookfile"
)

// pinned is a hook folder with one program, and how often its content was looked at.
type pinned struct {
	t     *testing.T
	file  string
	pin   *hookfile.Pinned
	reads int
}

func newPinned(t *testing.T) *pinned {
	t.Helper()
	p := &pinned{t: t, file: filepath.Join(t.TempDir(), "hook"), pin: hookfile.Pin(digest('a'))}
	p.write(content('a'))
	return p
}

func (p *pinned) write(b []byte) {
	p.t.Helper()
	if err := os.WriteFile(p.file, b, 0o755); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pinned) check() error {
	return p.pin.Check(func(flags int) (*os.File, error) {
		if flags&unix.O_PATH == 0 {
			p.reads++
		}
		return os.OpenFile(p.file, flags, 0)
	})
}

// age waits until the file's identity is believed to stand for its content.
func (p *pinned) age() { time.Sleep(1100 * time.Millisecond) }

func TestTheProgramIsReadOnceAsLongAsItIsTheSameFile(t *testing.T) {
	p := newPinned(t)
	for range 3 {
		if err := p.check(); err != nil {
			t.Fatal(err)
		}
	}
	if p.reads != 3 {
		t.Errorf("a file that has just changed was read %d times of 3", p.reads)
	}
	p.age()
	p.reads = 0
	for range 100 {
		if err := p.check(); err != nil {
			t.Fatal(err)
		}
	}
	if p.reads != 1 {
		t.Errorf("read %d times, want once", p.reads)
	}
}

func TestAnotherProgramIsFoundHoweverItCame(t *testing.T) {
	const not = "is not the one that inlay-nri was shipped with: its SHA-256 begins "
	cases := []struct {
		what    string
		arrange func(p *pinned) error
		wantErr string
		root    bool
	}{
		{"by rename", func(p *pinned) error {
			return firstError(os.WriteFile(p.file+".new", content('b'), 0o755), os.Rename(p.file+".new", p.file))
		}, not, false},
		{"in place, of the same size and time", func(p *pinned) error {
			st, err := os.Stat(p.file)
			if err != nil {
				return err
			}
			f, err := os.OpenFile(p.file, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte("x"), 1000); err != nil {
				return err
			}
			return os.Chtimes(p.file, st.ModTime(), st.ModTime())
		}, not, false},
		{"longer", func(p *pinned) error { return os.WriteFile(p.file, append(content('a'), 0), 0o755) }, not, false},
		{"empty", func(p *pinned) error { return os.Truncate(p.file, 0) }, not, false},
		{"gone", func(p *pinned) error { return os.Remove(p.file) }, "no such file", false},
		{"too large", func(p *pinned) error { return os.Truncate(p.file, 1<<30) }, "has 1073741824 bytes: it is not inlay-hook", false},
		{"writable by others", func(p *pinned) error { return os.Chmod(p.file, 0o757) }, "has mode 0757: others than root can write it", false},
		{"no program", func(p *pinned) error { return os.Chmod(p.file, 0o644) }, "is not an executable file", false},
		{"another owner", func(p *pinned) error { return os.Chown(p.file, 4711, 0) }, "belongs to uid 4711, not to root", true},
		{"a link to the right one", func(p *pinned) error {
			return firstError(os.Rename(p.file, p.file+".real"), os.Symlink(p.file+".real", p.file))
		}, "is a link", false},
		{"a FIFO", func(p *pinned) error { return firstError(os.Remove(p.file), unix.Mkfifo(p.file, 0o755)) }, "is not an executable file", false},
		{"a folder", func(p *pinned) error { return firstError(os.Remove(p.file), os.Mkdir(p.file, 0o755)) }, "is not an executable file", false},
	}
	programs := make([]*pinned, len(cases))
	for i := range cases {
		programs[i] = newPinned(t)
	}
	programs[0].age()
	for i, tt := range cases {
		t.Run(tt.what, func(t *testing.T) {
			if tt.root {
				needsRoot(t)
			}
			p := programs[i]
			if err := p.check(); err != nil {
				t.Fatal(err)
			}
			if err := tt.arrange(p); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := p.check(); err == nil || !strings.Contains(err.Error(), tt.wantErr) || !strings.Contains(err.Error(), p.file) {
					t.Errorf("%v, want %q", err, tt.wantErr)
				}
			}
			if err := os.RemoveAll(p.file); err != nil {
				t.Fatal(err)
			}
			p.write(content('a'))
			if err := p.check(); err != nil {
				t.Errorf("once it is back: %v", err)
			}
		})
	}
}

func TestAWrongProgramIsReadOnceToo(t *testing.T) {
	p := newPinned(t)
	p.write(content('b'))
	p.age()
	for range 10 {
		if err := p.check(); err == nil {
			t.Fatal("passed")
		}
	}
	if p.reads != 1 {
		t.Errorf("read %d times, want once", p.reads)
	}
}
