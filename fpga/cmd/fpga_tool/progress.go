package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/inlay-project/inlay/fpga/region"
)

// progress says on stderr what pr waits for, once a second and only if it takes that long: a line each time, or on a
// terminal one line that is written over.
type progress struct {
	tool  *tool
	port  string
	began time.Time

	mu   sync.Mutex
	now  region.Phase
	done chan struct{}
	gone sync.WaitGroup
}

func (t *tool) newProgress(port string) *progress {
	p := &progress{tool: t, port: port, began: time.Now(), done: make(chan struct{})}
	if !t.options.quiet {
		p.gone.Go(p.show)
	}
	return p
}

// phase is told by Ensure, from whatever goroutine.
func (p *progress) phase(_ region.Request, phase region.Phase) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = phase
}

// programming tells whether the reconfiguration has begun.
func (p *progress) programming() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now == region.Reconfiguring
}

func (p *progress) show() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	shown := false
	for {
		select {
		case <-ticker.C:
			shown = true
			p.line()
		case <-p.done:
			if shown && p.tool.terminal {
				fmt.Fprint(p.tool.stderr, "\r\x1b[K")
			}
			return
		}
	}
}

func (p *progress) line() {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("%s: %s, %d s", p.port, p.now, int(time.Since(p.began).Round(time.Second)/time.Second))
	if p.tool.terminal {
		fmt.Fprintf(p.tool.stderr, "\r\x1b[K%s", text)
		return
	}
	fmt.Fprintln(p.tool.stderr, text)
}

// say prints a line between those of the progress.
func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tool.terminal {
		text = "\r\x1b[K" + text
	}
	fmt.Fprintln(p.tool.stderr, text)
}

// stop ends it; when it returns nothing is written any more.
func (p *progress) stop() {
	close(p.done)
	p.gone.Wait()
}
