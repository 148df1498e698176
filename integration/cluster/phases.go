package cluster

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Phases is what took how long.
type Phases struct {
	mu  sync.Mutex
	all []struct {
		name string
		took time.Duration
	}
}

type phase struct {
	list  *Phases
	name  string
	began time.Time
}

func (p *Phases) begin(name string) phase { return phase{list: p, name: name, began: time.Now()} }

func (p phase) end() { p.list.add(p.name, time.Since(p.began)) }

func (p *Phases) add(name string, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, struct {
		name string
		took time.Duration
	}{name, took})
}

// Time runs f as a phase.
func (p *Phases) Time(name string, f func()) {
	defer p.begin(name).end()
	f()
}

// String is a table, a line each, with the sum.
func (p *Phases) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var s strings.Builder
	var sum time.Duration
	for _, one := range p.all {
		fmt.Fprintf(&s, "%8.2f s  %s\n", one.took.Seconds(), one.name)
		sum += one.took
	}
	fmt.Fprintf(&s, "%8.2f s  in all\n", sum.Seconds())
	return s.String()
}
