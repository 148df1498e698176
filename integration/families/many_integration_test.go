//go:build integration

package families

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/racktest"
	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cluster"
	"github.com/inlay-project/inlay/integration/process"
)

const (
	// many is how many devices of each family a node has that is full.
	many = 64
	// memory is what inlay-deviceplugin may have of its own with them, bytes.
	memory = 16 << 20
	// soon is far more than a plugged device takes until the kubelet offers it, on a busy machine too; the bench has the
	// figure.
	soon = 30 * time.Second
)

// A full node: eight families with 64 devices each, at a real kubelet.
func TestSixtyFourDevicesOfEachFamily(t *testing.T) {
	c := kit.Start(t, cluster.Options{Cards: slices.Repeat([]string{"dfl"}, many)})
	n := &node{Test: c, t: t, rack: racktest.Rack{Dir: c.HostRoot}}
	n.layKernel("iommu_groups", "debug")
	n.must(n.rack.Fill(many))
	c.StoreBitstream(integration.NLB3)
	c.InstallInlay(cluster.Install{Overlay: "all"})
	offered := map[string]int{region: many, "sgx.intel.com/enclave": 110, "sgx.intel.com/provision": 110}
	for _, resource := range racktest.Families {
		offered[resource] = many
	}
	n.waitOffered(offered)

	n.Grant("", "nlb3", integration.NLB3, "region")
	asked := map[string]int64{"sgx.intel.com/enclave": 1, "fpga.intel.com/nlb3": 1}
	for _, resource := range racktest.Families {
		asked[resource] = 2
	}
	got := n.run("one-of-each", asked)
	want := n.expect("one-of-each")
	if len(got.Nodes) != len(want.Nodes) || len(got.Nodes) < 14 {
		t.Errorf("the container has the nodes %v, want %v", got.Nodes, want.Nodes)
	}

	plugin := n.Program("inlay-deviceplugin")
	plug := n.plugs()
	for _, name := range slices.Sorted(maps.Keys(plug)) {
		p := plug[name]
		for i, change := range []func() error{p.goes, p.returns} {
			began := time.Now()
			n.must(change())
			if err := n.awaitDevices(p.resource, p.counts[i]); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if took := time.Since(began); took > soon {
				t.Errorf("%s: after %v the kubelet has %d devices", name, took, p.counts[i])
			}
		}
		for resource, count := range offered {
			n.must(n.awaitDevices(resource, count))
		}
	}
	if !plugin.Alive() {
		t.Error("inlay-deviceplugin has ended meanwhile")
	}
	is, err := process.RSSAnon(plugin.Pid)
	n.must(err)
	t.Logf("RssAnon %d KiB", is>>10)
	if is > memory {
		t.Errorf("RssAnon %d bytes, want at most %d", is, memory)
	}
}

// change is a device that goes and comes back, and how many of its resource there are then.
type change struct {
	resource      string
	goes, returns func() error
	counts        [2]int
}

// plugs are changes of all families.
func (n *node) plugs() map[string]change {
	all := map[string]change{}
	for family, resource := range racktest.Families {
		all[family] = change{
			resource, func() error { return n.rack.Unplug(family, many-1) }, func() error { return n.rack.Plug(family, many-1) },
			[2]int{many - 1, many},
		}
	}
	fme, enclave := n.HostPath(fmt.Sprintf("dev/dfl-fme.%d", many-1)), n.HostPath("dev/sgx_enclave")
	away := func(node string) (func() error, func() error) {
		return func() error { return os.Rename(node, node+".away") }, func() error { return os.Rename(node+".away", node) }
	}
	goes, returns := away(fme)
	all["fpga"] = change{region, goes, returns, [2]int{many - 1, many}}
	goes, returns = away(enclave)
	all["sgx"] = change{"sgx.intel.com/enclave", goes, returns, [2]int{0, 110}}
	return all
}
