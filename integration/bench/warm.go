package main

import (
	"context"
	"fmt"
	"time"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cri"
)

const warmGoal = 12 * time.Millisecond

// warmStart compares the start of a container whose region holds its function already with that of a plain container,
// both on a containerd under the emulator, in turn.
func warmStart(ctx context.Context, b *bench) ([]row, error) {
	tools, err := b.tools(ctx)
	if err != nil {
		return nil, err
	}
	var warm, plain measured
	err = withHarness(ctx, "bench-warm", b.say, func(h *harness) error {
		node := integration.StartNode(h, tools, integration.NodeOptions{Cards: []string{"dfl:ports=1"}})
		node.PutBitstream(integration.Interface, integration.NLB0, integration.NLB0)
		inlay := node.StartInlay(integration.InlayOptions{NRIFlags: []string{"--log-level", "info"}, PluginFlags: []string{"--log-level", "info"}})
		w := inlay.NewWorkload("warm", integration.Regions(integration.Want{Interface: integration.Interface, Function: integration.NLB0}))
		answer, err := inlay.Kubelet.Allocate(h.Context(), w.Owner(), w.Request.Resources)
		if err != nil {
			return err
		}
		ours := integration.Shell("exec sleep 600")
		ours.Env = w.Request.Env
		ours = answer.Apply(ours)
		pod := node.RunPod("plain")
		n := b.samples(100, 8)
		for i := range n + warmUp/2 {
			ours.Attempt = uint32(i)
			one := integration.Shell("exec sleep 600")
			one.Attempt = uint32(i)
			into, other := &warm, &plain
			if i < warmUp/2 { // the first ones fill caches
				into, other = &measured{}, &measured{}
			}
			if err := into.run(h.Context(), w.Pod.Pod, ours); err != nil {
				return err
			}
			if err := other.run(h.Context(), pod.Pod, one); err != nil {
				return err
			}
		}
		if programmed := node.Programmed(); len(programmed) > 0 {
			return fmt.Errorf("%d reconfigurations: these were no warm starts", len(programmed))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	more := bootstrap(medianDifference, warm.start.seconds(), plain.start.seconds())
	all := bootstrap(medianDifference, warm.both().seconds(), plain.both().seconds())
	samples := fmt.Sprintf("%d each, in turn", len(warm.start))
	return []row{{
		what: "StartContainer of a warm region container less a plain one, p50", figure: more.text(" ms", 1e3, 1),
		baseline: fmt.Sprintf("plain: %s, warm region: %s", show(plain.start.p(50)), show(warm.start.p(50))),
		goal:     "≤ " + show(warmGoal), verdict: keeps(more.figure <= warmGoal.Seconds()), samples: samples,
	}, {
		what: "the same with CreateContainer, p50", figure: all.text(" ms", 1e3, 1),
		baseline: fmt.Sprintf("plain: %s, warm region: %s", show(plain.both().p(50)), show(warm.both().p(50))), samples: samples,
	}}, nil
}

// measured are the times of containers that were created and started.
type measured struct{ create, start times }

func (m *measured) run(ctx context.Context, pod *cri.Pod, spec cri.ContainerSpec) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	began := time.Now()
	c, err := pod.Create(ctx, spec)
	if err != nil {
		return err
	}
	created := time.Now()
	if err := c.Start(ctx); err != nil {
		return err
	}
	m.create, m.start = append(m.create, created.Sub(began)), append(m.start, time.Since(created))
	return c.Remove(ctx)
}

// both is creation and start together.
func (m *measured) both() times {
	sum := make(times, len(m.start))
	for i := range sum {
		sum[i] = m.create[i] + m.start[i]
	}
	return sum
}
