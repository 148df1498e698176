package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/deviceplugins/racktest"
)

const (
	scaleCards   = 64
	manyShares   = 64 // of each card: 4,096 devices of one resource
	fewShares    = 16 // of each card: 1,024 devices to choose from
	preferred    = 64 // devices of a GetPreferredAllocation
	preferGoal   = 5 * time.Millisecond
	kubeletTakes = 4 << 20 // bytes of a message, gRPC's default
)

// scale measures one resource with very many devices: 64 GPUs in 64 shares each.
func scale(ctx context.Context, b *bench) ([]row, error) {
	rows, err := scaleList(ctx, b)
	if err != nil {
		return rows, err
	}
	for _, policy := range []string{"none", "balanced", "packed"} {
		more, err := scalePrefer(ctx, b, policy)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// shared starts inlay-deviceplugin with cards in shares, and a bare plugin with as many devices; end is to be called
// whatever comes of it.
func (b *bench) shared(ctx context.Context, shares int, more ...string) (ours, bare *served, rack racktest.Rack, end func(), err error) {
	end = func() {}
	then := func(e func()) { before := end; end = func() { e(); before() } }
	dir, remove, err := b.folder()
	if err != nil {
		return nil, nil, rack, end, err
	}
	then(remove)
	rack = racktest.Rack{Dir: dir, PlainNodes: true}
	for i := range scaleCards {
		if err := rack.Plug("gpu", i); err != nil {
			return nil, nil, rack, end, err
		}
	}
	address, err := freeAddress()
	if err != nil {
		return nil, nil, rack, end, err
	}
	args := append(inlayPlugin(dir, "region", address), "--podresources", "", "--gpu-shared-dev-num", fmt.Sprint(shares))
	resource := racktest.Families["gpu"]
	if ours, err = b.serve(ctx, dir, "inlay-deviceplugin", b.ours("inlay-deviceplugin"), resource, append(args, more...)...); err != nil {
		return nil, nil, rack, end, err
	}
	then(ours.end)
	ours.page = "http://" + address + "/metrics"
	bareDir, remove, err := b.folder()
	if err != nil {
		return nil, nil, rack, end, err
	}
	then(remove)
	if bare, err = b.serveBare(ctx, bareDir, scaleCards*shares); err != nil {
		return nil, nil, rack, end, err
	}
	then(bare.end)
	for _, s := range []*served{ours, bare} {
		if _, err := s.wait(ctx, func(r kubelettest.Resource) bool { return r.Allocatable() == scaleCards*shares }); err != nil {
			return nil, nil, rack, end, err
		}
	}
	return ours, bare, rack, end, nil
}

// scaleList is about the list of 4,096 devices and an Allocate of some of them.
func scaleList(ctx context.Context, b *bench) ([]row, error) {
	ours, bare, rack, end, err := b.shared(ctx, manyShares)
	defer end()
	if err != nil {
		return nil, err
	}
	const all = scaleCards * manyShares
	size := func(s *served) int64 {
		return int64(proto.Size(&v1beta1.ListAndWatchResponse{Devices: s.Resource(s.resource).Devices}))
	}
	rows := []row{{
		what: "list of 4,096 devices of one resource", figure: mib(size(ours)), baseline: "bare device plugin: " + mib(size(bare)),
		goal: "< " + mib(kubeletTakes), verdict: keeps(size(ours) < kubeletTakes), samples: fmt.Sprintf("%d GPUs × %d shares", scaleCards, manyShares),
	}}
	one := plugged{
		"one of these GPUs", ours.resource,
		func() error { return rack.Plug("gpu", scaleCards-1) }, func() error { return rack.Unplug("gpu", scaleCards-1) },
		all, all - manyShares,
	}
	sent, err := ours.plug(ctx, b, one)
	if err != nil {
		return rows, err
	}
	more, err := allocateInTurn(ctx, b, ours, bare, all)
	return append(append(rows, sent), more...), err
}

// scalePrefer is about the preferred allocation of 64 devices out of 1,024.
func scalePrefer(ctx context.Context, b *bench, policy string) ([]row, error) {
	ours, bare, _, end, err := b.shared(ctx, fewShares, "--gpu-allocation-policy", policy)
	defer end()
	if err != nil {
		return nil, err
	}
	n := b.samples(1000, 50)
	var took, floor times
	for range n {
		for _, s := range []struct {
			*served
			into *times
		}{{ours, &took}, {bare, &floor}} {
			ids := s.Resource(s.resource).IDs()
			began := time.Now()
			got, err := s.Prefer(ctx, s.resource, ids, ids[:2], preferred)
			if err != nil {
				return nil, ended(err, s.plugin)
			}
			*s.into = append(*s.into, time.Since(began))
			if len(got) != preferred {
				return nil, fmt.Errorf("%s prefers %d devices, not %d", s.resource, len(got), preferred)
			}
		}
	}
	return []row{{
		what: fmt.Sprintf("preferred allocation of %d out of 1,024 over the socket, policy %s, p99", preferred, policy), figure: show(took.p(99)),
		baseline: "bare device plugin: " + show(floor.p(99)), goal: "≤ " + show(preferGoal), verdict: keeps(took.p(99) <= preferGoal),
		samples: fmt.Sprintf("%d each, in turn; p50 %s and %s", n, show(took.p(50)), show(floor.p(50))),
	}}, nil
}
