package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

const (
	payload       = 40_000_000 // bytes of an Arria 10 image
	ensureGoal    = 10 * time.Millisecond
	ensureMemory  = 16 << 20
	ensureOverPR  = "Ensure of a 40 MB %s less its ioctl, PR delay %v, p50"
	ensureHoldsMB = "anonymous memory while a 40 MB %s is programmed, most seen"
)

// ensureRegion measures what Ensure adds to the driver's own time, and what it holds in memory.
func ensureRegion(ctx context.Context, b *bench) ([]row, error) {
	root, remove, err := b.folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	if err := b.tree(ctx, root, "dfl:ports=1"); err != nil {
		return nil, err
	}
	files, err := store(root)
	if err != nil {
		return nil, err
	}
	for _, afu := range []string{nlb0, nlb3} {
		if err := b.emulate(ctx, "gbs", "--iface", iface, "--afu", afu, "--size", strconv.Itoa(payload), filepath.Join(files, afu+".gbs")); err != nil {
			return nil, err
		}
	}
	var rows []row
	for _, delay := range []time.Duration{0, 400 * time.Millisecond} {
		r, err := b.ensureTime(ctx, root, "GBS", delay, nlb3+","+nlb0)
		if err != nil {
			return rows, err
		}
		r.goal, r.verdict = "≤ "+show(ensureGoal), keeps(r.over <= ensureGoal)
		rows = append(rows, r.row)
	}
	gbs, err := b.ensureMemory(ctx, root, nlb3+","+nlb0)
	if err != nil {
		return rows, err
	}
	rows = append(rows, memoryRow("GBS", gbs, ensureMemory, "≤ "+mib(ensureMemory)))

	var hashes []string
	for i, afu := range []string{nlb0, nlb3} {
		hash := fmt.Sprintf("%040x", i+1)
		if err := b.emulate(ctx, "aocx", "--iface", iface, "--afu", afu, "--hash", hash, "--size", strconv.Itoa(payload), filepath.Join(files, hash+".aocx")); err != nil {
			return rows, err
		}
		hashes = append(hashes, hash)
	}
	functions := hashes[1] + "," + hashes[0]
	r, err := b.ensureTime(ctx, root, "AOCX", 0, functions)
	if err != nil {
		return rows, err
	}
	aocx, err := b.ensureMemory(ctx, root, functions)
	if err != nil {
		return rows, err
	}
	return append(rows, r.row, memoryRow("AOCX", aocx, payload+ensureMemory, "≤ payload + "+mib(ensureMemory))), nil
}

type ensureRow struct {
	row
	over time.Duration
}

// ensureTime programs two functions in turn.
func (b *bench) ensureTime(ctx context.Context, root, kind string, delay time.Duration, functions string) (ensureRow, error) {
	n := b.samples(40, 6)
	if delay > 0 {
		n = b.samples(20, 4)
	}
	b.say("ensure: %d × %s, PR delay %v", n, kind, delay)
	got, err := b.ensureProbe(ctx, root, delay, functions, n, false)
	if err != nil {
		return ensureRow{}, err
	}
	over, pr := make(times, n), fromNS(got.PR)
	for i, total := range fromNS(got.Total) {
		over[i] = total - pr[i]
	}
	return ensureRow{over: over.p(50), row: row{
		what:   fmt.Sprintf(ensureOverPR, kind, delay),
		figure: bootstrap(medianOf, over.seconds()).text(" ms", 1e3, 2), baseline: "the ioctl: " + show(pr.p(50)),
		samples: fmt.Sprintf("%d, the slowest %s", n, show(over.p(100))),
	}}, nil
}

func (b *bench) ensureMemory(ctx context.Context, root, functions string) (ensured, error) {
	return b.ensureProbe(ctx, root, 400*time.Millisecond, functions, b.samples(6, 2), true)
}

func memoryRow(kind string, got ensured, limit int64, goal string) row {
	return row{
		what: fmt.Sprintf(ensureHoldsMB, kind), figure: mib(got.Anonymous), baseline: "the same process before: " + mib(got.Before),
		goal: goal, verdict: keeps(got.Anonymous <= limit), samples: fmt.Sprintf("%d, looked at every ms", len(got.PR)),
	}
}

// ensured is what the probe prints.
type ensured struct {
	Total, PR         []int64
	Before, Anonymous int64
}

func (b *bench) ensureProbe(ctx context.Context, root string, delay time.Duration, functions string, n int, memory bool) (ensured, error) {
	var got ensured
	err := b.probe(ctx, &got, []string{"--host-root", root, "--pr-delay", delay.String()},
		"ensure", "-host-root", root, "-interface", iface, "-functions", functions, "-n", strconv.Itoa(n), "-memory="+strconv.FormatBool(memory))
	if err == nil && (len(got.PR) != n || len(got.Total) != n) {
		err = fmt.Errorf("%d measurements, not %d", len(got.PR), n)
	}
	return got, err
}
