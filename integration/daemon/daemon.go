package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/integration/sweep"
)

// Options say what a runtime's daemon is.
type Options struct {
	// Command runs it.
	Command process.Command
	// Socket is the address of its CRI, NRISocket is where NRI plugins connect.
	Socket, NRISocket string
	// Dirs and Files, text by path, are made before it starts.
	Dirs  []string
	Files map[string]string
	// CgroupParent is the cgroup path, "/…", below which pods are put.
	CgroupParent string
	// Trace is an argument of the processes that outlive the daemon; see sweep.Sweep.
	Trace string
}

// Daemon is one container runtime. Between Start and Stop it can be restarted any number of
// times while its containers run on.
type Daemon struct {
	o        Options
	launcher *process.Launcher
	proc     *process.Process
	client   *cri.Client
}

// Time limits of the daemon's own life. They are generous: the machine may be building
// something else at the same time.
const (
	startLimit = 60 * time.Second
	stopGrace  = 30 * time.Second
	podsLimit  = 60 * time.Second
)

// New lays out the daemon's folders and files. It runs in the launcher's environment.
func New(o Options, l *process.Launcher) (*Daemon, error) {
	name := o.Command.Name
	if n := len(o.NRISocket); n > 107 {
		return nil, fmt.Errorf("%s: %s has %d bytes, a unix socket address at most 107", name, o.NRISocket, n)
	}
	for _, dir := range o.Dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for path, text := range o.Files {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	client, err := cri.Dial(o.Socket)
	if err != nil {
		return nil, err
	}
	return &Daemon{o: o, launcher: l, client: client}, nil
}

// Start runs the daemon and returns when its CRI answers.
func (d *Daemon) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	proc, err := d.launcher.Start(ctx, d.o.Command)
	if err != nil {
		return err
	}
	d.proc = proc
	return process.Poll(ctx, func() error {
		if !proc.Alive() {
			return process.Permanent(fmt.Errorf("%s ended while starting:\n%s", proc.Name(), proc.Tail(20)))
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

// Stop removes all pods, ends the daemon and whatever of it is left: shims or conmons,
// processes in its cgroups, the cgroups. It does its best even if the daemon is dead or
// hangs; an error says what it could not do.
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
	errs = append(errs, d.client.Close(), sweep.Sweep(ctx, d.o.CgroupParent, d.o.Trace))
	return errors.Join(errs...)
}
