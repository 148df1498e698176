package main

import (
	"context"
	"fmt"
	"time"

	"github.com/inlay-project/inlay/integration/process"
)

const (
	rssGoal        = 12 << 20 // bytes, of each daemon
	switchesGoal   = 30.0     // voluntary context switches a minute, over all threads
	allocations    = 1000
	scrapeEvery    = 50               // containers
	settledAfter   = 30 * time.Second // a kubelet of 20 s is asked again who holds what
	idleFor        = 5 * time.Minute
	idleForInShort = time.Minute
)

// memory gives our daemons work and looks at their memory meanwhile.
func memory(ctx context.Context, b *bench) ([]row, error) {
	n, err := b.startNode(ctx)
	if n != nil {
		defer n.end()
	}
	if err != nil {
		return nil, err
	}
	count := b.samples(allocations, 100)
	most, err := n.work(ctx, count)
	if err != nil {
		return nil, ended(err, n.plugin, n.nri, n.bare, n.empty)
	}
	var rows []row
	for _, d := range n.daemons() {
		rows = append(rows, row{
			what: "RssAnon of " + d.ours.Name() + ", the most seen", figure: mib(most[d.ours]),
			baseline: fmt.Sprintf("%s: %s", d.name, mib(most[d.baseline])), goal: "≤ " + mib(rssGoal), verdict: keeps(most[d.ours] <= rssGoal),
			samples: fmt.Sprintf("%d containers, %d scrapes", count, count/scrapeEvery),
		})
	}
	return rows, nil
}

// daemon is one of ours beside its baseline.
type daemon struct {
	ours, baseline *process.Process
	name           string
}

func (n *node) daemons() []daemon {
	return []daemon{{n.plugin, n.bare, "bare device plugin"}, {n.nri, n.empty, "empty NRI plugin"}}
}

// work makes containers and gives the most memory that each process was seen with.
func (n *node) work(ctx context.Context, count int) (map[*process.Process]int64, error) {
	most := map[*process.Process]int64{}
	for i := range count {
		if err := n.container(ctx, i); err != nil {
			return nil, err
		}
		if (i+1)%scrapeEvery != 0 {
			continue
		}
		if err := n.scrape(ctx); err != nil {
			return nil, err
		}
		for _, p := range []*process.Process{n.plugin, n.nri, n.bare, n.empty} {
			bytes, err := process.RSSAnon(p.Pid())
			if err != nil {
				return nil, err
			}
			most[p] = max(most[p], bytes)
		}
	}
	return most, nil
}

// idle leaves our daemons alone and counts how often they wake up.
func idle(ctx context.Context, b *bench) ([]row, error) {
	n, err := b.startNode(ctx)
	if n != nil {
		defer n.end()
	}
	if err != nil {
		return nil, err
	}
	if _, err := n.work(ctx, 10); err != nil { // a daemon that has never worked has no threads to wake
		return nil, ended(err, n.plugin, n.nri)
	}
	if err := pause(ctx, settledAfter); err != nil {
		return nil, err
	}
	watched := idleFor
	if b.short {
		watched = idleForInShort
	}
	b.say("idle: nothing is done for %v", watched)
	all := []*process.Process{n.plugin, n.nri, n.bare, n.empty}
	before, after := map[*process.Process]map[string]int64{}, map[*process.Process]map[string]int64{}
	for _, p := range all {
		if before[p], err = switches(p); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	if err := pause(ctx, watched); err != nil {
		return nil, err
	}
	for _, p := range all {
		if after[p], err = switches(p); err != nil {
			return nil, ended(err, all...)
		}
	}
	minutes := time.Since(began).Minutes()
	var rows []row
	for _, d := range n.daemons() {
		ours := float64(switched(before[d.ours], after[d.ours])) / minutes
		theirs := float64(switched(before[d.baseline], after[d.baseline])) / minutes
		rows = append(rows, row{
			what: "voluntary context switches a minute of idle " + d.ours.Name(), figure: fmt.Sprintf("%.1f", ours),
			baseline: fmt.Sprintf("%s: %.1f", d.name, theirs), goal: fmt.Sprintf("≤ %.0f", switchesGoal), verdict: keeps(ours <= switchesGoal),
			samples: fmt.Sprintf("%v, %d threads", watched, len(after[d.ours])),
		})
	}
	return rows, nil
}
