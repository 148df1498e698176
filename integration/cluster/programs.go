package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Program is a process in a container of the node, e.g. one of Inlay's. Nobody but the kubelet starts it anew.
type Program struct {
	Name string
	Pid  int
	fd   *os.File // names this process and no later one with its pid
}

// Programs are the running processes in the node's containers whose program, the first word of the command line, has
// that file name.
func (c *Cluster) Programs(name string) ([]*Program, error) {
	var found []*Program
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil || !c.runs(pid, name) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // ended
		}
		p := &Program{Name: name, Pid: pid, fd: os.NewFile(uintptr(fd), "pidfd")}
		if !c.runs(pid, name) { // the pid was another's when it was opened
			_ = p.fd.Close()
			continue
		}
		found = append(found, p)
	}
	return found, err
}

// runs says whether a process is of this name and in a container of this node.
func (c *Cluster) runs(pid int, name string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	first, _, _ := bytes.Cut(line, []byte{0})
	if filepath.Base(string(first)) != name {
		return false
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && bytes.Contains(groups, []byte(c.cgroup()+"/"))
}

// OneProgram waits until exactly one process of that name runs on the node.
func (c *Cluster) OneProgram(ctx context.Context, name string) (*Program, error) {
	var one *Program
	err := c.Await(ctx, readyLimit, name, func(context.Context) error {
		all, err := c.Programs(name)
		if err != nil || len(all) != 1 {
			return errors.Join(err, fmt.Errorf("%d processes", len(all)))
		}
		one = all[0]
		return nil
	})
	return one, err
}

// Signal sends a signal; to a process that has ended it sends nothing.
func (p *Program) Signal(sig syscall.Signal) error {
	err := unix.PidfdSendSignal(int(p.fd.Fd()), sig, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%s (%d): %v: %w", p.Name, p.Pid, sig, err)
	}
	return nil
}

// Kill ends the process by SIGKILL.
func (p *Program) Kill() error { return p.Signal(syscall.SIGKILL) }

// Stop freezes the process (SIGSTOP).
func (p *Program) Stop() error { return p.Signal(syscall.SIGSTOP) }

// Cont lets a stopped process go on.
func (p *Program) Cont() error { return p.Signal(syscall.SIGCONT) }

// Alive says whether the process has not ended.
func (p *Program) Alive() bool {
	fds := []unix.PollFd{{Fd: int32(p.fd.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 0
}
