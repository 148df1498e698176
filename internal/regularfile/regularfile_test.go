package regularfile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOnlyARegularFileIsOpened(t *testing.T) {
	dir, err := os.MkdirTemp("", "rf") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := func(name string) string { return filepath.Join(dir, name) }
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("text"), 0o600), os.Symlink("file", at("link")), os.Mkdir(at("folder"), 0o700),
		unix.Mkfifo(at("FIFO"), 0o600), os.Symlink("/dev/null", at("device")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"file", "link"} {
		f, err := Open(at(name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f.Close()
	}
	for _, name := range []string{"folder", "FIFO", "socket", "device"} {
		if _, err := Open(at(name)); err == nil || !strings.HasSuffix(err.Error(), name+" is a "+name+", not a regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(at("nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
