package fpga

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/containerd/nri/pkg/api"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/hookfile"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Hook is the program that a container's runtime runs on the host.
type Hook struct {
	Root    *hostfs.Root  // the tree in which Path is found
	Path    string        // host path of inlay-hook
	Args    []string      // where the hook finds things, as the host has them
	Timeout time.Duration // the runtime kills it after that
	// Program is what the file at Path must be; nil = whatever somebody installed there.
	Program *hookfile.Pinned
}

// check refuses a container whose hook could not run, or is not the one that belongs to this process: the runtime would
// say so less clearly, or not at all.
func (h Hook) check() error {
	open := func(flags int) (*os.File, error) { return h.Root.Open(h.Path, flags) }
	check := installed
	if h.Program != nil {
		check = h.Program.Check
	}
	err := check(open)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("hook is missing on this node: %w", err)
	}
	if err != nil {
		return fmt.Errorf("hook: %w", err)
	}
	return nil
}

// installed looks at a hook that somebody put there by hand.
func installed(open func(flags int) (*os.File, error)) error {
	f, err := open(unix.O_PATH)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("%s is not an executable file", f.Name())
	}
	return nil
}

// margin is left between the hook's own deadline and the runtime's, so that the hook can say what it waited for.
const margin = time.Second

func (h Hook) program(mode, container string, pairs []pair) *api.Hook {
	args := []string{"inlay-hook", "program", "--mode", mode, "--for", container}
	for _, p := range pairs {
		args = append(args, "--pair", p.String())
	}
	own := max(h.Timeout-margin, h.Timeout/2)
	args = append(args, "--timeout", own.String())
	args = slices.Concat(args, h.Args)
	seconds := int(max((h.Timeout+time.Second-1)/time.Second, 1))
	return &api.Hook{Path: h.Path, Args: args, Timeout: api.Int(seconds)}
}
