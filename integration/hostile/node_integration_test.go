//go:build integration

package hostile

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cri"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// A node whose webhook is switched off: pods come to it as their authors wrote them.
func TestNodesWithoutTheWebhook(t *testing.T)       { nodesWithoutTheWebhook(t, integration.Containerd) }
func TestNodesWithoutTheWebhookOnCRIO(t *testing.T) { nodesWithoutTheWebhook(t, integration.CRIO) }

func nodesWithoutTheWebhook(t *testing.T, runtime integration.RuntimeName) {
	for _, mode := range []v2.Mode{v2.ModeRegion, v2.ModeAF, v2.ModeRegionDevel} {
		t.Run(string(mode), func(t *testing.T) {
			n := startNode(t, runtime, mode)
			for i, c := range Cases() {
				if c.Bare != "" {
					continue // no API server hands it out
				}
				t.Run(c.Name, func(t *testing.T) { n.judge(t, c, n.run(t, i, c, c.Pod, c.Node[mode] != nil)) })
			}
			if mode == v2.ModeRegion {
				t.Run("translated", n.translated)
			}
			t.Run("without the policy", n.withoutPolicy)
		})
	}
}

// node is a node in one mode with all functions in its store.
type node struct {
	*integration.Inlay
	mode  v2.Mode
	ports []string // arguments of mknod: name, major and minor of every port

	sandboxes map[string]*cri.Pod
	attempts  uint32
}

