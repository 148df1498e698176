//go:build integration

package integration

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/kubelet"
)

// What a pod of the device plugin before Inlay shows when its container is to start again.
const deleteThePod = "allocated by an earlier plugin: delete the pod"

// earlierPods are the pods in the earlier kubelet's checkpoint, one for each mode of its
// plugin, each with the first card.
var earlierPods = []struct{ mode, uid, refused string }{
	{"region", "00000001-0000-4000-8000-000000000001", "/dev/dfl-port.0: " + deleteThePod},
	{"af", "00000001-0000-4000-8000-000000000002", "/dev/dfl-port.0: " + deleteThePod},
	{"regiondevel", "00000001-0000-4000-8000-000000000003", "/dev/dfl-port.0: " + deleteThePod},
}

// requestFor is what a pod asks for in a mode to get a card of its own.
func requestFor(t *testing.T, mode string) Request {
	switch mode {
	case "af":
		return Request{Resources: kubelet.Request{AFResource(t, Interface, NLB0): 1}}
	case "regiondevel":
		return Request{Resources: kubelet.Request{RegionResource(Interface): 1}}
	}
	return Regions(Want{Interface, NLB0})
}

// migrated is a node with a pod of the earlier plugin that runs on its first card, as the
// kubelet's checkpoint has it, and then Inlay.
func migrated(t *testing.T, n *Node, mode, uid string, o InlayOptions) (*Inlay, *Workload) {
	t.Helper()
	n.PutBitstream(Interface, NLB0, NLB0)
	n.InstallEarlierHook()
	n.PutEarlierCDIFile("dfl-fme.0")
	o.Mode = mode
	i := n.NewInlay(o)
	old := i.NewWorkload("old", Request{})
	if err := i.Kubelet.Restore(EarlierCheckpoint, map[string]kubelet.Owner{uid: old.Owner()}); err != nil {
		t.Fatal(err)
	}
	old.MustRun()
	if diff := cmp.Diff(map[string]string{"dfl-port.0": NLB0}, old.Ports()); diff != "" {
		t.Fatalf("before Inlay:\n%s", diff)
	}
	i.Start()
	time.Sleep(noticeTime)
	return i, old
}

// stillReads checks that the earlier plugin's pod goes on undisturbed.
func stillReads(t *testing.T, old *Workload) {
	t.Helper()
	if !old.Running() {
		t.Fatal("the earlier plugin's pod does not run any more")
	}
	if got := old.Container().Exec("afu-read", "/dev/dfl-port.0"); got != NLB0+"\n" {
		t.Errorf("the earlier plugin's pod reads %q", got)
	}
}

func refusedWith(t *testing.T, w *Workload, when, want string) {
	t.Helper()
	err := w.Answered(regexp.MustCompile(regexp.QuoteMeta(want)))
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", when, err, want)
	}
	if w.Running() {
		t.Errorf("%s: the container runs", when)
	}
}

func TestPodsOfAnEarlierPluginRunOnAndDoNotStartAgain(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		for _, p := range earlierPods {
			t.Run(p.mode, func(t *testing.T) {
				n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, Cards: []string{"dfl:ports=1", "dfl:ports=1"}})
				i, old := migrated(t, n, p.mode, p.uid, InlayOptions{})
				stillReads(t, old)
				other := i.NewWorkload("other", requestFor(t, p.mode))
				other.MustRun()
				if diff := cmp.Diff(map[string]string{"dfl-port.1": NLB0}, other.Ports()); diff != "" {
					t.Errorf("a new pod beside it:\n%s", diff)
				}
				stillReads(t, old)

				before := n.EarlierHookRuns()
				refusedWith(t, old, "its container restarts", p.refused)
				refusedWith(t, old, "once more", p.refused)
				if got := n.EarlierHookRuns(); got != before {
					t.Errorf("the earlier system's hook has run again")
				}
				old.Renew(requestFor(t, p.mode))
				old.RunsWithin(10 * time.Second)
				if diff := cmp.Diff(map[string]string{"dfl-port.0": NLB0}, old.Ports()); diff != "" {
					t.Errorf("the pod made anew:\n%s", diff)
				}
			})
		}
	})
}

