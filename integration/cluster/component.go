package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/inlay-project/inlay/integration/process"
)

// Component is one program of the cluster, which can be ended and started any number of times. Its methods may be
// called from several goroutines; calls that start or end it wait for each other.
type Component struct {
	name string
	// start runs the program and returns when it serves, with what it has started even if it does not.
	start func(context.Context) (*process.Process, error)

	// life is held while the program is started or ended, mu while p is looked at.
	life, mu sync.Mutex
	p        *process.Process
}

// startLimit bounds the start of one component; build machines are slow.
const startLimit = 90 * time.Second

// Name is that of the program, e.g. "kube-apiserver".
func (c *Component) Name() string { return c.name }

// Process is the program as it was started last; nil if it never was.
func (c *Component) Process() *process.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.p
}

// Alive says whether the program runs; a stopped one is alive.
func (c *Component) Alive() bool {
	p := c.Process()
	return p != nil && p.Alive()
}

// Start runs the program, unless it runs, and returns when it serves.
func (c *Component) Start(ctx context.Context) error {
	c.life.Lock()
	defer c.life.Unlock()
	return c.begin(ctx)
}

func (c *Component) begin(ctx context.Context) error {
	if c.Alive() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	began := time.Now()
	p, err := c.start(ctx)
	if p != nil {
		c.mu.Lock()
		c.p = p
		c.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("start %s (%v): %w", c.name, time.Since(began).Round(time.Millisecond), err)
	}
	return nil
}

// Kill ends the program by SIGKILL and returns when it has ended. What it has started runs on.
func (c *Component) Kill(ctx context.Context) error {
	c.life.Lock()
	defer c.life.Unlock()
	if p := c.Process(); p != nil {
		return p.Kill(ctx)
	}
	return nil
}

// Restart ends the program, if it runs, by SIGKILL and starts it anew.
func (c *Component) Restart(ctx context.Context) error {
	c.life.Lock()
	defer c.life.Unlock()
	if p := c.Process(); p != nil {
		if err := p.Kill(ctx); err != nil {
			return err
		}
	}
	return c.begin(ctx)
}

var errNeverStarted = errors.New("was never started")

// Stop freezes the program (SIGSTOP).
func (c *Component) Stop() error {
	if p := c.Process(); p != nil {
		return p.Stop()
	}
	return fmt.Errorf("%s %w", c.name, errNeverStarted)
}

// Cont lets a stopped program go on (SIGCONT).
func (c *Component) Cont() error {
	if p := c.Process(); p != nil {
		return p.Cont()
	}
	return fmt.Errorf("%s %w", c.name, errNeverStarted)
}

// maxLine bounds a line of Tail: some programs print their configuration in one.
const maxLine = 300

// Tail is the last n lines that the program has printed.
func (c *Component) Tail(n int) string {
	p := c.Process()
	if p == nil {
		return ""
	}
	var s strings.Builder
	for line := range strings.Lines(p.Tail(n)) {
		if line = strings.TrimSpace(line); len(line) > maxLine {
			line = line[:maxLine] + "…"
		}
		s.WriteString(line + "\n")
	}
	return s.String()
}