func startNode(t *testing.T, runtime integration.RuntimeName, mode v2.Mode) *node {
	t.Helper()
	tools, err := suite.tools()
	if err != nil {
		t.Fatal(err)
	}
	n := integration.StartNode(t, tools, integration.NodeOptions{Runtime: runtime, Cards: Cards(mode)})
	if err := n.Runtime.Import(t.Context(), imagesFile(suite.dir)); err != nil {
		t.Fatal(err)
	}
	for _, iface := range []string{ifaceA, ifaceB} {
		for _, function := range []string{nlb0, nlb3, prize} {
			n.PutBitstream(iface, function, function)
		}
	}
	i := n.StartInlay(integration.InlayOptions{Mode: string(mode)})
	i.WritePolicy(Policy())
	h := &node{Inlay: i, mode: mode, sandboxes: map[string]*cri.Pod{}}
	nodes, err := filepath.Glob(n.HostPath("dev/dfl-port.*"))
	if err != nil || len(nodes) == 0 {
		t.Fatalf("the node has no ports: %v", err)
	}
	for _, p := range nodes {
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			t.Fatal(err)
		}
		h.ports = append(h.ports, fmt.Sprintf("%s %d %d", filepath.Base(p), unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	}
	h.waitForDevices(t)
	return h
}

// offered is what the node offers the scheduler.
func (n *node) offered() map[string]int {
	all := map[string]int{}
	for _, name := range n.Kubelet.Resources() {
		_, healthy := n.Kubelet.Devices(name)
		all[name] = healthy
	}
	return all
}

// waitForDevices returns when the node offers what its mode makes of its cards.
func (n *node) waitForDevices(t *testing.T) {
	t.Helper()
	want := map[v2.Mode]string{
		v2.ModeAF:          fmt.Sprint(map[string]int{af(nlb0): 1, af(prize): 1}),
		v2.ModeRegion:      fmt.Sprint(map[string]int{regionA: 2, regionB: 1}),
		v2.ModeRegionDevel: fmt.Sprint(map[string]int{regionA: 1}),
	}[n.mode]
	deadline := time.Now().Add(15 * time.Second)
	for fmt.Sprint(n.offered()) != want {
		if time.Now().After(deadline) {
			t.Fatalf("the node offers %v, want %s", n.offered(), want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// judge holds what became of a pod's containers against the case.
func (n *node) judge(t *testing.T, c Case, ran []ran) {
	t.Helper()
	want := c.Node[n.mode]
	if len(ran) != len(want) {
		t.Fatalf("%d containers were tried, want %d: %+v", len(ran), len(want), ran)
	}
	for i, w := range want {
		got := ran[i]
		if got.name != w.Container {
			t.Fatalf("container %s, want %s", got.name, w.Container)
		}
		n.mustBeEntitled(t, c.In, got)
		switch {
		case w.Refused != nil:
			if got.err == nil {
				t.Errorf("container %s runs and reads %v; it should have been refused: %q", got.name, got.functions(), w.Refused)
				continue
			}
			for _, part := range w.Refused {
				if !strings.Contains(got.err.Error(), part) {
					t.Errorf("container %s: the refusal does not say %q: %v", got.name, part, got.err)
				}
			}
		case got.err != nil:
			t.Errorf("container %s was refused: %v", got.name, got.err)
		case w.Whole:
			if len(got.fmes) != 1 || len(got.ports) == 0 {
				t.Errorf("container %s has no whole card: %+v", got.name, got)
			}
		case !slices.Equal(got.functions(), w.Reads) || len(got.fmes) > 0:
			t.Errorf("container %s reads %v (FMEs %v), want %v", got.name, got.functions(), got.fmes, w.Reads)
		}
	}
}

// mustBeEntitled is what holds for all cases: whatever a container reads, a mapping of its namespace gives.
func (n *node) mustBeEntitled(t *testing.T, namespace string, r ran) {
	t.Helper()
	if faults := n.unentitled(namespace, r); len(faults) > 0 {
		t.Errorf("container %s of namespace %s has what no mapping gives: %v", r.name, namespace, faults)
	}
}

func (n *node) unentitled(namespace string, r ran) []string {
	rights, devel := Rights{namespace}, n.mode == v2.ModeRegionDevel
	var faults []string
	for port, afu := range r.ports {
		iface := n.interfaceOf(port)
		if devel && rights.Region(iface) || !devel && rights.Function(n.mode, iface, afu) {
			continue
		}
		faults = append(faults, port+" with "+afu)
	}
	for _, fme := range r.fmes {
		if !devel || !rights.Region(ifaceA) {
			faults = append(faults, fme)
		}
	}
	for port, afu := range r.made {
		if r.ports[port] == "" {
			faults = append(faults, "through a node of its own making "+port+" with "+afu)
		}
	}
	return faults
}

// interfaceOf is the interface of a port: the third card of a node in mode region is of another kind.
func (n *node) interfaceOf(port string) string {
	if n.mode == v2.ModeRegion && port == "dfl-port.2" {
		return ifaceB
	}
	return ifaceA
}

// translated runs what the webhook makes of the pods that it translates: each container reads exactly its functions.
func (n *node) translated(t *testing.T) {
	for i, c := range Cases() {
		p, err := decodePod(c.API.Changed(c.Pod))
		if c.API.Kind != Translated || c.Bare != "" || err != nil || errors.Is(fits(p, n.offered()), errDoesNotFit) {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			for _, got := range n.run(t, i, c, c.API.Changed(c.Pod), true) {
				n.mustBeEntitled(t, c.In, got)
				at := slices.IndexFunc(c.API.Changes, func(change Change) bool { return change.Container == got.name })
				var want []string
				for _, e := range slices.Concat(c.API.Changes[max(at, 0)].Env) {
					if name, afu, _ := strings.Cut(e, "="); at >= 0 && strings.HasPrefix(name, "FPGA_AFU_") {
						want = append(want, afu)
					}
				}
				slices.Sort(want)
				if c.In == lab {
					continue // a whole card on a node that programs: refused
				}
				if got.err != nil || !slices.Equal(got.functions(), want) {
					t.Errorf("container %s reads %v, want %v: %v", got.name, got.functions(), want, got.err)
				}
			}
		})
	}
}

// guarded are cases that nothing but the policy file stops, by mode.
func guarded() map[v2.Mode][]string {
	return map[v2.Mode][]string{
		v2.ModeRegion: {
			"a raw region with the prize's variables, without a mapping", "the prize in a region that is mapped",
			"ENV of the image, a raw region", "a whole ConfigMap, a raw region", "the prize in a sidecar",
		},
		v2.ModeAF:          {"a raw af name without a mapping", "a port with the prize for an init container"},
		v2.ModeRegionDevel: {"a raw region without a mapping", "a whole card for a sidecar"},
	}
}

// withoutPolicy takes the guard away that most cases are stopped by. They must come through then, or the table would
// hold whatever the node did.
func (n *node) withoutPolicy(t *testing.T) {
	const grace = 5 * time.Second
	if err := n.NRI.Terminate(t.Context(), grace); err != nil {
		t.Fatal(err)
	}
	n.NRI = n.Node.Launch("inlay-nri", "--host-root", n.Node.HostRoot, "--fpga-mode", string(n.mode), "--http", "", "--log-level", "debug",
		"--nri-socket", n.Node.NRISocket(), "--hook-host-root", n.Node.HostRoot)
	n.WaitForNRI()
	tried := 0
	for i, c := range Cases() {
		if !slices.Contains(guarded()[n.mode], c.Name) {
			continue
		}
		tried++
		t.Run(c.Name, func(t *testing.T) {
			got := n.run(t, i, c, c.Pod, true)
			if len(got) == 0 || got[0].err != nil {
				t.Fatalf("without the policy it should have come through: %+v", got)
			}
			if !slices.Contains(got[0].functions(), prize) || len(n.unentitled(c.In, got[0])) == 0 {
				t.Errorf("without the policy it should have read the prize, not %v", got[0].functions())
			}
		})
	}
	if want := len(guarded()[n.mode]); tried != want {
		t.Errorf("%d cases without the policy, want %d", tried, want)
	}
}
