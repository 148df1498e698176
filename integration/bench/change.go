package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/internal/uevent"
)

const (
	eventGoal  = 50 * time.Millisecond
	silentGoal = 5100 * time.Millisecond
)

// changes measures how soon the kubelet is told of a change.
func changes(ctx context.Context, b *bench) ([]row, error) {
	dir, remove, err := b.folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	s, err := b.serveInlay(ctx, dir, "region", regionResource, "dfl:ports=1")
	if err != nil {
		return nil, err
	}
	defer s.end()
	card, err := newSick(s, dir)
	if err != nil {
		return nil, err
	}
	folder, err := watchedFolder(ctx, b, card)
	if err != nil {
		return nil, err
	}
	silent, err := silentChange(ctx, b, card)
	if err != nil {
		return folder, err
	}
	event, err := kernelEvent(ctx, b)
	return append(append(folder, event...), silent...), err
}

// sick is a card that dies and comes back: its interface id reads as all ones in between.
type sick struct {
	*served
	attribute, healthy, runDir string
	dead                       bool
}

func newSick(s *served, root string) (*sick, error) {
	attribute, err := compatID(root)
	if err != nil {
		return nil, err
	}
	healthy, err := os.ReadFile(attribute)
	return &sick{served: s, attribute: attribute, healthy: string(healthy), runDir: filepath.Join(root, "run/inlay")}, err
}

// turn changes the card's health, touches what tells of it, and gives the time until the kubelet knows. began is called
// just before the telling.
func (s *sick) turn(ctx context.Context, touch bool, began func()) (time.Duration, error) {
	s.dead = !s.dead
	value, want := s.healthy, 1
	if s.dead {
		value, want = strings.Repeat("f", 32)+"\n", 0
	}
	start := time.Now()
	if err := overwrite(s.attribute, value); err != nil {
		return 0, err
	}
	if touch {
		began()
		start = time.Now()
		if err := os.WriteFile(filepath.Join(s.runDir, "touched"), nil, 0o600); err != nil {
			return 0, err
		}
	}
	r, err := s.wait(ctx, func(r kubelettest.Resource) bool { return len(r.Devices) == 1 && r.Allocatable() == want })
	return r.At.Sub(start), err
}

// watchedFolder measures from a write into the run folder, as our hook makes it after a programming. The baseline is a
// watch of the same folder in this process.
func watchedFolder(ctx context.Context, b *bench, card *sick) ([]row, error) {
	if err := os.MkdirAll(card.runDir, 0o700); err != nil {
		return nil, err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	defer watcher.Close()
	if err := watcher.Add(card.runDir); err != nil {
		return nil, err
	}
	n := b.samples(200, 10)
	var told, floor times
	for range n {
		seen := make(chan time.Time, 1)
		var began time.Time
		took, err := card.turn(ctx, true, func() {
			began = time.Now()
			go func() {
				<-watcher.Events
				seen <- time.Now()
			}()
		})
		if err != nil {
			return nil, err
		}
		told, floor = append(told, took), append(floor, (<-seen).Sub(began))
		if err := pause(ctx, 50*time.Millisecond); err != nil { // the next one is a change of its own
			return nil, err
		}
		for len(watcher.Events) > 0 {
			<-watcher.Events
		}
	}
	return []row{{
		what: "change in a watched folder → list received, p99", figure: show(told.p(99)), baseline: "a bare watch of the folder: " + show(floor.p(99)),
		goal: "≤ " + show(eventGoal), verdict: keeps(told.p(99) <= eventGoal), samples: fmt.Sprintf("%d, p50 %s", n, show(told.p(50))),
	}}, nil
}

// silentChange measures a value that changes without any event. Each change comes just after the kubelet was told of the
// one before, so that nearly a whole pace of the audits has to pass: the worst case.
func silentChange(ctx context.Context, b *bench, card *sick) ([]row, error) {
	n := b.samples(15, 2)
	b.say("change: %d silent changes, 5 s each", n)
	var told times
	for range n {
		took, err := card.turn(ctx, false, nil)
		if err != nil {
			return nil, err
		}
		told = append(told, took)
	}
	return []row{{
		what: "silent change of an attribute → list received, the slowest", figure: show(told.p(100)), baseline: "a look every 5 s",
		goal: "≤ " + show(silentGoal), verdict: keeps(told.p(100) <= silentGoal), samples: fmt.Sprintf("%d, p50 %s", n, show(told.p(50))),
	}}, nil
}

// anyDevice makes real kernel events without hardware: written to, it announces /dev/null anew.
const anyDevice = "/sys/class/mem/null/uevent"

// counted is a family with one device, a new one at each look.
type counted struct {
	mu sync.Mutex
	n  int
}

func (c *counted) Name() string { return "bench" }

func (c *counted) Scan(context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return plugin.Inventory{"bench.example/counted": {{ID: fmt.Sprint("dev-", c.n)}}}, nil, nil
}

func (c *counted) Watch() plugin.Watch {
	return plugin.Watch{Subsystems: []string{"mem"}, Values: []string{"/proc/version"}}
}

// next changes the family's device and gives its id.
func (c *counted) next() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return fmt.Sprint("dev-", c.n)
}

