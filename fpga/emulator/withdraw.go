package emulator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// stashDir, below the host root, keeps what is out of the tree for the moment.
const stashDir = ".fpga-emulator"

// withdrawal is what has to be done to bring a device back.
type withdrawal struct {
	links []savedLink
	moves []savedMove // in the order they were made
}

type (
	savedLink struct{ path, target string }
	savedMove struct{ from, to string }
)

// linkDirs are the places of sysfs that point at devices.
var linkDirs = []string{"sys/class/*", "sys/dev/char", "sys/bus/*/devices", "sys/bus/pci/drivers/*"}

// withdraw takes device directories out of the tree with all that the kernel takes with them: links from class, bus and
// dev, and the nodes of the devices named.
func (b *board) withdraw(dirs []string, names []string) (*withdrawal, error) {
	w := &withdrawal{}
	if _, err := os.Lstat(dirs[0]); errors.Is(err, os.ErrNotExist) {
		return w, nil // another emulator on this tree was first; it will bring it back
	}
	for _, pattern := range linkDirs {
		places, err := filepath.Glob(filepath.Join(b.root, pattern))
		if err != nil {
			return w, err
		}
		for _, place := range places {
			if err := w.takeLinks(place, dirs); err != nil {
				return w, err
			}
		}
	}
	stash, err := b.newStash()
	if err != nil {
		return w, err
	}
	for _, name := range names {
		if err := w.move(filepath.Join(b.root, "dev", name), filepath.Join(stash, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return w, err
		}
	}
	for i, dir := range dirs {
		if err := w.move(dir, filepath.Join(stash, fmt.Sprintf("dir%d", i))); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (b *board) newStash() (string, error) {
	base := filepath.Join(b.root, stashDir)
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(base, "out-")
}

// takeLinks removes from place every link that leads to one of dirs or below it.
func (w *withdrawal) takeLinks(place string, dirs []string) error {
	entries, err := os.ReadDir(place)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, os.ErrNotExist) {
		return nil // a file among the classes, or gone since the places were listed
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(place, e.Name())
		target, err := os.Readlink(path)
		if err != nil {
			continue
		}
		full, err := filepath.EvalSymlinks(path)
		if err != nil || !below(full, dirs) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		w.links = append(w.links, savedLink{path, target})
	}
	return nil
}

func below(path string, dirs []string) bool {
	for _, d := range dirs {
		if path == d || strings.HasPrefix(path, d+"/") {
			return true
		}
	}
	return false
}

func (w *withdrawal) move(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	w.moves = append(w.moves, savedMove{from, to})
	return nil
}

// restore undoes the withdrawal.
func (w *withdrawal) restore() error {
	var stash string
	for i := len(w.moves) - 1; i >= 0; i-- {
		m := w.moves[i]
		if err := os.Rename(m.to, m.from); err != nil {
			return err
		}
		stash = filepath.Dir(m.to)
	}
	for _, l := range w.links {
		if err := os.Symlink(l.target, l.path); err != nil {
			return err
		}
	}
	if stash == "" {
		return nil
	}
	if err := os.Remove(stash); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(stash)) // stays while another device is out
	return nil
}
