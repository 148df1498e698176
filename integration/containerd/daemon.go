package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/process"
)

// Daemon is one containerd. Between Start and Stop it can be restarted any number of
// times while its containers run on.
type Daemon struct {
	Options
	launcher *process.Launcher
	proc     *process.Process
	client   *cri.Client
}

// Time limits of the daemon's own life. They are generous: the machine may be building
// something else at the same time.
const (
	startLimit = 60 * time.Second
	stopGrace  = 10 * time.Second
	podsLimit  = 60 * time.Second
)

// New lays out the daemon's folder and writes its configuration. Programs run in the
// launcher's environment.
func New(o Options, l *process.Launcher) (*Daemon, error) {
	if n := len(o.NRISocket()); n > 107 {
		return nil, fmt.Errorf("containerd: %s has %d bytes, a unix socket address at most 107", o.NRISocket(), n)
	}
	for _, dir := range []string{o.root(), o.state()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("containerd: %w", err)
		}
	}
	if err := os.WriteFile(o.configFile(), []byte(o.config()), 0o644); err != nil {
		return nil, fmt.Errorf("containerd: %w", err)
	}
	client, err := cri.Dial(o.Socket())
	if err != nil {
		return nil, err
	}
	return &Daemon{Options: o, launcher: l, client: client}, nil
}

// Start runs containerd and returns when its CRI answers.
func (d *Daemon) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	proc, err := d.launcher.Start(ctx, process.Command{
		Name: "containerd", Path: d.Containerd, Args: []string{"--config", d.configFile()},
		Env: []string{"PATH=" + filepath.Dir(d.Shim) + ":/usr/sbin:/usr/bin:/sbin:/bin"},
		Log: d.LogFile(),
	})
	if err != nil {
		return err
	}
	d.proc = proc
	return process.Poll(ctx, func() error {
		if !proc.Alive() {
			return process.Permanent(fmt.Errorf("containerd ended while starting:\n%s", proc.Tail(20)))
		}
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, _, err := d.client.Version(attempt)
		return err
	})
}

// Process is the running daemon, to be signalled by tests.
func (d *Daemon) Process() *process.Process { return d.proc }

// CRI is a client that stays good over restarts.
func (d *Daemon) CRI() *cri.Client { return d.client }

// Halt ends the daemon alone; containers run on.
func (d *Daemon) Halt(ctx context.Context) error {
	if d.proc == nil {
		return nil
	}
	return d.proc.Terminate(ctx, stopGrace)
}

// Restart ends the daemon and starts it anew; containers run on.
func (d *Daemon) Restart(ctx context.Context) error {
	if err := d.Halt(ctx); err != nil {
		return err
	}
	return d.Start(ctx)
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
		known, err := d.client.Images(ctx)
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

// Stop removes all pods, ends the daemon and whatever of it is left: shims, processes
// in its cgroups, the cgroups. It does its best even if the daemon is dead or hangs; an
// error says what it could not do.
func (d *Daemon) Stop(ctx context.Context) error {
	var errs []error
	if d.proc != nil && d.proc.Alive() {
		// A test may have left it frozen.
		errs = append(errs, d.proc.Cont())
		pods, cancel := context.WithTimeout(ctx, podsLimit)
		errs = append(errs, d.client.RemoveAllPods(pods))
		cancel()
		errs = append(errs, d.Halt(ctx))
	}
	errs = append(errs, d.client.Close(), Sweep(ctx, d.Socket(), d.CgroupParent))
	return errors.Join(errs...)
}