// kernelEvent measures from a real event of the kernel. There is no FPGA driver here to make one, so the engine runs in
// this process with a family that listens to another subsystem. The baseline is a bare socket for the same events.
func kernelEvent(ctx context.Context, b *bench) ([]row, error) {
	const what = "uevent of the kernel → list received, p99"
	f, err := os.OpenFile(anyDevice, os.O_WRONLY, 0)
	if err != nil {
		b.say("change: uevent: NOT RUN: %v", err)
		return []row{{what: what, goal: "≤ " + show(eventGoal), verdict: notRun, samples: "needs root, to make events"}}, nil
	}
	defer f.Close()
	dir, remove, err := b.folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	family := &counted{}
	folder := filepath.Join(dir, "device-plugins")
	engine, err := plugin.New(plugin.Config{Folder: folder, Families: []plugin.Family{family}})
	if err != nil {
		return nil, err
	}
	kubelet := kubelettest.New(folder)
	if err := kubelet.Start(); err != nil {
		return nil, err
	}
	defer kubelet.Close()
	bare, err := uevent.Open()
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	seen := make(chan time.Time, 100)
	tasks.Go(func() { _ = engine.Run(running) }) // its error is a kubelet that hears nothing, below
	tasks.Go(func() {
		for {
			e, err := bare.Receive(running)
			if errors.Is(err, uevent.ErrOverflow) {
				continue
			}
			if err != nil {
				return
			}
			if e.Subsystem == "mem" {
				seen <- time.Now()
			}
		}
	})
	return eventTimes(ctx, b, f, kubelet, family, seen, what)
}

func eventTimes(ctx context.Context, b *bench, f *os.File, kubelet *kubelettest.Kubelet, family *counted, seen <-chan time.Time, what string) ([]row, error) {
	wait := func(id string) (kubelettest.Resource, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return kubelet.Wait(ctx, "bench.example/counted", func(r kubelettest.Resource) bool { return slices.Contains(r.IDs(), id) })
	}
	if _, err := wait("dev-0"); err != nil {
		return nil, err
	}
	n := b.samples(200, 10)
	var told, floor times
	for range n {
		id, began := family.next(), time.Now()
		if _, err := f.WriteString("change"); err != nil {
			return nil, err
		}
		r, err := wait(id)
		if err != nil {
			return nil, err
		}
		told = append(told, r.At.Sub(began))
		select {
		case at := <-seen:
			floor = append(floor, at.Sub(began))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return []row{{
		what: what, figure: show(told.p(99)), baseline: "a bare socket: " + show(floor.p(99)), goal: "≤ " + show(eventGoal),
		verdict: keeps(told.p(99) <= eventGoal), samples: fmt.Sprintf("%d, p50 %s; the engine alone", n, show(told.p(50))),
	}}, nil
}
