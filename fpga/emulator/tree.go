package emulator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// TreeOption changes how WriteTree makes a tree.
type TreeOption func(*treeOptions)

type treeOptions struct{ plainNodes bool }

// PlainNodes makes every node of /dev a plain file, also where mknod would be allowed.
func PlainNodes() TreeOption { return func(o *treeOptions) { o.plainNodes = true } }

// WriteTree makes below dir the host tree of a node with these cards: sysfs, device nodes and the folders that Inlay
// and a kubelet use. Nodes are root's with mode 0600, as udev leaves them; where mknod is not permitted they are plain
// empty files. It refuses a dir that has cards already.
func WriteTree(dir string, cards []Card, opts ...TreeOption) error {
	var o treeOptions
	for _, opt := range opts {
		opt(&o)
	}
	entries, err := layoutOf(cards)
	if err != nil {
		return err
	}
	for _, class := range []string{"fpga_region", "fpga"} {
		if _, err := os.Lstat(filepath.Join(dir, "sys/class", class)); err == nil {
			return fmt.Errorf("host tree %s has FPGA cards already; remove its sys first", dir)
		}
	}
	for _, e := range entries {
		if err := e.write(dir, o); err != nil {
			return fmt.Errorf("host tree %s: %w", dir, err)
		}
	}
	return nil
}

func (e entry) write(root string, o treeOptions) error {
	p := filepath.Join(root, e.path)
	if e.kind == dirEntry {
		return os.MkdirAll(p, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	switch e.kind {
	case linkEntry:
		err := os.Symlink(e.text, p)
		if errors.Is(err, fs.ErrExist) { // /var/run of a tree that is used again
			if old, lerr := os.Readlink(p); lerr == nil && old == e.text {
				return nil
			}
		}
		return err
	case nodeEntry:
		return makeNode(p, e.major, e.minor, o.plainNodes)
	default:
		return os.WriteFile(p, []byte(e.text), 0o644)
	}
}

// makeNode replaces what is at p by a node, or by an empty file where nodes cannot be made.
func makeNode(p string, major, minor uint32, plain bool) error {
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !plain {
		err := unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor)))
		if err == nil {
			return os.Chmod(p, 0o600) // whatever the umask is
		}
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
			return &fs.PathError{Op: "mknod", Path: p, Err: err}
		}
	}
	f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// ArchiveText is the tree in the form of the golden trees: a txtar in which a file whose text is "-> target" is a link
// and "c 243:0" a node; empty directories have no place in it.
func ArchiveText(cards []Card) (string, error) {
	entries, err := layoutOf(cards)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range entries {
		name := strings.TrimPrefix(e.path, "/")
		switch e.kind {
		case fileEntry:
			fmt.Fprintf(&b, "-- %s --\n%s", name, e.text)
		case linkEntry:
			fmt.Fprintf(&b, "-- %s --\n-> %s\n", name, e.text)
		case nodeEntry:
			fmt.Fprintf(&b, "-- %s --\nc %d:%d\n", name, e.major, e.minor)
		}
	}
	return b.String(), nil
}
