// Package hostfstest makes host trees of golden text, for tests and tools.
//
// A golden tree is a txtar archive (golang.org/x/tools/txtar) whose file names are host paths without the leading
// slash. What a file's text begins with says what it becomes:
//
//	-> ../../devices/x      a link, absolute or relative
//	c 243:0                 a character device; where mknod is not permitted, an empty ordinary file stands for it
//	anything else           an ordinary file
//
// A name that ends in a slash becomes a folder, which also serves as an attribute that exists and cannot be read.
package hostfstest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/tools/txtar"

	"github.com/inlay-project/inlay/internal/hostfs"
)

// Option changes how a tree is made.
type Option func(*options)

type options struct{ plainNodes bool }

// PlainNodes makes every node an ordinary file, also where mknod would be permitted.
func PlainNodes() Option { return func(o *options) { o.plainNodes = true } }

// Extract makes the tree of a golden text below dir, which must exist. Links come last, so that nothing is written
// through one.
func Extract(dir string, archive []byte, opts ...Option) error {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	var links []txtar.File
	for _, f := range txtar.Parse(archive).Files {
		if !filepath.IsLocal(f.Name) {
			return fmt.Errorf("golden tree: %q leads out of the tree", f.Name)
		}
		if strings.HasPrefix(string(f.Data), "-> ") {
			links = append(links, f)
			continue
		}
		if err := o.extract(dir, f); err != nil {
			return fmt.Errorf("golden tree: %w", err)
		}
	}
	return makeLinks(dir, links)
}

// makeLinks makes links in a folder that an os.Root keeps them in: one of them may lie behind another.
func makeLinks(dir string, links []txtar.File) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("golden tree: %w", err)
	}
	defer root.Close()
	for _, f := range links {
		if err := root.MkdirAll(filepath.Dir(f.Name), 0o755); err != nil {
			return fmt.Errorf("golden tree: %w", err)
		}
		target := strings.TrimSpace(strings.TrimPrefix(string(f.Data), "-> "))
		if err := root.Symlink(target, f.Name); err != nil {
			return fmt.Errorf("golden tree: %w", err)
		}
	}
	return nil
}

func (o options) extract(dir string, f txtar.File) error {
	place := filepath.Join(dir, f.Name)
	if strings.HasSuffix(f.Name, "/") {
		return os.MkdirAll(place, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return err
	}
	number, isNode := strings.CutPrefix(string(f.Data), "c ")
	if !isNode {
		return os.WriteFile(place, f.Data, 0o644)
	}
	dev, err := hostfs.ParseDev(number)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return o.node(place, dev)
}

func (o options) node(place string, dev hostfs.Dev) error {
	if !o.plainNodes {
		err := unix.Mknod(place, unix.S_IFCHR|0o600, int(unix.Mkdev(dev.Major, dev.Minor)))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("%s: mknod %s: %w", place, dev, err)
		}
	}
	return os.WriteFile(place, nil, 0o600)
}

// ExtractFile is Extract for a golden tree in a file.
func ExtractFile(dir, archive string, opts ...Option) error {
	text, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	if err := Extract(dir, text, opts...); err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	return nil
}
