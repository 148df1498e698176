package fpga

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"time"

	"github.com/containerd/nri/pkg/api"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/hostfs"
)

// Hook is the program that a container's runtime runs on the host. Its paths are the host's; options that have their
// default are left out, so that the hook takes them from where it runs.
type Hook struct {
	Path    string        // host path of inlay-hook
	Timeout time.Duration // the runtime kills it after that
	// HostRoot is the host tree as the hook sees it: "" for the host itself, a folder where a test's tree stands apart.
	HostRoot     string
	Store        string // host path, "" = default
	RunDir       string // host path, "" = default
	MaxBitstream int64  // bytes, 0 = default
}

// check refuses a container whose hook could not run: the runtime would say so less clearly.
func (h Hook) check(root *hostfs.Root) error {
	open := func() (*os.File, error) { return root.Open(h.Path, unix.O_PATH) }
	if h.HostRoot != "" { // the tree stands apart from the host that the hook runs on
		open = func() (*os.File, error) { return os.OpenFile(h.Path, unix.O_PATH, 0) }
	}
	f, err := open()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("hook is missing on this node: %w", err)
	}
	if err != nil {
		return fmt.Errorf("hook: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("hook: %w", err)
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("hook %s is not an executable file", f.Name())
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
	if h.HostRoot != "" {
		args = append(args, "--host-root", h.HostRoot)
	}
	if h.Store != "" {
		args = append(args, "--bitstreams", path.Join("/", h.HostRoot, h.Store))
	}
	if h.RunDir != "" {
		args = append(args, "--run-dir", path.Join("/", h.HostRoot, h.RunDir))
	}
	if h.MaxBitstream != 0 {
		args = append(args, "--max-bitstream", strconv.FormatInt(h.MaxBitstream, 10))
	}
	seconds := int(max((h.Timeout+time.Second-1)/time.Second, 1))
	return &api.Hook{Path: h.Path, Args: args, Timeout: api.Int(seconds)}
}
