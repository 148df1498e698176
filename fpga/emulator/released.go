package emulator

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A released port stays released until it is assigned, over the life of one emulator: a user runs `release` and `assign`
// as two commands, each perhaps under an emulator of its own. The names are kept in the tree, a line each; the port
// itself is back in the tree while no emulator runs.

func (b *board) releasedFile() string { return filepath.Join(b.root, stashDir, "released") }

// recallReleased takes ports that an earlier emulator left released out of the tree again.
func (b *board) recallReleased() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, err := os.ReadFile(b.releasedFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for name := range strings.FieldsSeq(string(text)) {
		if p := b.ports[name]; p != nil && !p.onVF {
			p.released = true
			errs = append(errs, b.place(p))
		}
	}
	return errors.Join(errs...)
}

// keepReleased writes the names down. board.mu is held by the caller.
func (b *board) keepReleased() error {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(b.ports)) {
		if b.ports[name].released {
			names = append(names, name)
		}
	}
	file := b.releasedFile()
	if len(names) == 0 {
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.Join(names, "\n")+"\n"), 0o644)
}
