package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

// node is the emulated node: our two daemons, a kubelet and a runtime.
type node struct {
	bin, dir string
	kubelet  *kubelet.Kubelet
	runtime  *enginetest.Runtime
	plugin   *daemon // inlay-deviceplugin
	nri      *daemon // inlay-nri
	pods     int
}

func (n *node) kubeletDir() string { return filepath.Join(n.dir, "kubelet") }
func (n *node) nriSocket() string  { return place(n.dir, "/run/nri/nri.sock") }

func (n *node) startKubelet() error {
	var err error
	n.kubelet, err = kubelet.Start(n.kubeletDir())
	return err
}

func (n *node) startPlugin() error {
	var err error
	n.plugin, err = start(filepath.Join(n.bin, "inlay-deviceplugin"), "--host-root", n.dir, "--kubelet-dir", n.kubeletDir(),
		"--fpga-mode", "region", "--http", "")
	return err
}

func (n *node) startRuntime() error {
	var err error
	n.runtime, err = enginetest.Start(n.nriSocket(), enginetest.Options{})
	return err
}

func (n *node) startNRI(ctx context.Context) error {
	var err error
	n.nri, err = start(filepath.Join(n.bin, "inlay-nri"), "--host-root", n.dir, "--kubelet-dir", n.kubeletDir(),
		"--nri-socket", n.nriSocket(), "--policy", place(n.dir, "/var/lib/inlay/policy.json"), "--http", "")
	if err != nil {
		return err
	}
	_, err = n.waitNRI(ctx)
	return err
}

// waitNRI waits until inlay-nri says itself that the runtime asks it, over a connection made after the given one: right
// after a pause it can still take the old one for alive. It returns the number of that connection.
func (n *node) waitNRI(ctx context.Context, after ...uint64) (reconnects uint64, err error) {
	socket := place(n.dir, "/run/inlay/nri.sock")
	err = until(ctx, func() error {
		s, err := nristatus.Ask(ctx, socket)
		if err != nil {
			return err
		}
		if len(after) > 0 && s.Reconnects <= after[0] {
			return errors.New("inlay-nri has not connected again yet")
		}
		reconnects = s.Reconnects
		return s.Ready()
	})
	return reconnects, err
}

// stop ends everything that was started, in the reverse order.
func (n *node) stop() error {
	var errs []error
	for _, d := range []*daemon{n.nri, n.plugin} {
		if d != nil {
			errs = append(errs, d.stop())
		}
	}
	if n.runtime != nil {
		n.runtime.Stop()
	}
	if n.kubelet != nil {
		errs = append(errs, n.kubelet.Stop())
	}
	return errors.Join(errs...)
}

// daemon is one of our processes.
type daemon struct {
	cmd    *exec.Cmd
	log    bytes.Buffer
	exited chan struct{}
	err    error
}

func start(program string, args ...string) (*daemon, error) {
	d := &daemon{cmd: exec.Command(program, args...), exited: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(d.exited)
		d.err = d.cmd.Wait()
	}()
	return d, nil
}

func (d *daemon) signal(s os.Signal) error { return d.cmd.Process.Signal(s) }

// kill ends the process at once.
func (d *daemon) kill() error {
	err := d.signal(syscall.SIGKILL)
	<-d.exited
	return err
}

// stop asks the process to end and expects that it does, cleanly.
func (d *daemon) stop() error {
	if err := d.signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	select {
	case <-d.exited:
	case <-time.After(10 * time.Second):
		_ = d.kill() // that it was needed is the error
		return fmt.Errorf("%s did not end when asked to", filepath.Base(d.cmd.Path))
	}
	if d.err != nil && !killed(d.err) {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(d.cmd.Path), d.err, d.log.Bytes())
	}
	return nil
}

func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// until tries something again and again for ten seconds.
func until(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
