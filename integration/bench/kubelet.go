package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/integration/process"
)

const (
	registerGoal = 20 * time.Millisecond
	allocateGoal = 300 * time.Microsecond
	bareResource = "bench.example/bare"
)

// served is a scripted kubelet with one device plugin process.
type served struct {
	*kubelettest.Kubelet
	plugin   *process.Process
	resource string
	page     string // of inlay-deviceplugin's metrics
	end      func()
}

// serve starts a kubelet in the host tree dir, and the plugin that registers the resource with it.
func (b *bench) serve(ctx context.Context, dir, name, path, resource string, args ...string) (*served, error) {
	s := &served{Kubelet: kubelettest.New(filepath.Join(kubeletDir(dir), "device-plugins")), resource: resource}
	if err := s.Start(); err != nil {
		return nil, err
	}
	p, end, err := b.start(dir, name, path, args...)
	if err != nil {
		s.Close()
		return nil, err
	}
	s.plugin, s.end = p, func() { end(); s.Close() }
	if _, err := s.wait(ctx, listed); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

func (s *served) wait(ctx context.Context, ok func(kubelettest.Resource) bool) (kubelettest.Resource, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := s.Wait(ctx, s.resource, ok)
	return r, ended(err, s.plugin)
}

func listed(r kubelettest.Resource) bool { return !r.Stopped && r.Allocatable() > 0 }

// serveInlay starts inlay-deviceplugin on a host tree of cards.
func (b *bench) serveInlay(ctx context.Context, dir, mode, resource string, cards ...string) (*served, error) {
	if err := b.tree(ctx, dir, cards...); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	// This kubelet has no podresources API.
	args := append(inlayPlugin(dir, mode, address), "--podresources", "")
	s, err := b.serve(ctx, dir, "inlay-deviceplugin", b.ours("inlay-deviceplugin"), resource, args...)
	if err != nil {
		return nil, err
	}
	s.page = "http://" + address + "/metrics"
	return s, nil
}

func inlayPlugin(root, mode, http string) []string {
	return []string{"--host-root", root, "--kubelet-dir", kubeletDir(root), "--fpga-mode", mode, "--http", http}
}

// serveBare starts the device plugin that does nothing.
func (b *bench) serveBare(ctx context.Context, dir string, devices int) (*served, error) {
	return b.serve(ctx, dir, "bareplugin", b.helper("bareplugin"), bareResource, barePlugin(dir, devices)...)
}

func barePlugin(root string, devices int) []string {
	return []string{"-folder", filepath.Join(kubeletDir(root), "device-plugins"), "-resource", bareResource, "-devices", strconv.Itoa(devices)}
}

// pair starts both, each with a kubelet of its own, so that they can be measured in turn.
func (b *bench) pair(ctx context.Context, mode, resource string, devices int, cards ...string) (ours, bare *served, end func(), err error) {
	var dirs [2]string
	var ends []func()
	end = func() {
		for _, e := range slices.Backward(ends) {
			e()
		}
	}
	for i := range dirs {
		dir, remove, err := b.folder()
		if err != nil {
			return nil, nil, end, err
		}
		dirs[i], ends = dir, append(ends, remove)
	}
	if ours, err = b.serveInlay(ctx, dirs[0], mode, resource, cards...); err != nil {
		return nil, nil, end, err
	}
	ends = append(ends, ours.end)
	if bare, err = b.serveBare(ctx, dirs[1], devices); err != nil {
		return nil, nil, end, err
	}
	ends = append(ends, bare.end)
	return ours, bare, end, nil
}

// kubeletReturns measures from the moment in which a kubelet begins to listen again to the first list that it gets.
func kubeletReturns(ctx context.Context, b *bench) ([]row, error) {
	ours, bare, end, err := b.pair(ctx, "region", regionResource, 2, "dfl:ports=1", "dfl:ports=1")
	defer end()
	if err != nil {
		return nil, err
	}
	n := b.samples(100, 5)
	var inlay, floor times
	for range n {
		for _, s := range []struct {
			*served
			into *times
		}{{ours, &inlay}, {bare, &floor}} {
			s.Stop()
			// A kubelet is away for longer; by then everybody has seen that it went.
			if err := pause(ctx, 100*time.Millisecond); err != nil {
				return nil, err
			}
			began := time.Now()
			if err := s.Start(); err != nil {
				return nil, err
			}
			r, err := s.wait(ctx, listed)
			if err != nil {
				return nil, err
			}
			*s.into = append(*s.into, r.At.Sub(began))
		}
	}
	return []row{{
		what: "kubelet.sock made anew → registered and first list received, p99", figure: show(inlay.p(99)),
		baseline: "bare device plugin: " + show(floor.p(99)), goal: "≤ " + show(registerGoal), verdict: keeps(inlay.p(99) <= registerGoal),
		samples: fmt.Sprintf("%d each, in turn", n),
	}, {
		what: "the same, p50", figure: bootstrap(medianOf, inlay.seconds()).text(" ms", 1e3, 2), baseline: "bare device plugin: " + show(floor.p(50)),
		samples: fmt.Sprintf("%d each, in turn", n),
	}}, nil
}

// allocate measures Allocate of 8 devices of a node with 1,000 ports.
func allocate(ctx context.Context, b *bench) ([]row, error) {
	cards := []string{"dfl:ports=8"}
	for range 62 {
		cards = append(cards, "dfl:ports=16")
	}
	resource, err := afResource(iface, nlb0)
	if err != nil {
		return nil, err
	}
	ours, bare, end, err := b.pair(ctx, "af", resource, 1000, cards...)
	defer end()
	if err != nil {
		return nil, err
	}
	return allocateInTurn(ctx, b, ours, bare, 1000)
}

// allocateInTurn measures Allocate of 8 devices among so many, of inlay-deviceplugin and of the bare plugin in turn.
func allocateInTurn(ctx context.Context, b *bench, ours, bare *served, among int) ([]row, error) {
	n := b.samples(5000, 500)
	var inlay, floor times
	for i := range n {
		for _, s := range []struct {
			*served
			into *times
		}{{ours, &inlay}, {bare, &floor}} {
			ids := s.Resource(s.resource).IDs()
			if len(ids) != among {
				return nil, fmt.Errorf("%s lists %d devices, not %d", s.resource, len(ids), among)
			}
			at := i * 37 % (len(ids) - 8)
			began := time.Now()
			answer, err := s.Allocate(ctx, s.resource, ids[at:at+8]...)
			if err != nil {
				return nil, ended(err, s.plugin)
			}
			*s.into = append(*s.into, time.Since(began))
			if len(answer.GetAnnotations()) == 0 {
				return nil, fmt.Errorf("%s: an empty answer", s.resource)
			}
		}
	}
	page, err := metrics(ctx, ours.page)
	if err != nil {
		return nil, err
	}
	inside, err := histogramOf(page, "inlay_allocation_duration_seconds")
	if err != nil {
		return nil, err
	}
	if inside.total() != float64(n) {
		return nil, fmt.Errorf("inlay-deviceplugin counts %.0f allocations, not %d", inside.total(), n)
	}
	return []row{{
		what: fmt.Sprintf("Allocate of 8 devices among %d, in inlay-deviceplugin (its own histogram), p99", among), figure: "≤ " + show(inside.holds(0.99)),
		baseline: "the whole call over the socket: " + show(inlay.p(99)), goal: "≤ " + show(allocateGoal), verdict: keeps(inside.holds(0.99) <= allocateGoal),
		samples: fmt.Sprint(n),
	}, {
		what: "the whole call over the socket, p99", figure: show(inlay.p(99)), baseline: "bare device plugin: " + show(floor.p(99)),
		samples: fmt.Sprintf("%d each, in turn", n),
	}, {
		what: "the whole call over the socket, p50", figure: bootstrap(medianOf, inlay.seconds()).text(" µs", 1e6, 0),
		baseline: "bare device plugin: " + show(floor.p(50)), samples: fmt.Sprintf("%d each, in turn", n),
	}}, nil
}

// compatID is the file that holds a card's interface id.
func compatID(root string) (string, error) {
	found, err := filepath.Glob(filepath.Join(root, "sys/class/fpga_region/*/compat_id"))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%d files compat_id, not one", len(found))
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// overwrite changes an attribute as a driver does: the file stays, its content is another one.
func overwrite(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

// afResource is the full name of a function's resource in af mode.
func afResource(i, afu string) (string, error) {
	name, err := fpga.AFResource(fpga.InterfaceID(i), fpga.AFUID(afu))
	return "fpga.intel.com/" + name, err
}
