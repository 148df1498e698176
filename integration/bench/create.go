package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/internal/nristatus"
)

const (
	createGoal   = 1.03
	createWithin = 0.02 // half of the interval's width at which enough was measured
	createLimit  = 10 * time.Minute
	blockSize    = 50
	fewestFours  = 6                      // an interval of less says nothing
	cleanUp      = 300 * time.Millisecond // for the runtime, after a block's containers were removed
	warmUp       = 10                     // containers before each block: a new process' first requests are not what is measured
)

// tools builds or finds containerd and runc, and takes our own programs from bin.
func (b *bench) tools(ctx context.Context) (integration.Tools, error) {
	t, err := integration.BuildRuntime(ctx, b.dir, b.progress)
	if err != nil {
		return t, notRunError{"no containerd: " + strings.Join(strings.Fields(err.Error()), " ")}
	}
	return t.WithInlay(ctx, b.bin, b.dir)
}

// createContainer compares the CRI's CreateContainer of plain containers under inlay-nri and under an NRI plugin that
// does nothing, in turn, in blocks: what the machine does besides hits both. An NRI plugin is asked as long as it is
// connected, so each block has a process of its own.
func createContainer(ctx context.Context, b *bench) ([]row, error) {
	tools, err := b.tools(ctx)
	if err != nil {
		return nil, err
	}
	var ratios []float64
	var with, without times
	err = withHarness(ctx, "bench-create", b.say, func(h *harness) error {
		c := creation{b: b, h: h, node: integration.StartNode(h, tools, integration.NodeOptions{})}
		c.pod = c.node.RunPod("plain")
		if err := writePolicy(c.node.HostPath("var/lib/inlay/policy.json")); err != nil {
			return err
		}
		began := time.Now()
		for n := 0; !c.enough(ratios, began); n++ {
			ours, empty, err := c.four(n)
			if err != nil {
				return err
			}
			ratios = append(ratios, ratioOf(ours, empty))
			with, without = slices.Concat(with, ours[0], ours[1]), slices.Concat(without, empty[0], empty[1])
			if now := bootstrap(medianOf, ratios); n%5 == 4 {
				b.say("create: %d blocks of each, %s", 2*(n+1), now.text("", 1, 3))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	ratio := bootstrap(medianOf, ratios)
	goal := fmt.Sprintf("≤ %.2f", createGoal)
	if ratio.half() > createWithin {
		goal += fmt.Sprintf(", ± %.2f not reached", createWithin)
	}
	return []row{{
		what: "CreateContainer of a plain container, with inlay-nri ÷ with an empty NRI plugin, median of blocks", figure: ratio.text("", 1, 3),
		baseline: fmt.Sprintf("empty plugin: p50 %s, inlay-nri: p50 %s", show(without.p(50)), show(with.p(50))),
		goal:     goal, verdict: keeps(ratio.figure <= createGoal), samples: fmt.Sprintf("%d blocks of %d each, compared by twos", 2*len(ratios), blockSize),
	}}, nil
}

// creation is the node on which containers are created.
type creation struct {
	b       *bench
	h       *harness
	node    *integration.Node
	pod     *integration.Pod
	attempt uint32
}

// enough tells whether the interval is as narrow as wanted, or time is up.
func (c *creation) enough(ratios []float64, began time.Time) bool {
	if c.b.short {
		return len(ratios) >= 2
	}
	if len(ratios) < fewestFours {
		return false
	}
	return bootstrap(medianOf, ratios).half() <= createWithin || time.Since(began) > createLimit
}

// four measures two blocks under each plugin, in the order empty, ours, ours, empty or the reverse. A runtime cleans up
// every so many containers, which makes every other block slower, and a machine gets slower and faster over the minutes:
// in this order both hit the two plugins alike.
func (c *creation) four(n int) (ours, empty [2]times, err error) {
	for i := range 4 {
		theirs := i == 0 || i == 3
		if n%2 == 1 {
			theirs = !theirs
		}
		start, into := c.inlayNRI, &ours
		if theirs {
			start, into = c.emptyPlugin, &empty
		}
		if into[i/2], err = c.block(start); err != nil {
			return ours, empty, err
		}
	}
	return ours, empty, nil
}

// ratio of two blocks to two others.
func ratioOf(ours, empty [2]times) float64 {
	return (ours[0].p(50) + ours[1].p(50)).Seconds() / (empty[0].p(50) + empty[1].p(50)).Seconds()
}

// block starts a plugin, measures, and ends the plugin: at any time one is connected.
func (c *creation) block(start func() (end func(), err error)) (times, error) {
	end, err := start()
	if err != nil {
		return nil, err
	}
	defer end()
	var took times
	var made []*cri.Container
	for range warmUp + blockSize {
		spec := integration.Shell("true")
		spec.Attempt = c.attempt
		c.attempt++
		began := time.Now()
		one, err := c.create(spec)
		if err != nil {
			return nil, err
		}
		took, made = append(took, time.Since(began)), append(made, one)
	}
	if err := c.remove(made); err != nil {
		return nil, err
	}
	return took[warmUp:], pause(c.h.Context(), cleanUp)
}

const callLimit = 60 * time.Second

func (c *creation) create(spec cri.ContainerSpec) (*cri.Container, error) {
	ctx, cancel := context.WithTimeout(c.h.Context(), callLimit)
	defer cancel()
	return c.pod.Pod.Create(ctx, spec)
}

// remove takes a block's containers away, several at a time: that takes longer than to make them and is not measured.
func (c *creation) remove(made []*cri.Container) error {
	group, ctx := errgroup.WithContext(c.h.Context())
	group.SetLimit(4)
	for _, one := range made {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, callLimit)
			defer cancel()
			return one.Remove(ctx)
		})
	}
	return group.Wait()
}

// inlayNRI says itself when it is connected.
func (c *creation) inlayNRI() (func(), error) {
	p, end, err := c.b.start(c.node.Dir, "inlay-nri", c.b.ours("inlay-nri"),
		"--host-root", c.node.HostRoot, "--nri-socket", c.node.NRISocket(), "--podresources", "",
		"--policy", c.node.HostPath("var/lib/inlay/policy.json"), "--http", "")
	if err != nil {
		return nil, err
	}
	socket := c.node.HostPath("run/inlay/" + nristatus.SocketName)
	return end, c.connected(end, p, func(ctx context.Context) error {
		return process.Poll(ctx, func() error {
			s, err := nristatus.Ask(ctx, socket)
			if err != nil {
				return err
			}
			return s.Ready()
		})
	})
}

// emptyPlugin has a log of its own in each block: a line there says that it is connected.
func (c *creation) emptyPlugin() (func(), error) {
	dir, remove, err := c.b.folder()
	if err != nil {
		return nil, err
	}
	p, stop, err := c.b.start(dir, "emptyplugin", c.b.helper("emptyplugin"), "-nri-socket", c.node.NRISocket())
	if err != nil {
		remove()
		return nil, err
	}
	end := func() { stop(); remove() }
	return end, c.connected(end, p, func(ctx context.Context) error { return p.WaitForOutput(ctx, "synchronized") })
}

// connected waits until the runtime asks a plugin that was started, or ends it.
func (c *creation) connected(end func(), p *process.Process, wait func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(c.h.Context(), 20*time.Second)
	defer cancel()
	err := wait(ctx)
	if err != nil {
		end()
		err = fmt.Errorf("%s in %s: %w", p.Name(), filepath.Base(c.node.Dir), ended(err, p))
	}
	return err
}
