package gpu

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// byPathRoot is the folder of the cards' folders of links.
func (f *Family) byPathRoot() string { return filepath.Join(f.c.RunDir, "gpu", "by-path") }

// prepare makes the folders of links what the cards have, in the mode "single", and takes the others away. That of a card
// which is there and cannot be read stays as it is: its containers may be made anew. What fails is said; containers get
// their mounts all the same.
func (f *Family) prepare(found Inventory, mode string) (skipped []plugin.Skipped) {
	if f.c.RunDir == "" {
		return nil
	}
	root := f.byPathRoot()
	wanted, stays := map[string]map[string]string{}, map[string]bool{}
	fail := func(place string, err error) {
		if len(wanted) == 0 { // leftovers, which no container is told of
			f.c.Log.WithError(err).Debug("folder of by-path links")
			return
		}
		skipped = append(skipped, plugin.Skipped{Path: place, Reason: fmt.Sprintf("folder of by-path links for inlay-nri: %v", err)})
	}
	if mode == ByPathSingle {
		for i := range found.Cards {
			c := &found.Cards[i]
			if links := c.relativeLinks(); len(links) > 0 && c.VFs == 0 {
				wanted[c.Name] = links
			}
		}
		for _, name := range found.unread() {
			stays[name] = true
		}
	}
	present, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		fail(root, err)
		return skipped
	}
	for _, e := range present {
		if name := e.Name(); wanted[name] == nil && !stays[name] && isFolderOfLinks(name) {
			if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
				fail(filepath.Join(root, name), err)
			}
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(wanted), natural) {
		if err := keepLinks(root, name, wanted[name]); err != nil {
			fail(filepath.Join(root, name), err)
		}
	}
	return skipped
}

// isFolderOfLinks tells whether a name is a card's, or that of a folder made aside, which a process that was killed left
// behind: ".card0~123".
func isFolderOfLinks(name string) bool {
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "."), "~")
	return numbered(name, "card")
}

// relativeLinks are a card's links as they lie in a container's /dev/dri/by-path, name to target. A link that leads
// elsewhere than to the card is none.
func (c *Card) relativeLinks() map[string]string {
	links := map[string]string{}
	for _, l := range c.ByPath {
		if slices.Contains(c.Nodes, l.Node) {
			links[l.Name] = "../" + filepath.Base(l.Node)
		}
	}
	return links
}

// keepLinks makes a folder hold exactly these links. A folder with others is replaced whole.
func keepLinks(root, name string, want map[string]string) error {
	place := filepath.Join(root, name)
	have, err := readLinks(place)
	if err == nil && maps.Equal(have, want) {
		return nil
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	aside, err := os.MkdirTemp(root, "."+name+"~")
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside) // after the exchange: what was there before
	if err := os.Chmod(aside, 0o755); err != nil {
		return err
	}
	for link, target := range want {
		if err := os.Symlink(target, filepath.Join(aside, link)); err != nil {
			return err
		}
	}
	err = unix.Renameat2(unix.AT_FDCWD, aside, unix.AT_FDCWD, place, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		err = os.Rename(aside, place)
	}
	return err
}

// readLinks gives the links in a folder. Anything else in it is an error.
func readLinks(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	links := map[string]string{}
	for _, e := range entries {
		if links[e.Name()], err = os.Readlink(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return links, nil
}
