package hookfile_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/hookfile"
)

// asInstaller is the role in which this test binary installs for ever; its argument is the folder.
const asInstaller = "installer"

func TestMain(m *testing.M) {
	unix.Umask(0o022) // the folders that tests make are to be as those of a host
	if childtest.Role() == asInstaller {
		os.Exit(installForever(os.Args[1]))
	}
	os.Exit(m.Run())
}

const bin = "opt/inlay/bin"

// host is a host tree, and programs that can be installed there.
type host struct {
	t    testing.TB
	root string
}

func newHost(t testing.TB) *host {
	t.Helper()
	return &host{t: t, root: t.TempDir()}
}

func (h *host) bin(name string) string { return filepath.Join(h.root, bin, name) }

// outside is a file that links of a test lead to.
func (h *host) outside() string { return filepath.Join(h.root, "outside") }

// content is a program: its first byte and its length tell it from others.
func content(mark byte) []byte { return bytes.Repeat([]byte{mark}, 300_000+int(mark)) }

func digest(mark byte) hookfile.Digest { return sha256.Sum256(content(mark)) }

// program writes a program outside the host.
func program(t testing.TB, mark byte) *os.File {
	t.Helper()
	file := filepath.Join(t.TempDir(), "inlay-hook")
	if err := os.WriteFile(file, content(mark), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func (h *host) install(mark byte, version string) (hookfile.Installed, error) {
	h.t.Helper()
	folder, err := hookfile.OpenFolder(h.root, bin, true)
	if err != nil {
		return hookfile.Installed{}, err
	}
	defer folder.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return folder.Install(ctx, program(h.t, mark), version)
}

func (h *host) mustInstall(mark byte, version string) hookfile.Installed {
	h.t.Helper()
	in, err := h.install(mark, version)
	if err != nil {
		h.t.Fatal(err)
	}
	return in
}

// whole checks that a program is in place as it should be, and that the stable name leads to it.
func (h *host) whole(name string, mark byte) {
	h.t.Helper()
	st, err := os.Lstat(h.bin(name))
	if err != nil {
		h.t.Fatal(err)
	}
	got, err := os.ReadFile(h.bin(name))
	if err != nil {
		h.t.Fatal(err)
	}
	if st.Mode() != 0o755 || !bytes.Equal(got, content(mark)) {
		h.t.Errorf("%s has mode %v and %d bytes", name, st.Mode(), len(got))
	}
	if link, err := os.Readlink(h.bin(hookfile.Name)); err != nil || link != name {
		h.t.Errorf("the stable name leads to %q, %v; want %s", link, err, name)
	}
}

func (h *host) names() []string {
	h.t.Helper()
	entries, err := os.ReadDir(h.bin(""))
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
}
