package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// diskFull are the folders that Inlay writes to, with the places where they are on the node. The store is none of them:
// Inlay's daemons and hook only read it, and what a full disk does there is to leave half a file behind; see files.go.
var diskFull = map[string]string{"run": "/run/inlay", "state": "/var/lib/inlay"}

func folders() []string { return slices.Sorted(maps.Keys(diskFull)) }

// mountDisks mounts small file systems where Inlay is going to write.
func (s *Scene) mountDisks(ctx context.Context) error {
	for _, dir := range folders() {
		path := diskFull[dir]
		if err := os.MkdirAll(s.at(path), 0o755); err != nil {
			return err
		}
		if err := s.inNode(ctx, "mount", "-t", "tmpfs", "-o", "size=2m,mode=0755", "tmpfs", path); err != nil {
			return err
		}
	}
	return nil
}

// filler is the file that takes all room of a disk.
const filler = ".filler"

func (s *Scene) fill(dir string) error {
	f, err := os.Create(filepath.Join(s.at(diskFull[dir]), filler))
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for len(block) > 0 { // to the last byte
		n, err := f.Write(block)
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			return err
		}
		if err != nil && n == 0 {
			block = block[:len(block)/2]
		}
	}
	return nil
}

func (s *Scene) empty(dir string) error {
	err := os.Remove(filepath.Join(s.at(diskFull[dir]), filler))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// inNode runs a command in the node's mount namespace.
func (s *Scene) inNode(ctx context.Context, command ...string) error {
	args := append([]string{fmt.Sprintf("--mount=/proc/%d/ns/mnt", s.nodePid), "--"}, command...)
	if out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s on the node: %w: %s", strings.Join(command, " "), err, out)
	}
	return nil
}
