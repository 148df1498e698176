package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
)

// harness lets this program use package integration, which is written for tests: it is the part of testing.TB that the
// package calls. A method that is missing here panics, and the stage counts as broken.
type harness struct {
	testing.TB
	name string
	ctx  context.Context
	say  func(format string, args ...any)

	mu       sync.Mutex
	errs     []error
	cleanups []func()
}

// gaveUp is the panic by which Fatal leaves, as a test's does by ending its goroutine.
type gaveUp struct{}

// withHarness runs f as if it were a test, and cleans up after it. The error is all that f and the cleanups complained of.
func withHarness(ctx context.Context, name string, say func(string, ...any), f func(h *harness) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := &harness{name: name, ctx: ctx, say: say}
	h.attempt(func() {
		if err := f(h); err != nil {
			h.note(err)
		}
	})
	cancel() // as testing does before cleanups
	for {
		h.mu.Lock()
		if len(h.cleanups) == 0 {
			h.mu.Unlock()
			break
		}
		last := h.cleanups[len(h.cleanups)-1]
		h.cleanups = h.cleanups[:len(h.cleanups)-1]
		h.mu.Unlock()
		h.attempt(last)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(slices.Clone(h.errs)...)
}

// attempt runs a part that may give up or panic.
func (h *harness) attempt(f func()) {
	defer func() {
		switch p := recover(); p {
		case nil, gaveUp{}:
		default:
			h.note(fmt.Errorf("panic: %v", p))
		}
	}()
	f()
}

func (h *harness) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errs = append(h.errs, err)
}

func (h *harness) Helper()                  {}
func (h *harness) Name() string             { return h.name }
func (h *harness) Context() context.Context { return h.ctx }

func (h *harness) Cleanup(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleanups = append(h.cleanups, f)
}

func (h *harness) Failed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.errs) > 0
}

func (h *harness) Error(args ...any) {
	h.note(errors.New(strings.TrimSuffix(fmt.Sprintln(args...), "\n")))
}
func (h *harness) Errorf(format string, args ...any) { h.note(fmt.Errorf(format, args...)) }

func (h *harness) Fatal(args ...any) {
	h.Error(args...)
	panic(gaveUp{})
}

func (h *harness) Fatalf(format string, args ...any) {
	h.Errorf(format, args...)
	panic(gaveUp{})
}

func (h *harness) Log(args ...any)                 { h.say("%s", strings.TrimSuffix(fmt.Sprintln(args...), "\n")) }
func (h *harness) Logf(format string, args ...any) { h.say(format, args...) }

func (h *harness) Output() io.Writer { return lines{h} }

// lines says what is written to it, a line at a time: who writes here ends each with its line's end.
type lines struct{ h *harness }

func (l lines) Write(b []byte) (int, error) {
	l.h.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}
