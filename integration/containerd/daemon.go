package containerd

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/inlay-project/inlay/integration/daemon"
	"github.com/inlay-project/inlay/integration/process"
)

// Daemon is one containerd.
type Daemon struct {
	Options
	*daemon.Daemon
}

// New lays out the daemon's folder and writes its configuration. Programs run in the
// launcher's environment.
func New(o Options, l *process.Launcher) (*Daemon, error) {
	d, err := daemon.New(daemon.Options{
		Command: process.Command{
			Name: "containerd", Path: o.Containerd, Args: []string{"--config", o.configFile()},
			Env: []string{"PATH=" + filepath.Dir(o.Shim) + ":/usr/sbin:/usr/bin:/sbin:/bin"},
			Log: o.LogFile(),
		},
		Socket: o.Socket(), NRISocket: o.NRISocket(),
		Dirs: []string{o.root(), o.state()}, Files: map[string]string{o.configFile(): o.config()},
		CgroupParent: o.CgroupParent, Trace: o.Trace(),
	}, l)
	if err != nil {
		return nil, err
	}
	return &Daemon{Options: o, Daemon: d}, nil
}

// Import brings images from an OCI archive (see package ocitest).
func (d *Daemon) Import(ctx context.Context, archive string) error {
	out, err := exec.CommandContext(ctx, d.Ctr, "--address", d.Socket(), "--namespace", "k8s.io", "images", "import", archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("import %s: %w: %s", archive, err, out)
	}
	return d.awaitImages(ctx)
}

// awaitImages waits until CRI has heard of all images: it follows containerd's events, and until then it would ask a
// registry for what was imported.
func (d *Daemon) awaitImages(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, d.Ctr, "--address", d.Socket(), "--namespace", "k8s.io", "images", "ls", "-q").Output()
	if err != nil {
		return fmt.Errorf("list the images: %w", err)
	}
	return process.Poll(ctx, func() error {
		known, err := d.CRI().Images(ctx)
		if err != nil {
			return err
		}
		for _, name := range strings.Fields(string(out)) {
			if !strings.Contains(name, "sha256:") && !slices.Contains(known, name) {
				return fmt.Errorf("the runtime does not know image %s yet", name)
			}
		}
		return nil
	})
}
