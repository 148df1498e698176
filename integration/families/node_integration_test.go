//go:build integration

package families

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/deviceplugins/racktest"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cluster"
)

const region = "fpga.intel.com/region-" + emulator.DefaultInterface

// limit is for what takes seconds on a machine that is not busy.
const limit = 60 * time.Second

// node is the only node of a cluster, with devices of all families.
type node struct {
	*cluster.Test
	t    *testing.T
	rack racktest.Rack
}

// offered is what the node has at first: two of each and, broken, a third one of each family.
var offered = map[string]int{
	region: 1, "gpu.intel.com/xe": 2, "gpu.intel.com/i915": 2, "npu.intel.com/accel": 2, "qat.intel.com/cy": 2, "qat.intel.com/dc": 2,
	"sgx.intel.com/enclave": 110, "sgx.intel.com/provision": 110, "dsa.intel.com/wq-user-dedicated": 2, "iaa.intel.com/wq-user-dedicated": 2,
	"dlb.intel.com/pf": 2,
}

// startNode starts a node, plugs everything in and installs Inlay.
func startNode(t *testing.T, runtime integration.RuntimeName) *node {
	t.Helper()
	c := kit.Start(t, cluster.Options{
		Runtime: runtime, Cards: []string{"dfl", "dfl"},
		KubeletConfig: "syncFrequency: 1s\n", // how soon a pod gets a ConfigMap that has changed; a minute by default
	})
	n := &node{Test: c, t: t, rack: racktest.Rack{Dir: c.HostRoot}}
	n.layKernel("iommu_groups", "debug")
	n.must(n.rack.Fill(3))
	for family := range racktest.Families {
		n.must(n.rack.Break(family, 2))
	}
	for variant := range racktest.Variants {
		n.must(n.rack.Plug(variant, 0))
		n.must(n.rack.Plug(variant, 1))
	}
	n.breakFPGA("dfl-fme.1")
	c.StoreBitstream(integration.NLB3)
	c.InstallInlay(cluster.Install{Overlay: "all"})
	return n
}

// layKernel gives the node these folders of /sys/kernel; the others are the machine's.
func (n *node) layKernel(names ...string) {
	n.t.Helper()
	for _, name := range names {
		n.must(os.Mkdir(n.HostPath(name), 0o755))
		n.must(os.Symlink("../../"+name, n.HostPath("sys/kernel/"+name)))
		_, err := n.OnNode(n.t.Context(), "mount --bind "+n.HostPath(name)+" /sys/kernel/"+name)
		n.must(err)
	}
}

// breakFPGA makes a card's interface id read as all ones, as when its bus is gone.
func (n *node) breakFPGA(fme string) {
	n.t.Helper()
	files, err := filepath.Glob(n.HostPath("sys/bus/platform/devices/" + fme + "/dfl-fme-region.*/fpga_region/region*/compat_id"))
	if err != nil || len(files) != 1 {
		n.t.Fatalf("%s has compat_id %v: %v", fme, files, err)
	}
	n.must(os.WriteFile(files[0], []byte(strings.Repeat("f", 32)+"\n"), 0o644))
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// waitOffered waits until the Node and the kubelet have exactly these numbers of devices.
func (n *node) waitOffered(want map[string]int) {
	n.t.Helper()
	for _, resource := range slices.Sorted(maps.Keys(want)) {
		n.WaitAllocatable(resource, want[resource])
	}
}

// configure writes the ConfigMap that the DaemonSet mounts.
func (n *node) configure(yaml string) {
	n.t.Helper()
	n.Apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: inlay-config, namespace: " + cluster.NodeNamespace + "}\ndata:\n  config.yaml: |\n    " +
		strings.ReplaceAll(yaml, "\n", "\n    ") + "\n")
}

// installWith is an upgrade to overlays/all with components beside it, by a kustomization as a user writes one.
func (n *node) installWith(components ...string) {
	n.t.Helper()
	overlay, dir := n.Overlay(cluster.Install{Overlay: "all"}), filepath.Join(n.Dir, "with")
	n.must(os.Mkdir(dir, 0o755))
	relative := func(from, to string) string {
		path, err := filepath.Rel(from, to)
		n.must(err)
		return path
	}
	text := "resources: [" + relative(dir, overlay) + "]\ncomponents:\n"
	for _, c := range components {
		text += "- " + relative(dir, filepath.Join(overlay, "../../components", c)) + "\n"
	}
	n.must(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600))
	n.InstallInlay(cluster.Install{Overlay: relative(filepath.Join(overlay, "../../.."), dir)})
}

// restarts is how often containers of Inlay's pod on the node were started anew.
func (n *node) restarts() int {
	n.t.Helper()
	pods, err := n.Client().CoreV1().Pods(cluster.NodeNamespace).List(n.t.Context(), metav1.ListOptions{})
	n.must(err)
	if len(pods.Items) != 1 {
		n.t.Fatalf("%d pods of Inlay", len(pods.Items))
	}
	sum := 0
	for _, s := range pods.Items[0].Status.ContainerStatuses {
		sum += int(s.RestartCount)
	}
	return sum
}

// plugEach plugs one device more of each family in and out, and prints how long the kubelet took to offer it and to
// offer it no more.
func (n *node) plugEach() {
	n.t.Helper()
	for _, family := range slices.Sorted(maps.Keys(racktest.Families)) {
		resource := racktest.Families[family]
		var took [2]time.Duration
		for i, change := range []func(string, int) error{n.rack.Plug, n.rack.Unplug} {
			began := time.Now()
			n.must(change(family, 3))
			n.must(n.awaitDevices(resource, offered[resource]+1-i))
			took[i] = time.Since(began)
		}
		n.t.Logf("%-4s plugged in → in GetAllocatableResources %4d ms, plugged out → gone %4d ms", family, took[0].Milliseconds(), took[1].Milliseconds())
	}
}

// awaitDevices waits for the kubelet's answer alone. It asks as often as the kubelet lets it, 100 times a second: how long
// it takes is measured.
func (n *node) awaitDevices(resource string, want int) error {
	ctx, cancel := context.WithTimeout(n.t.Context(), limit)
	defer cancel()
	for {
		devices, err := n.Devices(ctx, resource)
		if err == nil && len(devices) == want {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(err, fmt.Errorf("%s: the kubelet has %d, want %d: %v", resource, len(devices), want, devices))
		}
		time.Sleep(10 * time.Millisecond)
	}
}
