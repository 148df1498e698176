//go:build integration

package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration"
)

const region = "fpga.intel.com/region-" + emulator.DefaultInterface

func TestFromNothingToAProgrammedPod(t *testing.T) {
	for _, runtime := range []integration.RuntimeName{integration.Containerd, integration.CRIO} {
		t.Run(string(runtime), func(t *testing.T) {
			c := kit.Start(t, Options{Runtime: runtime})
			for _, function := range []string{integration.NLB0, integration.NLB3} {
				c.StoreBitstream(function)
			}
			c.InstallInlay(Install{Overlay: "region"})
			c.Phases.Time("the region allocatable", func() { c.WaitAllocatable(region, 1) })
			c.Phases.Time("AcceleratorFunctions", func() {
				c.Grant("", "nlb3", integration.NLB3, "region")
				c.Grant("", "nlb0", integration.NLB0, "region")
			})
			// The card has one region: the second pod can run only if the first one has given it back.
			for _, want := range [][2]string{{"nlb3", integration.NLB3}, {"nlb0", integration.NLB0}} {
				pod := PodSpec{Name: "reads-" + want[0], Resources: map[string]int64{"fpga.intel.com/" + want[0]: 1}}
				c.Phases.Time("pod with "+want[0]+" runs", func() { c.RunPod(pod) })
				if diff := cmp.Diff(map[string]string{"dfl-port.0": want[1]}, c.Ports(pod)); diff != "" {
					t.Errorf("kubectl logs %s (-want +got):\n%s\n%s", pod.Name, diff, c.Logs(pod))
				}
				c.Phases.Time("kubectl delete pod", func() { c.Kubectl("delete", "pod", pod.Name) })
			}
			programmed, err := c.Programmed()
			if err != nil || len(programmed) != 2 {
				t.Errorf("the card was programmed %d times, want twice: %v, %v", len(programmed), programmed, err)
			}
			t.Logf("%s:\n%s", runtime, c.Phases.String())
		})
	}
}