// While inlay-nri is not connected the gate alone stands between an earlier answer and a
// container, and PreStartContainer before it where the kubelet asks.
func TestTheGateStopsAnEarlierAnswerWithoutInlayNRI(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		for _, p := range earlierPods {
			t.Run(p.mode, func(t *testing.T) {
				n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, Cards: []string{"dfl:ports=1"}})
				i, old := migrated(t, n, p.mode, p.uid, InlayOptions{})
				if err := i.NRI.Kill(n.ctx()); err != nil {
					t.Fatal(err)
				}
				refusedWith(t, old, "the kubelet asks before it", "no answer from inlay-nri")
				old.Request.NoPreStart = true
				if p.mode != "region" {
					// Its answer names no CDI device: nobody is asked. It has what it had.
					old.MustRun()
					if diff := cmp.Diff(map[string]string{"dfl-port.0": NLB0}, old.Ports()); diff != "" {
						t.Error(diff)
					}
					return
				}
				refusedWith(t, old, "its container restarts", "inlay-hook: gate: device dfl-fme.0: "+deleteThePod)

				// The guard taken out: the earlier file, and nobody who puts ours back.
				if err := i.DevicePlugin.Stop(); err != nil {
					t.Fatal(err)
				}
				runs := n.EarlierHookRuns()
				n.PutEarlierCDIFile("dfl-fme.0")
				old.MustRun()
				if got := n.EarlierHookRuns(); got != runs+1 {
					t.Errorf("the earlier system's hook ran %d times, so the check above could not fail", got-runs)
				}
				if err := i.DevicePlugin.Cont(); err != nil {
					t.Fatal(err)
				}
				n.eventually("the file's return, and who wrote it", func() error {
					if b, err := os.ReadFile(n.EarlierCDIFile("dfl-fme.0")); err != nil || !strings.Contains(string(b), "--earlier") {
						return errNotYet
					}
					if log := i.DevicePlugin.Tail(20); !strings.Contains(log, "another FPGA device plugin writes it anew") {
						return fmt.Errorf("nobody says who wrote it:\n%s", log)
					}
					return nil
				})
			})
		}
	})
}

func TestTheGateStopsAnEarlierAnswerOnARuntimeWithoutNRI(t *testing.T) {
	on(t, fallbackRuntimes, func(t *testing.T, runtime RuntimeName) {
		n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, NoNRI: true, Cards: []string{"dfl:ports=1"}})
		_, old := migrated(t, n, "region", earlierPods[0].uid, InlayOptions{Allocate: true})
		stillReads(t, old)
		refusedWith(t, old, "its container restarts", "inlay-hook: gate: device dfl-fme.0: "+deleteThePod)
		old.Renew(Regions(Want{Interface, NLB0}))
		old.RunsWithin(10 * time.Second)
	})
}

// laterPlugin is asked after inlay-nri, and only for what inlay-nri did not refuse.
type laterPlugin struct{ nodes chan []string }

func (p laterPlugin) CreateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	var paths []string
	for _, d := range c.GetLinux().GetDevices() {
		if strings.HasPrefix(d.GetPath(), "/dev/dfl-") {
			paths = append(paths, d.GetPath())
		}
	}
	slices.Sort(paths)
	p.nodes <- paths
	return nil, nil, nil
}

// A privileged container has every node of the host, whoever allocated what.
func TestPrivilegedContainersAreNoneOfOurs(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, Cards: []string{"dfl:ports=1"}, HostDev: true})
		n.StartInlay(InlayOptions{})
		later := laterPlugin{nodes: make(chan []string, 1)}
		s, err := stub.New(later, stub.WithPluginName("later"), stub.WithPluginIdx("90"), stub.WithSocketPath(n.NRISocket()), stub.WithOnClose(func() {}))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(n.ctx()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)

		pod := n.RunPod("privileged", func(s *cri.PodSpec) { s.Privileged = true })
		spec := Shell("sleep 600")
		spec.Privileged = true
		// CRI-O gives it capabilities that the root of a build machine's container lacks: what
		// runc says to that comes after inlay-nri.
		if _, err := pod.TryRun(spec); err != nil && !strings.Contains(err.Error(), "unable to apply caps") {
			t.Error(err)
		}
		select {
		case got := <-later.nodes:
			if diff := cmp.Diff([]string{"/dev/dfl-fme.0", "/dev/dfl-port.0"}, got); diff != "" {
				t.Errorf("the runtime did not list the cards' nodes, so this shows nothing:\n%s", diff)
			}
		default:
			t.Error("inlay-nri did not let it pass")
		}
		spec = Shell("sleep 600")
		spec.Name = "ordinary"
		spec.Devices = []cri.Device{{HostPath: "/dev/dfl-port.0", ContainerPath: "/dev/dfl-port.0", Permissions: "rw"}}
		if _, err := pod.TryCreate(spec); err == nil || !strings.Contains(err.Error(), "/dev/dfl-port.0: "+deleteThePod) {
			t.Errorf("an ordinary container beside it: %v", err)
		}
	})
}

