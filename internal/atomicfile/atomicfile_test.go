package atomicfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/internal/atomicfile"
)

func TestAReaderSeesTheOldFileOrTheNewOne(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	a, b := strings.Repeat("a", 100_000), strings.Repeat("b", 50_000)
	if err := atomicfile.Write(file, []byte(a), 0o600); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got, err := os.ReadFile(file); err != nil || string(got) != a && string(got) != b {
				t.Errorf("a reader saw %d bytes, %v", len(got), err)
				return
			}
		}
	}()
	for i := range 50 {
		if err := atomicfile.Write(file, []byte([]string{a, b}[i%2]), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
	st, err := os.Stat(file)
	if err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if was, err := old.Stat(); err != nil || was.Size() != int64(len(a)) {
		t.Errorf("the file that was open changed: %v, %v", was.Size(), err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func TestAFileInTheCurrentFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := atomicfile.Write("bare", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile("bare"); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestAFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "folder/inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "folder"), filepath.Join(dir, "nothing/file")} {
		if err := atomicfile.Write(path, []byte("x"), 0o600); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}
