//go:build integration

package families

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/inlay-project/inlay/deviceplugins/racktest"
	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cluster"
)

func TestAllFamiliesOnOneNode(t *testing.T) {
	for _, runtime := range []integration.RuntimeName{integration.Containerd, integration.CRIO} {
		t.Run(string(runtime), func(t *testing.T) {
			t.Parallel()
			n := startNode(t, runtime)
			// The third device of each family is broken, and takes no other one with it.
			n.Phases.Time("all devices allocatable", func() { n.waitOffered(offered) })
			n.Phases.Time("a pod with all families", n.givesAllToOneContainer)
			n.Phases.Time("hot-plug of each family", n.plugEach)
			n.Phases.Time("a device is gone", n.losesADevice)
			n.Phases.Time("another configuration", n.isConfiguredAnew)
			n.Phases.Time("a pod after it", n.packsAndJoins)
			n.Phases.Time("a pod without inlay-nri", n.isRightWithoutNRI)
			n.Phases.Time("GPUs by CDI", n.givesGPUsByCDI)
			n.Phases.Time("with the components of QAT", n.bindsAndHearsQAT)
			t.Logf("%s:\n%s", runtime, n.Phases.String())
		})
	}
}

// A container with devices of every family, of two resources some, has those and nothing else, and its variables are
// numbered over all of them.
func (n *node) givesAllToOneContainer() {
	n.t.Helper()
	n.Grant("", "nlb3", integration.NLB3, "region")
	asked := map[string]int64{
		"gpu.intel.com/xe": 2, "gpu.intel.com/i915": 1, "npu.intel.com/accel": 1, "qat.intel.com/cy": 2, "qat.intel.com/dc": 1,
		"sgx.intel.com/enclave": 1, "dsa.intel.com/wq-user-dedicated": 1, "iaa.intel.com/wq-user-dedicated": 1, "dlb.intel.com/pf": 1,
	}
	got := n.run("all", with(asked, map[string]int64{"fpga.intel.com/nlb3": 1}))
	if diff := cmp.Diff(with(asked, map[string]int64{region: 1}), n.count("all")); diff != "" {
		n.t.Errorf("the kubelet's devices of the pod (-asked +got):\n%s", diff)
	}
	want := n.expect("all")
	want.Holds = map[string]string{"dfl-port.0": integration.NLB3}
	if len(want.Env) != 3 || len(want.Links) != 6 {
		n.t.Errorf("this is no test: %+v", want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		n.t.Errorf("the container (-want +got):\n%s", diff)
	}
	n.Delete(cluster.PodSpec{Name: "all"})
}

func (n *node) losesADevice() {
	n.t.Helper()
	n.must(n.rack.Unplug("npu", 1))
	n.WaitAllocatable("npu.intel.com/accel", 1)
	for resource, want := range offered {
		if resource != "npu.intel.com/accel" {
			n.must(n.awaitDevices(resource, want))
		}
	}
}

// A ConfigMap that was not there is made, and counts, in the process that runs.
func (n *node) isConfiguredAnew() {
	n.t.Helper()
	process, restarts := n.Program("inlay-deviceplugin"), n.restarts()
	n.configure("version: v1\ngpu: {sharedDevNum: 2, allocationPolicy: packed}\ndsa: {driver: vfio-pci}\nnodes:\n- names: [" + cluster.NodeName + "]\n  iaa: {driver: vfio-pci}")
	n.waitOffered(map[string]int{
		"gpu.intel.com/xe": 4, "gpu.intel.com/i915": 4, "dsa.intel.com/vfio": 2, "iaa.intel.com/vfio": 2,
		"dsa.intel.com/wq-user-dedicated": 0, "iaa.intel.com/wq-user-dedicated": 0, "qat.intel.com/cy": 2,
	})
	if !process.Alive() || n.restarts() != restarts {
		n.t.Errorf("inlay-deviceplugin %d has ended", process.Pid)
	}
}

// Of two shares that any two cards have, one card has both; functions of two families are numbered as one list.
func (n *node) packsAndJoins() {
	n.t.Helper()
	got := n.run("packed", map[string]int64{"gpu.intel.com/xe": 2, "dsa.intel.com/vfio": 1, "iaa.intel.com/vfio": 1})
	want := n.expect("packed")
	if len(want.Env) != 2 || len(want.Links) != 2 {
		n.t.Errorf("not packed, or this is no test: %+v", want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		n.t.Errorf("the container (-want +got):\n%s", diff)
	}
	n.Delete(cluster.PodSpec{Name: "packed"})
}

// What Allocate answers for one resource is right by itself. Of two the kubelet keeps one QAT0, so that a variable is
// missing: what inlay-nri is there for.
func (n *node) isRightWithoutNRI() {
	n.t.Helper()
	nri := n.Program("inlay-nri")
	n.must(nri.Stop())
	got := n.run("two", map[string]int64{"qat.intel.com/cy": 1, "qat.intel.com/dc": 1})
	if want := n.expect("two"); len(want.Env) != 2 || len(got.Env) != 1 || !cmp.Equal(want.Nodes, got.Nodes) {
		n.t.Errorf("two resources: %+v, with inlay-nri %+v", got, want)
	}
	n.Delete(cluster.PodSpec{Name: "two"})
	got = n.run("one", map[string]int64{"qat.intel.com/cy": 2})
	want := n.expect("one")
	if len(want.Env) != 2 {
		n.t.Errorf("this is no test: %+v", want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		n.t.Errorf("the container (-want +got):\n%s", diff)
	}
	n.must(nri.Cont())
}

// With CDI a container gets what it got without: each card once, and real links. The kubelet knows names only.
func (n *node) givesGPUsByCDI() {
	n.t.Helper()
	n.configure("version: v1\ncdi: on\ngpu: {sharedDevNum: 3}\ndsa: {driver: vfio-pci}\niaa: {driver: vfio-pci}")
	n.waitOffered(map[string]int{"gpu.intel.com/xe": 6, "gpu.intel.com/i915": 6})
	got := n.run("cdi", map[string]int64{"gpu.intel.com/xe": 2, "gpu.intel.com/i915": 1})
	want := n.expect("cdi")
	if len(want.Links) != 6 {
		n.t.Errorf("this is no test: %+v", want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		n.t.Errorf("the container (-want +got):\n%s", diff)
	}
	named := map[string][]string{}
	for resource, ids := range n.held("cdi") {
		for _, id := range ids {
			card, _, _ := strings.Cut(id, "-")
			named[resource] = append(named[resource], "intel.cdi.k8s.io/gpu="+card)
		}
	}
	if diff := cmp.Diff(named, n.givenByCDI("gpu.intel.com/"), cmpopts.SortSlices(strings.Compare)); diff != "" {
		n.t.Errorf("what the kubelet was answered (-devices +names):\n%s", diff)
	}
	n.Delete(cluster.PodSpec{Name: "cdi"})
	n.configure("version: v1\ngpu: {sharedDevNum: 2, allocationPolicy: packed}\ndsa: {driver: vfio-pci}\niaa: {driver: vfio-pci}")
	n.waitOffered(map[string]int{"gpu.intel.com/xe": 4, "gpu.intel.com/i915": 4})
}

// Two components widen what the pod may do: functions of QAT cards are bound, and the cards' heartbeat is heard. A third one
// asks a service that is not there, and takes nothing away.
func (n *node) bindsAndHearsQAT() {
	n.t.Helper()
	n.must(n.rack.GiveToKernel(1))
	n.WaitAllocatable("qat.intel.com/cy", 1)
	if err := n.rack.Bind(1); !errors.Is(err, racktest.ErrNotAsked) {
		n.t.Errorf("without the component: %v", err)
	}
	n.installWith("qat-bind", "qat-health", "gpu-xpumd")
	n.must(n.Await(n.t.Context(), limit, "the function bound", func(context.Context) error { return n.rack.Bind(1) }))
	n.waitOffered(map[string]int{"qat.intel.com/cy": 2, "gpu.intel.com/xe": 4})
	n.must(os.WriteFile(n.HostPath(racktest.QATStatus(1)), []byte("-1"), 0o644))
	n.waitOffered(map[string]int{"qat.intel.com/cy": 0, "qat.intel.com/dc": 2})
}