// The earlier plugin under its own resource name, which is another one than ours: both
// register, and each would give the card away.
func TestBothPluginsAtOnceAreNamed(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, Cards: []string{"dfl:ports=1"}})
		n.InstallEarlierHook()
		i := n.StartInlay(InlayOptions{})
		if _, left := i.Discover(); left != "" {
			t.Errorf("before it comes: %q", left)
		}
		resource := AFResource(t, Interface, NLB0)
		earlier := i.StartEarlierPlugin(resource, "dfl-port.0")
		const said = "another FPGA device plugin serves it, so this node's cards are given out twice: delete its DaemonSet " +
			"(kubectl get daemonset -A -l app=intel-fpga-plugin,app.kubernetes.io/part-of!=inlay)"
		n.eventually("the warning", func() error {
			if !strings.Contains(i.DevicePlugin.Tail(20), said) {
				return errNotYet
			}
			return nil
		})
		n.eventually("the same in discover", func() error {
			if _, left := i.Discover(); !strings.Contains(left, "fpga.intel.com-af-695.d84.") || !strings.Contains(left, said) {
				return fmt.Errorf("discover: %q", left)
			}
			return nil
		})
		// What it gives away meanwhile does not start, and what we do still works.
		theirs := i.NewWorkload("theirs", Request{Resources: kubelet.Request{resource: 1}})
		refusedWith(t, theirs, "a pod of the other plugin", "/dev/dfl-port.0: "+deleteThePod)
		n.PutBitstream(Interface, NLB3, NLB3)
		n.eventually("who has the card, in discover", func() error {
			if list, _ := i.Discover(); !strings.Contains(list, "held by team-a/theirs as "+resource) {
				return fmt.Errorf("discover does not say it:\n%s", list)
			}
			return nil
		})
		ours := i.NewWorkload("ours", Regions(standardWant))
		if err := ours.Try(); err == nil {
			t.Error("our pod runs on the card that it gave away")
		} else {
			t.Logf("our pod on the card that it gave away: %v", err)
		}
		theirs.End()
		ours.RunsWithin(10 * time.Second)

		earlier.Stop()
		n.eventually("the end of the warning", func() error {
			if _, left := i.Discover(); left != "" {
				return fmt.Errorf("still %q", left)
			}
			return nil
		})
	})
}

// In the same mode both have the same resource and the same socket: the newer one serves.
func TestInlayTakesTheEarlierPluginsResourceOver(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, Cards: []string{"dfl:ports=1"}})
		n.PutBitstream(Interface, NLB3, NLB3)
		i := n.NewInlay(InlayOptions{})
		earlier := i.StartEarlierPlugin(RegionResource(Interface), "dfl-port.0")
		i.Start()
		n.eventually("the list of inlay-deviceplugin", func() error {
			if ids, _ := i.Kubelet.Devices(RegionResource(Interface)); !slices.Equal(ids, []string{"dfl-fme.0"}) {
				return fmt.Errorf("the kubelet has %v", ids)
			}
			return nil
		})
		for _, name := range []string{"beside it", "after it"} {
			w := i.NewWorkload(strings.ReplaceAll(name, " ", "-"), Regions(standardWant))
			w.MustRun()
			if got := w.Functions(); !slices.Equal(got, []string{NLB3}) {
				t.Errorf("%s: functions %v", name, got)
			}
			w.End()
			earlier.Stop()
		}
	})
}

// The way back: Inlay is uninstalled, and the earlier plugin serves again.
func TestTheWayBackToAnEarlierPlugin(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, Cards: []string{"dfl:ports=1"}})
		n.InstallEarlierHook()
		i := n.StartInlay(InlayOptions{})
		n.PutBitstream(Interface, NLB3, NLB3)
		w := i.NewWorkload("inlays", Regions(standardWant))
		w.MustRun()
		i.StopDaemons()
		if out, err := i.Uninstall("--force", "--purge"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		resource := AFResource(t, Interface, NLB3)
		i.StartEarlierPlugin(resource, "dfl-port.0")
		if !w.Running() || w.Container().Exec("afu-read", "/dev/dfl-port.0") != NLB3+"\n" {
			t.Error("the pod that Inlay allocated to does not run on")
		}
		w.Request.NoPreStart = true // nobody is there to be asked
		refusedWith(t, w, "its container restarts", "unresolvable CDI devices intel.cdi.k8s.io/fpga=gate")
		w.End()
		theirs := i.NewWorkload("theirs", Request{Resources: kubelet.Request{resource: 1}})
		theirs.MustRun()
		if diff := cmp.Diff(map[string]string{"dfl-port.0": NLB3}, theirs.Ports()); diff != "" {
			t.Error(diff)
		}
	})
}
