//go:build integration

package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration"
)

// readsNLB3 runs a pod that asks for a function by its name, and looks what its port holds.
func (c *Test) readsNLB3() {
	c.t.Helper()
	c.Grant("", "nlb3", integration.NLB3, "region")
	pod := PodSpec{Name: "reader", Resources: map[string]int64{"fpga.intel.com/nlb3": 1}}
	c.RunPod(pod)
	if diff := cmp.Diff(map[string]string{"dfl-port.0": integration.NLB3}, c.Ports(pod)); diff != "" {
		c.t.Errorf("the pod's log (-want +got):\n%s", diff)
	}
	if programmed, err := c.Programmed(); err != nil || len(programmed) != 1 {
		c.t.Errorf("the card was programmed %d times, want once: %v, %v", len(programmed), programmed, err)
	}
	c.Delete(pod)
}

// patient gives NRI time: a plugin that answers late is cut off, and the runtime does not start its own one again.
const patient = 20 * time.Second

func TestOverlayForCRIOWithoutNRI(t *testing.T) {
	t.Parallel()
	c := kit.Start(t, Options{Runtime: integration.CRIO, NoNRI: true})
	c.StoreBitstream(integration.NLB3)
	c.InstallInlay(Install{Overlay: "crio-hooks"})
	c.WaitAllocatable(region, 1)
	c.readsNLB3()
}

// The runtime has an inlay-nri of its own from the moment in which it starts.
func TestOverlayForAnNRIPluginOfTheRuntime(t *testing.T) {
	t.Parallel()
	for _, runtime := range []integration.RuntimeName{integration.Containerd, integration.CRIO} {
		t.Run(string(runtime), func(t *testing.T) {
			t.Parallel()
			if runtime != integration.Containerd {
				long(t)
			}
			c := kit.Start(t, Options{Runtime: runtime, NRITimeout: patient})
			c.StoreBitstream(integration.NLB3)
			c.InstallInlay(Install{Overlay: "preinstalled-nri"})
			c.WaitAllocatable(region, 1)
			c.must(c.Runtime.Restart(t.Context()))
			c.readsNLB3()
		})
	}
}

func TestOverlayForWholeCards(t *testing.T) {
	t.Parallel()
	c := kit.Start(t, Options{Cards: []string{"dfl:ports=2"}})
	c.InstallInlay(Install{Overlay: "regiondevel"})
	c.WaitAllocatable(region, 1)
	c.Apply("{apiVersion: fpga.intel.com/v2, kind: FpgaRegion, metadata: {name: whole, namespace: default}, spec: {interfaceId: " + emulator.DefaultInterface + "}}\n")
	pod := PodSpec{Name: "developer", Resources: map[string]int64{"fpga.intel.com/whole": 1}, Script: "ls /dev | grep fme\n" + ReadFunctions}
	c.WaitAdmitted(pod)
	c.RunPod(pod)
	if diff := cmp.Diff(map[string]string{"dfl-port.0": integration.NLB0, "dfl-port.1": integration.NLB0}, c.Ports(pod)); diff != "" {
		t.Errorf("the pod's log (-want +got):\n%s", diff)
	}
	if fme, _, _ := strings.Cut(c.Logs(pod), "\n"); fme != "dfl-fme.0" {
		t.Errorf("FME nodes: %q", fme)
	}
	c.Delete(pod)
}
