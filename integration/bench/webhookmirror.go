package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/process"
)

const (
	mirrorRSSGoal  = 24 << 20
	otherIface     = "bfac4d851ee856fe8c95865ce1bbaa2d"
	someNamespaces = 30
	mirrorChanges  = 100
)

// mirrorMemory looks at the memory of inlay-deviceplugin while it follows its Node and keeps its policy file: on a node
// whose cards have some hundred mappings, and on one whose cards have 10,000. The baseline keeps no policy.
func mirrorMemory(ctx context.Context, b *bench) ([]row, error) {
	m, err := b.startMappings(ctx)
	if m != nil {
		defer m.end(b)
	}
	if err != nil {
		return nil, err
	}
	if err := m.create(ctx, nodes, "", object("v1", "Node", "n1", nil)); err != nil {
		return nil, err
	}
	many := b.samples(manyNamespaces, manyNamespaces/10)
	if err := errors.Join(m.seed(ctx, "some", emulator.DefaultInterface, someNamespaces, aNamespace), m.seed(ctx, "many", otherIface, many, aNamespace)); err != nil {
		return nil, err
	}
	some, err := b.mirrorOf(ctx, m, emulator.DefaultInterface, "some", someNamespaces*aNamespace)
	if err != nil {
		return nil, err
	}
	all, err := b.mirrorOf(ctx, m, otherIface, "many", many*aNamespace)
	if err != nil {
		return nil, err
	}
	none, err := b.mirrorOf(ctx, m, emulator.DefaultInterface, "some", 0)
	if err != nil {
		return nil, err
	}
	what := func(n int) string {
		return fmt.Sprintf("RssAnon of inlay-deviceplugin with its mirror, %s mappings of its cards among %s, the most seen",
			thousands(n), thousands((someNamespaces+many)*aNamespace))
	}
	samples := fmt.Sprintf("start and %d changes, looked at every 20 ms", mirrorChanges)
	return []row{{
		what: what(someNamespaces * aNamespace), figure: mib(some), baseline: "without a mirror: " + mib(none),
		goal: "≤ " + mib(mirrorRSSGoal), verdict: keeps(some <= mirrorRSSGoal), samples: samples,
	}, {
		what: what(many * aNamespace), figure: mib(all), baseline: "without a mirror: " + mib(none), samples: samples,
	}}, nil
}

// mirrorOf starts inlay-deviceplugin on a node with one card of the interface, changes mappings, and gives the most
// memory that it had. Without mappings to be expected it keeps no policy.
func (b *bench) mirrorOf(ctx context.Context, m *mappingsAt, card, prefix string, expected int) (int64, error) {
	dir, remove, err := b.folder()
	if err != nil {
		return 0, err
	}
	defer remove()
	if err := b.tree(ctx, dir, "dfl:ports=1,iface="+card); err != nil {
		return 0, err
	}
	address, err := freeAddress()
	if err != nil {
		return 0, err
	}
	args := append(inlayPlugin(dir, "region", address), "--podresources", "", "--node-name", "n1", "--kubeconfig", m.Kubeconfig())
	if expected > 0 {
		args = append(args, "--policy", filepath.Join(dir, "var/lib/inlay/policy.json"))
	}
	s, err := b.serve(ctx, dir, "inlay-deviceplugin", b.ours("inlay-deviceplugin"), "fpga.intel.com/region-"+card, args...)
	if err != nil {
		return 0, err
	}
	defer s.end()
	watch := watchMemory(ctx, s.plugin)
	err = ended(b.mirrorWork(ctx, m, namespaceName(prefix, 0), "http://"+address+"/metrics", expected), s.plugin)
	most, watchErr := watch()
	return most, errors.Join(err, watchErr)
}

// mirrorWork waits until the policy is whole, and changes it.
func (b *bench) mirrorWork(ctx context.Context, m *mappingsAt, ns, page string, expected int) error {
	ready, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	err := process.Poll(ready, func() error {
		text, err := metrics(ctx, page)
		if err != nil || expected == 0 {
			return err
		}
		if n := gaugeOf(text, "inlay_policy_mappings"); n != expected {
			return fmt.Errorf("the policy has %d mappings, not %d", n, expected)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := m.change(ctx, ns, mirrorChanges, 50*time.Millisecond); err != nil {
		return err
	}
	return pause(ctx, 5*time.Second)
}

// gaugeOf reads a gauge without labels; -1 if there is none.
func gaugeOf(page, name string) int {
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(page)
	if found == nil {
		return -1
	}
	v, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		return -1
	}
	return int(v)
}

// watchMemory looks at a process' memory until the function is called that it returns, which gives the most seen.
func watchMemory(ctx context.Context, p *process.Process) func() (int64, error) {
	type seen struct {
		sizes []int64
		err   error
	}
	ctx, stop := context.WithCancel(ctx)
	result := make(chan seen, 1)
	go func() {
		var s seen
		for s.err == nil && ctx.Err() == nil {
			var size int64
			if size, s.err = process.RSSAnon(p.Pid()); s.err == nil {
				s.sizes = append(s.sizes, size)
			}
			_ = pause(ctx, 20*time.Millisecond) // ended by the caller
		}
		result <- s
	}()
	return func() (int64, error) {
		stop()
		s := <-result
		if len(s.sizes) == 0 {
			return 0, errors.Join(s.err, fmt.Errorf("nothing seen of %s", p.Name()))
		}
		return slices.Max(s.sizes), s.err
	}
}
