package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// greet accepts one connection and says which socket it is.
func greet(l *Listener, name string) {
	if conn, err := l.Accept(); err == nil {
		fmt.Fprint(conn, name)
		conn.Close()
	}
}

func dialed(t *testing.T, path string) string {
	t.Helper()
	conn, err := Dial(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var buf [16]byte
	n, _ := conn.Read(buf[:])
	return string(buf[:n])
}

func TestPathsOfAnyLength(t *testing.T) {
	for _, n := range []int{1, MaxPath, 200} {
		dir := t.TempDir()
		if pad := n - len(dir); pad > 1 {
			dir = filepath.Join(dir, strings.Repeat("d", min(pad, 200)))
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "s.sock")
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		go greet(l, "here")
		if got := dialed(t, path); got != "here" {
			t.Errorf("%d bytes: %q", len(path), got)
		}
		l.Remove()
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%d bytes: left behind %v", len(path), left)
		}
	}
}

func TestNewSocketReplacesTheOldOneWithoutAGap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if ours, there := first.InPlace(); !ours || !there {
		t.Error("a new socket is not in place")
	}
	second, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	go greet(second, "second")
	if ours, there := first.InPlace(); ours || !there {
		t.Error("a replaced socket thinks it is in place")
	}
	first.Remove()
	if got := dialed(t, path); got != "second" {
		t.Errorf("the path leads to %q", got)
	}
	second.Remove()
	if _, there := second.InPlace(); there {
		t.Error("a removed socket is there")
	}
}

func TestSocketIsItsOwnersOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Remove()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestMissingFolder(t *testing.T) {
	for _, dir := range []string{"missing", strings.Repeat("m", 150)} {
		path := filepath.Join(t.TempDir(), dir, "s.sock")
		if _, err := Listen(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Listen: %v", err)
		}
		if _, err := Dial(context.Background(), path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Dial: %v", err)
		}
	}
}

func TestTheProcessBehindASocketIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Remove()
	conn, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := Server(conn), fmt.Sprintf("process %d (%s)", os.Getpid(), strings.TrimSpace(string(comm))); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
