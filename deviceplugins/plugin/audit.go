package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// reviewEvery counts audits: what they do not cover is scanned once a minute.
	reviewEvery = 12
	// fullEvery counts audits: everything is scanned once in five minutes, whatever events and values say.
	fullEvery = 60
)

// ticker is a kernel timer that wakes one goroutine and nothing else of the Go runtime (a timer of Go's own wakes its
// monitor thread as well).
type ticker struct {
	file *os.File
	raw  syscall.RawConn
	pace time.Duration
}

func newTicker() (*ticker, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("timer: %w", err)
	}
	file := os.NewFile(uintptr(fd), "timerfd")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("timer: %w", err)
	}
	return &ticker{file: file, raw: raw}, nil
}

func (t *ticker) close() { t.file.Close() }

// set changes the pace; one caller at a time.
func (t *ticker) set(pace time.Duration) error {
	if pace == t.pace {
		return nil
	}
	t.pace = pace
	var err error
	spec := unix.ItimerSpec{Interval: unix.NsecToTimespec(int64(pace)), Value: unix.NsecToTimespec(int64(pace))}
	ctl := t.raw.Control(func(fd uintptr) { err = unix.TimerfdSettime(int(fd), 0, &spec, nil) })
	return errors.Join(ctl, err)
}

// wait returns at the next tick, or with an error when the ticker was closed.
func (t *ticker) wait() error {
	var ticks [8]byte
	return t.raw.Read(func(fd uintptr) bool {
		_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&ticks[0])), uintptr(len(ticks)))
		return errno != unix.EAGAIN && errno != unix.EINTR && errno != unix.ECANCELED
	})
}

// setPace makes the audits frequent while there are devices, or lately were, and rare while there are none.
func (e *Engine) setPace() {
	pace := e.audit * reviewEvery
	for _, s := range e.scanners {
		if s.active() {
			pace = e.audit
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ticker != nil && e.ctx.Err() == nil {
		if err := e.ticker.set(pace); err != nil {
			e.conf.log.WithError(err).Error("the audits' timer cannot be set")
		}
	}
}

// audits looks for what no event tells of.
func (e *Engine) audits(ctx context.Context) {
	stop := context.AfterFunc(ctx, e.ticker.close)
	defer stop()
	buf := make([]byte, valueBytes)
	sockets := newValues([]string{e.conf.folder})
	known := fingerprint(sockets, buf)
	for n := 0; ; {
		if err := e.ticker.wait(); err != nil {
			return
		}
		if ctx.Err() != nil {
			return
		}
		now, was := time.Now(), n
		e.mu.Lock()
		n += int(e.ticker.pace / e.audit)
		e.mu.Unlock()
		for _, s := range e.scanners {
			switch {
			case n/fullEvery != was/fullEvery:
				s.trigger("audit", now)
			case n/reviewEvery != was/reviewEvery:
				s.review(now)
				s.stir(now, buf)
			default:
				s.stir(now, buf)
			}
		}
		for _, i := range e.interests {
			i.Changed()
		}
		if n/reviewEvery != was/reviewEvery {
			e.setPace() // time alone makes it slower
		}
		// Sockets that came or went unseen: a folder that cannot be watched, or events that were lost.
		if names := fingerprint(sockets, buf); names != known || n/fullEvery != was/fullEvery {
			known = names
			e.lookAtSockets()
		}
	}
}
