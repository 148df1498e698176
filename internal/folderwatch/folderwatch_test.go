package folderwatch

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// start runs a Watcher for one test and checks that it leaves no goroutine behind.
func start(t *testing.T) *Watcher {
	t.Helper()
	w, err := New()
	if err != nil {
		t.Skipf("no inotify here: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		goleak.VerifyNone(t)
	})
	return w
}

// watch adds a folder and gives the names that change in it.
func watch(t *testing.T, w *Watcher, f Folder) <-chan string {
	t.Helper()
	names := make(chan string, 1000)
	s, err := w.Add(f, func(name string) { names <- name })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return names
}

func want(t *testing.T, names <-chan string, name string) {
	t.Helper()
	for timeout := time.After(5 * time.Second); ; {
		select {
		case got := <-names:
			if got == name {
				return
			}
		case <-timeout:
			t.Fatalf("nothing heard of %q", name)
		}
	}
}

func silent(t *testing.T, names <-chan string) {
	t.Helper()
	select {
	case got := <-names:
		t.Fatalf("told of %q, expected silence", got)
	case <-time.After(50 * time.Millisecond):
	}
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestNamesComeAndGo(t *testing.T) {
	w, dir := start(t), t.TempDir()
	names := watch(t, w, Folder{Path: dir})
	write(t, filepath.Join(dir, "a"))
	want(t, names, "a")
	if err := os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	want(t, names, "b")
	os.Remove(filepath.Join(dir, "b"))
	want(t, names, "b")
}

func TestWritesAreToldOnlyWhereAskedFor(t *testing.T) {
	w, dir := start(t), t.TempDir()
	file := filepath.Join(dir, "touched")
	write(t, file)
	quiet := watch(t, w, Folder{Path: dir})
	loud := watch(t, w, Folder{Path: dir, Content: true})
	if err := os.Chtimes(file, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	want(t, loud, "touched")
	write(t, file)
	want(t, loud, "touched")
	silent(t, quiet)
}

func TestMatchPicksNames(t *testing.T) {
	w, dir := start(t), t.TempDir()
	names := watch(t, w, Folder{Path: dir, Match: func(n string) bool { return strings.HasPrefix(n, "dfl-") }})
	write(t, filepath.Join(dir, "tty7"))
	silent(t, names)
	write(t, filepath.Join(dir, "dfl-port.0"))
	want(t, names, "dfl-port.0")
}

func TestFolderThatIsMissingIsWaitedFor(t *testing.T) {
	w, dir := start(t), t.TempDir()
	deep := filepath.Join(dir, "var", "run", "cdi")
	names := watch(t, w, Folder{Path: deep})
	write(t, filepath.Join(dir, "other"))
	silent(t, names)
	mkdir(t, deep)
	want(t, names, "")
	// However the kernel split the news of the three folders, the watch must stand by now or soon.
	for range 100 {
		write(t, filepath.Join(deep, "gate.yaml"))
		os.Remove(filepath.Join(deep, "gate.yaml"))
		select {
		case n := <-names:
			if n == "gate.yaml" {
				return
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatal("the new folder is not watched")
}

func TestFolderThatVanishesIsWatchedAgain(t *testing.T) {
	w, dir := start(t), t.TempDir()
	folder := filepath.Join(dir, "device-plugins")
	mkdir(t, folder)
	names := watch(t, w, Folder{Path: folder})
	for range 3 {
		os.RemoveAll(folder)
		want(t, names, "")
		mkdir(t, folder)
		want(t, names, "")
		time.Sleep(20 * time.Millisecond) // the watch is placed on the Watcher's goroutine
		write(t, filepath.Join(folder, "kubelet.sock"))
		want(t, names, "kubelet.sock")
	}
}

func TestTwoNamesOfOneFolder(t *testing.T) {
	w, dir := start(t), t.TempDir()
	mkdir(t, filepath.Join(dir, "run"))
	if err := os.Symlink("run", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	a := watch(t, w, Folder{Path: filepath.Join(dir, "run")})
	b := watch(t, w, Folder{Path: filepath.Join(dir, "link")})
	write(t, filepath.Join(dir, "run", "f"))
	want(t, a, "f")
	want(t, b, "f")
}

func TestSubscriptionsDoNotNeedEachOther(t *testing.T) {
	w, dir := start(t), t.TempDir()
	first, err := w.Add(Folder{Path: dir}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	names := watch(t, w, Folder{Path: dir})
	first.Close()
	write(t, filepath.Join(dir, "f"))
	want(t, names, "f")
}

func TestOverflowSaysLookAtEverything(t *testing.T) {
	w, err := New()
	if err != nil {
		t.Skipf("no inotify here: %v", err)
	}
	defer w.file.Close()
	var got []string
	if _, err := w.Add(Folder{Path: t.TempDir()}, func(n string) { got = append(got, n) }); err != nil {
		t.Fatal(err)
	}
	var event [unix.SizeofInotifyEvent]byte
	for i := range 4 {
		event[i] = 0xff // wd -1
	}
	event[5] = unix.IN_Q_OVERFLOW >> 8
	w.deliver(event[:])
	if len(got) != 1 || got[0] != "" {
		t.Fatalf("overflow told as %q", got)
	}
}
