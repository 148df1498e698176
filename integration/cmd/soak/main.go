// Command soak runs chaos on a cluster (package integration/chaos), and the upgrade under load, and writes what came of
// it to a file of docs/results. Root only.
//
//	soak                                # 300 steps of a new seed on containerd, 20 roll-outs
//	soak -runtime crio -seed 7 -steps 60 -rollouts 0
//	soak -replay steps.txt              # what a run has printed, cut down by hand perhaps
//	soak -print -seed 7                 # only show the steps
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/chaos"
	"github.com/inlay-project/inlay/integration/cluster"
)

type options struct {
	chaos.Plan
	seed           uint64
	runtime        string
	replay, out    string
	rollouts, pods int
	print          bool
}

func main() {
	var o options
	flag.IntVar(&o.Steps, "steps", 300, "steps, without the settles; 0 = no chaos")
	flag.IntVar(&o.SettleEvery, "settle", 15, "steps between two settles")
	flag.BoolVar(&o.Cover, "cover", false, "first do each way to break something once, as the integration tests do")
	flag.Uint64Var(&o.seed, "seed", 0, "what the steps are drawn from; 0 = the time")
	flag.StringVar(&o.runtime, "runtime", string(integration.Containerd), "containerd, crio or crio-1.34")
	flag.StringVar(&o.replay, "replay", "", "file of steps that are done in the place of drawn ones")
	flag.StringVar(&o.out, "o", "", "also write the result to this file, as Markdown")
	flag.IntVar(&o.rollouts, "rollouts", 20, "roll-outs of the DaemonSet under running pods, after the steps; 0 = none")
	flag.IntVar(&o.pods, "pods", 20, "running pods with an FPGA during the roll-outs")
	flag.BoolVar(&o.print, "print", false, "print the steps and do nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	ok, err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func (o *options) steps() ([]chaos.Step, error) {
	if o.replay != "" {
		text, err := os.ReadFile(o.replay)
		if err != nil {
			return nil, err
		}
		return chaos.ParseSteps(string(text))
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	if o.Steps == 0 {
		return nil, nil
	}
	return chaos.Generate(o.seed, o.Plan), nil
}

// run says whether all promises were kept.
func run(ctx context.Context, o options) (bool, error) {
	steps, err := o.steps()
	if err != nil || o.print {
		fmt.Print(chaos.Text(steps))
		return true, err
	}
	dir, err := os.MkdirTemp("", "inlay-soak-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	r := chaos.Result{Began: time.Now(), Runtime: o.runtime, Seed: o.seed, Replay: o.replay != ""}
	r.Observe()
	tools, err := cluster.BuildTools(ctx, dir, cluster.ToolOptions{Images: os.Getenv("INLAY_IMAGES")})
	if err != nil {
		return false, err
	}
	next := filepath.Join(dir, "next")
	if err := cluster.BuildImages(ctx, tools.Tree, next, chaos.NextVersion); err != nil {
		return false, err
	}
	if len(steps) > 0 {
		fmt.Printf("seed %d, %d steps, %s\n", o.seed, len(steps), o.runtime)
		r.Chaos, err = chaos.Run(ctx, chaos.Options{
			Cluster: cluster.Options{Tools: tools, Runtime: integration.RuntimeName(o.runtime)}, Steps: steps, Next: next,
			Log: os.Stdout, Name: fmt.Sprintf("soak-%d", o.seed),
		})
		if err != nil {
			return false, err
		}
	}
	if o.rollouts > 0 {
		r.Upgrade, err = chaos.Upgrade(ctx, chaos.UpgradeOptions{
			Cluster: cluster.Options{Tools: tools, Runtime: integration.RuntimeName(o.runtime)}, Next: next, Pods: o.pods, Rollouts: o.rollouts, Name: "soak-upgrade",
			Log: os.Stdout,
		})
		if err != nil {
			return false, err
		}
	}
	r.Write(os.Stdout)
	if o.out != "" {
		err = r.WriteFile(o.out)
	}
	return r.Kept(), err
}
