package chaos

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A hook lives for a moment, while a container starts. Who wants to kill one lies in wait.

// huntFor bounds the wait; huntEvery is short against the time that a card takes to be programmed (programming).
const (
	huntFor   = 8 * time.Second
	huntEvery = 40 * time.Millisecond
)

// prey is a hook that programs.
type prey struct {
	s  *Scene
	fd int
}

func (p *prey) kill() {
	_ = unix.PidfdSendSignal(p.fd, unix.SIGKILL, nil, 0) // it may have ended by itself
	_ = unix.Close(p.fd)
}

func (p *prey) freeze() {
	_ = unix.PidfdSendSignal(p.fd, unix.SIGSTOP, nil, 0)
	p.s.onThaw(programHook, func() {
		_ = unix.PidfdSendSignal(p.fd, unix.SIGCONT, nil, 0)
		_ = unix.Close(p.fd)
	})
}

// hunt waits in the background for the next hook that programs. A settle ends the wait.
func (s *Scene) hunt(strike func(*prey)) {
	s.mu.Lock()
	ctx, cancel := context.WithTimeout(context.Background(), huntFor)
	before := s.stopHunt
	s.stopHunt = func() {
		cancel()
		if before != nil {
			before()
		}
	}
	s.mu.Unlock()
	s.tasks.Go(func() {
		defer cancel()
		tick := time.NewTicker(huntEvery)
		defer tick.Stop()
		for {
			if fd := s.findHook(); fd >= 0 {
				strike(&prey{s, fd})
				s.mu.Lock()
				s.report.Hooks++
				s.mu.Unlock()
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

// findHook gives a descriptor of a process that is `inlay-hook program` on the node, or -1.
func (s *Scene) findHook() int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return -1
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !s.isHook(pid) {
			continue
		}
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			if s.isHook(pid) {
				return fd
			}
			_ = unix.Close(fd)
		}
	}
	return -1
}

func (s *Scene) isHook(pid int) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return false
	}
	args := bytes.Split(line, []byte{0})
	return len(args) > 1 && strings.HasPrefix(filepath.Base(string(args[0])), programHook) && string(args[1]) == "program" &&
		readNamespace(pid) == s.kernel.mounts
}
