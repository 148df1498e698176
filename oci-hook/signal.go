package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endGrace is how long a command that a signal ended may take to say what it was doing.
const endGrace = time.Second

// ender ends the process with one line, whoever is first to say it.
type ender struct {
	stderr io.Writer
	exit   func(code int)
	once   sync.Once
}

// fail does not return: whoever comes second waits for the exit of the first.
func (e *ender) fail(err error) {
	e.once.Do(func() {
		fmt.Fprintln(e.stderr, oneLine(name+": "+err.Error()))
		e.exit(1)
	})
}

// onSignal gives a context that ends with the first signal asking the process to end, so that the command says what it
// waited for; one that does not look at its context is ended endGrace later. Either way it is no other end than that by
// SIGKILL: the kernel finishes a reconfiguration that has begun, and the next process sees all that is left (package
// region). SIGQUIT and SIGABRT would make Go's runtime print a stack trace.
func (e *ender) onSignal(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT} {
		if !signal.Ignored(s) { // nohup
			signal.Notify(signals, s)
		}
	}
	go func() {
		ended := endedError{<-signals}
		cancel(ended)
		<-time.After(endGrace)
		e.fail(ended)
	}()
	return ctx
}

// endedError is the end of a process that a signal asked for.
type endedError struct{ by os.Signal }

func (e endedError) Error() string {
	if s, ok := e.by.(syscall.Signal); ok {
		return "ended by " + unix.SignalName(s)
	}
	return "ended by " + e.by.String()
}
