package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/deviceplugins/racktest"
	"github.com/inlay-project/inlay/integration/process"
)

const (
	familyDevices   = 64 // of each of the eight families
	familiesRSSGoal = 16 << 20
	plugGoal        = 50 * time.Millisecond
	enclaves        = "sgx.intel.com/enclave"
)

// allFamilies measures one inlay-deviceplugin with 64 devices of each of its eight families.
func allFamilies(ctx context.Context, b *bench) ([]row, error) {
	dir, remove, err := b.folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	cards := slices.Repeat([]string{"dfl"}, familyDevices)
	rack := racktest.Rack{Dir: dir, PlainNodes: true}
	if err := b.tree(ctx, dir, cards...); err != nil {
		return nil, err
	}
	if err := rack.Fill(familyDevices); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	args := append(inlayPlugin(dir, "region", address), "--podresources", "", "--sgx-enclave-limit", fmt.Sprint(familyDevices),
		"--sgx-provision-limit", fmt.Sprint(familyDevices), "--qat-max-num-devices", "128")
	s, err := b.serve(ctx, dir, "inlay-deviceplugin", b.ours("inlay-deviceplugin"), regionResource, args...)
	if err != nil {
		return nil, err
	}
	defer s.end()
	s.page = "http://" + address + "/metrics"
	bareDir, removeBare, err := b.folder()
	if err != nil {
		return nil, err
	}
	defer removeBare()
	bare, err := b.serveBare(ctx, bareDir, familyDevices)
	if err != nil {
		return nil, err
	}
	defer bare.end()
	if err := s.whole(ctx); err != nil {
		return nil, err
	}
	rows, err := s.restingFamilies(ctx, b, bare)
	if err != nil {
		return rows, err
	}
	plugged, err := s.plugAll(ctx, b, rack)
	return append(rows, plugged...), err
}

// whole waits until the kubelet has all devices of all families, and asks for one of each.
func (s *served) whole(ctx context.Context) error {
	all := append(slices.Sorted(maps.Values(racktest.Families)), regionResource, enclaves)
	for _, resource := range all {
		r, err := s.of(resource).wait(ctx, func(r kubelettest.Resource) bool { return r.Allocatable() == familyDevices })
		if err != nil {
			return fmt.Errorf("%s: %w", resource, err)
		}
		if _, err := s.Allocate(ctx, resource, r.IDs()[0]); err != nil {
			return err
		}
	}
	return nil
}

// of is the same kubelet, seen for another resource.
func (s *served) of(resource string) *served {
	other := *s
	other.resource = resource
	return &other
}

// restingFamilies leaves the process alone, after scrapes and allocations, and looks at what it costs.
func (s *served) restingFamilies(ctx context.Context, b *bench, bare *served) ([]row, error) {
	for range 20 {
		if _, err := metrics(ctx, s.page); err != nil {
			return nil, err
		}
	}
	if err := pause(ctx, settledAfter); err != nil {
		return nil, err
	}
	watched := idleFor // in which everything is scanned in full once
	if b.short {
		watched = idleForInShort
	}
	b.say("families: nothing is done for %v", watched)
	var counts [2]float64
	before := [2]map[string]int64{}
	both := []*served{s, bare}
	began := time.Now()
	for i, one := range both {
		var err error
		if before[i], err = switches(one.plugin); err != nil {
			return nil, err
		}
	}
	if err := pause(ctx, watched); err != nil {
		return nil, err
	}
	var memory [2]int64
	for i, one := range both {
		after, err := switches(one.plugin)
		if err != nil {
			return nil, err
		}
		counts[i] = float64(switched(before[i], after)) / time.Since(began).Minutes()
		if memory[i], err = process.RSSAnon(one.plugin.Pid()); err != nil {
			return nil, err
		}
	}
	samples := fmt.Sprintf("8 families × %d devices", familyDevices)
	return []row{
		{
			what: "RssAnon of inlay-deviceplugin with all families", figure: mib(memory[0]), baseline: "bare device plugin: " + mib(memory[1]),
			goal: "≤ " + mib(familiesRSSGoal), verdict: keeps(memory[0] <= familiesRSSGoal), samples: samples,
		},
		{
			what: "its voluntary context switches a minute, idle", figure: fmt.Sprintf("%.1f", counts[0]),
			baseline: fmt.Sprintf("bare device plugin: %.1f", counts[1]), goal: fmt.Sprintf("≤ %.0f", switchesGoal),
			verdict: keeps(counts[0] <= switchesGoal), samples: fmt.Sprintf("%v, %s", watched, samples),
		},
	}, nil
}

// plugged is a device that comes and goes.
type plugged struct {
	name, resource string
	in, out        func() error
	with, without  int // devices of the resource
}

// plugs are one device of each family. Its node comes last and goes first, as udev makes it.
func plugs(rack racktest.Rack) []plugged {
	var all []plugged
	for _, family := range slices.Sorted(maps.Keys(racktest.Families)) {
		all = append(all, plugged{
			strings.ToUpper(family), racktest.Families[family],
			func() error { return rack.Plug(family, familyDevices) }, func() error { return rack.Unplug(family, familyDevices) },
			familyDevices + 1, familyDevices,
		})
	}
	return append(all,
		away("FPGA", regionResource, filepath.Join(rack.Dir, fmt.Sprintf("dev/dfl-fme.%d", familyDevices-1)), familyDevices-1),
		away("SGX", enclaves, filepath.Join(rack.Dir, "dev/sgx_enclave"), 0))
}

// away is a device that is there and goes first.
func away(name, resource, node string, without int) plugged {
	return plugged{
		name, resource,
		func() error { return os.Rename(node+".away", node) }, func() error { return os.Rename(node, node+".away") },
		familyDevices, without,
	}
}

// plugAll plugs one device of each family in and out.
func (s *served) plugAll(ctx context.Context, b *bench, rack racktest.Rack) ([]row, error) {
	var rows []row
	for _, p := range plugs(rack) {
		r, err := s.of(p.resource).plug(ctx, b, p)
		if err != nil {
			return rows, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// plug plugs a device in and out; the time until the kubelet has the list is that of the slowest 1 in 100.
func (s *served) plug(ctx context.Context, b *bench, p plugged) (row, error) {
	n := b.samples(100, 20)
	in := s.Resource(p.resource).Allocatable() != p.with
	var took times
	for range n {
		want, change := p.without, p.out
		if in {
			want, change = p.with, p.in
		}
		began := time.Now()
		if err := change(); err != nil {
			return row{}, err
		}
		r, err := s.wait(ctx, func(r kubelettest.Resource) bool { return r.Allocatable() == want })
		if err != nil {
			return row{}, fmt.Errorf("%s: %w", p.name, err)
		}
		took = append(took, r.At.Sub(began))
		if err := pause(ctx, 150*time.Millisecond); err != nil { // the next one is a change of its own
			return row{}, err
		}
		in = !in
	}
	return row{
		what: p.name + " plugged in or out → list received, p99", figure: show(took.p(99)), baseline: "reference: a look every 5 s",
		goal: "≤ " + show(plugGoal), verdict: keeps(took.p(99) <= plugGoal), samples: fmt.Sprintf("%d, p50 %s", len(took), show(took.p(50))),
	}, nil
}
