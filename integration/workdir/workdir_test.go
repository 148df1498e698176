package workdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func newDir(t *testing.T, prefix string) (string, func()) {
	t.Helper()
	dir, unlock, err := New(prefix, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	return dir, unlock
}

func TestOnlyAnAbandonedFolderIsSwept(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "mine-")
	held, _ := newDir(t, prefix)
	abandoned, unlock := newDir(t, prefix)
	other, unlockOther := newDir(t, filepath.Join(filepath.Dir(prefix), "other-"))
	unfinished := prefix + "unfinished" // without a lock: its owner is just making it
	if err := os.Mkdir(unfinished, 0o755); err != nil {
		t.Fatal(err)
	}
	unlock() // as the end of the process would
	unlockOther()
	var log strings.Builder
	var ended []string
	Sweep(prefix, &log, func(dir string) error {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("the folder went before its processes: %v", err)
		}
		ended = append(ended, dir)
		return nil
	})
	if !slices.Equal(ended, []string{abandoned}) {
		t.Errorf("ended %v, want %s alone", ended, abandoned)
	}
	if _, err := os.Stat(abandoned); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", abandoned, err)
	}
	for _, dir := range []string{held, other, unfinished} {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
	if want := "taking down " + abandoned + ", which a killed process left behind\n"; log.String() != want {
		t.Errorf("log %q, want %q", log.String(), want)
	}
}

func TestWhatCannotBeEndedIsSaid(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "mine-")
	dir, unlock := newDir(t, prefix)
	unlock()
	var log strings.Builder
	Sweep(prefix, &log, func(string) error { return errors.New("it hangs") })
	if want := dir + ": it hangs\n"; !strings.HasSuffix(log.String(), want) {
		t.Errorf("log %q, want its end %q", log.String(), want)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

func TestTheModeIsTheOneAskedFor(t *testing.T) {
	for _, mode := range []fs.FileMode{0o700, 0o755} {
		dir, _, err := New(filepath.Join(t.TempDir(), "mine-"), mode)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != mode {
			t.Errorf("got %v, %v, want %v", info, err, mode)
		}
	}
}

func TestLogsOfAFailedTestAreKept(t *testing.T) {
	log := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(log, []byte("why"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ artifacts, temporary, want string }{
		{artifacts: "/x", temporary: "/y", want: "/x/TestA_case"},
		{temporary: "/y", want: "/y/inlay-failed/TestA_case"},
	} {
		root := t.TempDir()
		under := func(dir string) string {
			if dir == "" {
				return ""
			}
			return filepath.Join(root, dir)
		}
		t.Setenv("INLAY_ARTIFACTS", under(c.artifacts))
		t.Setenv("TMPDIR", under(c.temporary))
		to := Kept("TestA/case")
		if want := under(c.want); to != want {
			t.Errorf("got %s, want %s", to, want)
		}
		if err := Keep(log, to, "b.log"); err != nil {
			t.Error(err)
		}
		if text, err := os.ReadFile(filepath.Join(to, "b.log")); err != nil || string(text) != "why" {
			t.Errorf("got %q, %v", text, err)
		}
	}
}
