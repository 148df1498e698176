package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/inlay-project/inlay/internal/buildinfo"
	"github.com/inlay-project/inlay/internal/hookfile"
)

// installLimit bounds install-host: another installer works for milliseconds, and a host's disk is not that slow.
const installLimit = time.Minute

const defaultBinDir = "opt/inlay/bin" // below the host root

// installHost puts this program into the host's hook folder, where inlay-nri looks for the very same: it is what the init
// container of inlay-nri's pod runs, with the image's own copy.
func installHost(ctx context.Context, stdout io.Writer, args []string) error {
	o := options{}
	flags := o.flags("install-host")
	binDir := ""
	flags.StringVar(&binDir, "bin-dir", "", "the hook folder (default <host-root>/opt/inlay/bin)")
	sweep := false
	flags.BoolVar(&sweep, "sweep", false, "take older versions away: no inlay-nri does")
	if err := o.parse(flags, args); err != nil {
		return err
	}
	below, err := o.belowHostRoot(binDir)
	if err != nil {
		return fmt.Errorf("install-host: --bin-dir: %w", err)
	}
	self, err := os.Open("/proc/self/exe") // what runs, whatever has become of its name since
	if err != nil {
		return fmt.Errorf("install-host: %w", err)
	}
	defer self.Close()
	folder, err := hookfile.OpenFolder(o.hostRoot, below, true)
	if err != nil {
		return fmt.Errorf("install-host: %w", err)
	}
	defer folder.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, installLimit, gaveUpError{installLimit})
	defer cancel()
	in, err := folder.Install(ctx, self, buildinfo.Get().Version)
	if err != nil {
		return fmt.Errorf("install-host: %w", err)
	}
	if _, err := fmt.Fprintln(stdout, filepath.Join(folder.Path(), in.Name), outcome(in)); err != nil || !sweep {
		return err
	}
	return sweepHost(ctx, stdout, folder, in)
}

// sweepHost takes the versions away that were there before the last one. That one stays until the next upgrade: an
// inlay-nri that was here a moment ago may have named it in a container that is being created.
func sweepHost(ctx context.Context, stdout io.Writer, folder *hookfile.Folder, in hookfile.Installed) error {
	if !in.Linked {
		return nil // no upgrade: which one was the last is not known any more
	}
	gone, err := folder.Sweep(ctx, func(name string, _ time.Time) bool { return name == in.Before })
	for _, name := range gone {
		if _, err := fmt.Fprintln(stdout, filepath.Join(folder.Path(), name), "taken away"); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("install-host: %w", err)
	}
	return nil
}

func outcome(in hookfile.Installed) string {
	switch {
	case in.Copied:
		return "put in place"
	case in.Linked:
		return "was there; the link inlay-hook leads to it now"
	}
	return "was there"
}

// belowHostRoot takes the host root's prefix off the hook folder. Links are left for the folder's own check.
func (o *options) belowHostRoot(dir string) (string, error) {
	if dir == "" {
		return defaultBinDir, nil
	}
	root, err := filepath.Abs(o.hostRoot)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	below, err := filepath.Rel(root, dir)
	if err != nil || !filepath.IsLocal(below) {
		return "", fmt.Errorf("%s is outside the host root %s", dir, root)
	}
	if below == "." {
		return "", errors.New("it is the host root itself")
	}
	return below, nil
}
