package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cri"
)

const warmGoal = 12 * time.Millisecond

// warmStart compares the start of a container whose region holds its function already with that of a plain container,
// both on a containerd under the emulator, in turn. A third one has two hooks that do nothing, as many as ours has: what
// a hook costs whatever it does.
func warmStart(ctx context.Context, b *bench) ([]row, error) {
	tools, err := b.tools(ctx)
	if err != nil {
		return nil, err
	}
	var warm, plain, hooked measured
	err = withHarness(ctx, "bench-warm", b.say, func(h *harness) error {
		node := integration.StartNode(h, tools, integration.NodeOptions{Cards: []string{"dfl:ports=1"}})
		node.PutBitstream(integration.Interface, integration.NLB0, integration.NLB0)
		if err := b.writeEmptyHooks(node.CDIDir()); err != nil {
			return err
		}
		inlay := node.StartInlay(integration.InlayOptions{NRIFlags: []string{"--log-level", "info"}, PluginFlags: []string{"--log-level", "info"}})
		w := inlay.NewWorkload("warm", integration.Regions(integration.Want{Interface: integration.Interface, Function: integration.NLB0}))
		answer, err := inlay.Kubelet.Allocate(h.Context(), w.Owner(), w.Request.Resources)
		if err != nil {
			return err
		}
		pod := node.RunPod("plain")
		ours, one, two := integration.Shell(idleScript), integration.Shell(idleScript), integration.Shell(idleScript)
		ours.Env = w.Request.Env
		ours = answer.Apply(ours)
		two.CDIDevices = []string{emptyHooks}
		n := b.samples(150, 8)
		for i := range n + warmUp/2 {
			if i == warmUp/2 { // the first ones filled caches
				warm, plain, hooked = measured{}, measured{}, measured{}
			}
			ours.Attempt, one.Attempt, two.Attempt = uint32(i), uint32(2*i), uint32(2*i+1)
			for _, err := range []error{
				warm.run(h.Context(), w.Pod.Pod, ours), plain.run(h.Context(), pod.Pod, one), hooked.run(h.Context(), pod.Pod, two),
			} {
				if err != nil {
					return err
				}
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
	return warmRows(warm, plain, hooked), nil
}

func warmRows(warm, plain, hooked measured) []row {
	more := bootstrap(medianDifference, warm.start.seconds(), plain.start.seconds())
	empty := bootstrap(medianDifference, hooked.start.seconds(), plain.start.seconds())
	all := bootstrap(medianDifference, warm.both().seconds(), plain.both().seconds())
	samples := fmt.Sprintf("%d each, in turn", len(warm.start))
	return []row{{
		what: "StartContainer of a warm region container less a plain one, p50", figure: more.text(" ms", 1e3, 1),
		baseline: fmt.Sprintf("plain: %s, warm region: %s", show(plain.start.p(50)), show(warm.start.p(50))),
		goal:     "≤ " + show(warmGoal), verdict: keeps(more.figure <= warmGoal.Seconds()), samples: samples,
	}, {
		what: "StartContainer with two hooks that do nothing less a plain one, p50", figure: empty.text(" ms", 1e3, 1),
		baseline: fmt.Sprintf("plain: %s, with the hooks: %s", show(plain.start.p(50)), show(hooked.start.p(50))), samples: samples,
	}, {
		what: "CreateContainer and StartContainer of a warm region container less a plain one, p50", figure: all.text(" ms", 1e3, 1),
		baseline: fmt.Sprintf("plain: %s, warm region: %s", show(plain.both().p(50)), show(warm.both().p(50))), samples: samples,
	}}
}

const (
	idleScript = "exec sleep 600"
	emptyHooks = "bench.example/hooks=two"
)

// writeEmptyHooks makes a CDI device that adds two createRuntime hooks, and nothing else.
func (b *bench) writeEmptyHooks(dir string) error {
	hook := fmt.Sprintf(`{"hookName":"createRuntime","path":%q,"args":["emptyprogram"],"timeout":10}`, b.helper("emptyprogram"))
	spec := fmt.Sprintf(`{"cdiVersion":"0.5.0","kind":"bench.example/hooks","devices":[{"name":"two","containerEdits":{"hooks":[%s,%s]}}]}`, hook, hook)
	return os.WriteFile(filepath.Join(dir, "bench.example-hooks.json"), []byte(spec), 0o644)
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
