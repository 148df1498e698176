package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

const (
	hookRatioGoal = 3.0
	hookBytesGoal = 4 << 20
)

// hookOnLoaded measures what a warm container's start costs beside a process that does nothing. Both run under the
// emulator, which sees the system calls of both.
func hookOnLoaded(ctx context.Context, b *bench) ([]row, error) {
	size, err := os.Stat(b.ours("inlay-hook"))
	if err != nil {
		return nil, err
	}
	empty, err := os.Stat(b.helper("emptyprogram"))
	if err != nil {
		return nil, err
	}
	rows := []row{{
		what: "inlay-hook, size of the binary", figure: mib(size.Size()), baseline: "empty program: " + mib(empty.Size()),
		goal: "≤ " + mib(hookBytesGoal), verdict: keeps(size.Size() <= hookBytesGoal), samples: "1",
	}}
	root, remove, err := b.folder()
	if err != nil {
		return rows, err
	}
	defer remove()
	if err := b.tree(ctx, root, "dfl:ports=1"); err != nil {
		return rows, err
	}
	files, err := store(root)
	if err != nil {
		return rows, err
	}
	if err := b.emulate(ctx, "gbs", "--iface", iface, "--afu", nlb0, "--size", "1000000", filepath.Join(files, nlb0+".gbs")); err != nil {
		return rows, err
	}
	fme, err := findFME(root)
	if err != nil {
		return rows, err
	}
	n := b.samples(400, 30)
	var got struct{ Empty, Command []int64 }
	err = b.probe(ctx, &got, []string{"--host-root", root}, "spawn", strconv.Itoa(n), b.helper("emptyprogram"),
		b.ours("inlay-hook"), "program", "--mode", "region", "--pair", fmt.Sprintf("dfl-port.0@%s=%s/%s", fme.PCI.Address, iface, nlb0),
		"--host-root", root, "--timeout", "10s")
	if err != nil {
		return rows, err
	}
	hook, nothing := fromNS(got.Command), fromNS(got.Empty)
	ratio := bootstrap(ratioOfMedians, hook.seconds(), nothing.seconds())
	return append(rows, row{
		what: "inlay-hook program on a loaded region ÷ an empty program, whole process, p50", figure: ratio.text("", 1, 2),
		baseline: fmt.Sprintf("empty program: %s, the hook: %s", show(nothing.p(50)), show(hook.p(50))),
		goal:     fmt.Sprintf("≤ %.0f", hookRatioGoal), verdict: keeps(ratio.figure <= hookRatioGoal), samples: fmt.Sprintf("%d each, in turn", n),
	}), nil
}
