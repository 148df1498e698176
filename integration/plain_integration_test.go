//go:build integration

package integration

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/integration/cri"
)

func TestPlainContainerRuns(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime})
		name, version, err := n.Runtime.CRI().Version(n.ctx())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s %s", name, version)
		pod := n.RunPod("plain")

		spec := Shell(`echo "it is $WORD"; id -u; id -g; exit 3`)
		spec.Env, spec.User = []string{"WORD=here"}, &cri.User{UID: 1000, GID: 1000}
		want := Result{ExitCode: 3, Output: "it is here\n1000\n1000\n"}
		if diff := cmp.Diff(want, pod.Run(spec).Wait()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestExecMountAndDeviceReachAContainer(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime})
		spec := Shell("sleep 600")
		spec.Mounts = []cri.Mount{{HostPath: n.Dir, ContainerPath: "/node", ReadOnly: true}}
		spec.Devices = []cri.Device{{HostPath: "/dev/null", ContainerPath: "/dev/inlay-test", Permissions: "rw"}}
		c := n.RunPod("sleeper").Run(spec)
		if got := c.Exec("ls", "/node"); !strings.Contains(got, "containerd") && !strings.Contains(got, "lock") {
			t.Errorf("the mount shows %q", got)
		}
		if got := c.Exec("stat", "-c", "%t:%T", "/dev/inlay-test"); got != "1:3\n" {
			t.Errorf("device numbers %q", got)
		}
		if !c.Running() {
			t.Error("not running")
		}
		c.End()
	})
}

func TestContainersOutliveARestartOfTheirRuntime(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime})
		c := n.RunPod("survivor").Run(Shell("sleep 600"))
		if err := n.Runtime.Restart(n.ctx()); err != nil {
			t.Fatal(err)
		}
		if got := c.Exec("echo", "alive"); got != "alive\n" {
			t.Errorf("got %q", got)
		}
	})
}

// An NRI plugin that does nothing: the baseline of every comparison with ours.
type emptyPlugin struct{ created chan string }

func (p emptyPlugin) CreateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	select {
	case p.created <- c.GetName():
	default:
	}
	return nil, nil, nil
}

func connectEmptyPlugin(t testing.TB, n *Node) emptyPlugin {
	t.Helper()
	p := emptyPlugin{created: make(chan string, 1)}
	s, err := stub.New(p, stub.WithPluginName("empty"), stub.WithPluginIdx("50"), stub.WithSocketPath(n.NRISocket()), stub.WithOnClose(func() {}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(n.ctx()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return p
}

func TestNRIPluginIsAsked(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime})
		p := connectEmptyPlugin(t, n)
		if got := n.RunPod("seen").Run(Shell("true")).Wait(); got.ExitCode != 0 {
			t.Errorf("exit code %d: %s", got.ExitCode, got.Output)
		}
		select {
		case name := <-p.created:
			if name != "main" {
				t.Errorf("the plugin saw container %q", name)
			}
		case <-n.ctx().Done():
			t.Error("the plugin was not asked")
		}
	})
}

func TestCreateContainerTime(t *testing.T) {
	const rounds = 50
	n := StartNode(t, runtimeTools(t), NodeOptions{})
	pod := n.RunPod("timed")
	measure := func() time.Duration {
		times := make([]time.Duration, rounds)
		for i := range times {
			var c *Container
			times[i] = Elapsed(func() { c = pod.Create(Shell("true")) })
			c.End()
		}
		slices.Sort(times)
		return times[rounds/2]
	}
	measure() // the first ones fill caches
	without := measure()
	connectEmptyPlugin(t, n)
	t.Logf("CreateContainer p50 of %d: %v without a plugin, %v with an empty one", rounds, without, measure())
}
