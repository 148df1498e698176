package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Files of the state folder.
const (
	pidFile    = "pid"        // held locked by the process that keeps the cluster, with its id
	readyFile  = "ready"      // how to use the cluster; there is one when it is ready
	logFile    = "log"        // what the keeper says
	kubeconfig = "kubeconfig" // an administrator's
	podFile    = "pod.yaml"
)

// start starts a keeper, unless there is one, and waits until its cluster is ready.
func start(ctx context.Context, c choice, args []string, out io.Writer) error {
	if pid := keeper(c); pid > 0 {
		return tell(c, out, fmt.Sprintf("The cluster is running already (process %d).\n", pid))
	}
	if err := os.MkdirAll(c.state, 0o755); err != nil {
		return err
	}
	if err := os.Remove(c.in(readyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	log, err := os.Create(c.in(logFile))
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, append([]string{"keep"}, args...)...) // not ctx: it outlives this process
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	shown, err := os.Open(c.in(logFile))
	if err != nil {
		return err
	}
	defer shown.Close()
	lines := bufio.NewReader(shown)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		show(lines, out)
		if _, err := os.Stat(c.in(readyFile)); err == nil {
			return tell(c, out, "\n")
		}
		select {
		case err := <-ended:
			show(lines, out)
			return fmt.Errorf("the cluster did not come up (%w); the log is %s", errors.Join(err, errors.New("see above")), c.in(logFile))
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM)
			return errors.Join(errors.New("interrupted"), <-ended)
		case <-tick.C:
		}
	}
}

// show copies what there is by now.
func show(from io.Reader, to io.Writer) { _, _ = io.Copy(to, from) }

// tell says how to use the cluster.
func tell(c choice, out io.Writer, before string) error {
	text, err := os.ReadFile(c.in(readyFile))
	if err != nil {
		return fmt.Errorf("the cluster is not ready yet: %w", err)
	}
	_, err = fmt.Fprint(out, before, string(text))
	return err
}

// keeper is the process that keeps the cluster, or 0.
func keeper(c choice) int {
	f, err := os.Open(c.in(pidFile))
	if err != nil {
		return 0
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return 0 // nobody holds it
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// endLimit is how long a cluster may take to go.
const endLimit = 2 * time.Minute

// end ends the keeper and waits until all is gone.
func end(ctx context.Context, c choice, out io.Writer) error {
	pid := keeper(c)
	if pid == 0 {
		fmt.Fprintln(out, "No cluster is running.")
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	for keeper(c) != 0 {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("process %d has not ended: %w", pid, ctx.Err())
		}
	}
	fmt.Fprintln(out, "The cluster is gone.")
	return nil
}
