package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/node"
	"github.com/inlay-project/inlay/deviceplugins/node/nodetest"
	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/nodestate"
)

func labelled(t *testing.T, api *nodetest.APIServer, mode string) {
	t.Helper()
	childtest.Eventually(t, limit, func() error {
		if got := api.Label(node.ModeLabel); got != mode {
			return fmt.Errorf("label %q, want %q", got, mode)
		}
		return nil
	})
}

func modeTold(t *testing.T, root, mode string) {
	t.Helper()
	if s, err := nodestate.Read(root + "/run/inlay"); err != nil || s.Mode != mode {
		t.Errorf("told to inlay-nri: %+v, %v; want %s", s, err, mode)
	}
}

var owner = kubelet.Owner{Namespace: "ns", Pod: "pod", Container: "c"}

func TestTheModeFollowsTheNodesAnnotationWithoutARestart(t *testing.T) {
	t.Parallel()
	root := emulated(t, "dfl:ports=2")
	api := nodetest.Start(t, "n1")
	api.Annotate(node.ModeAnnotation, "region")
	k := startKubelet(t, root)
	d := start(t, root, "--node-name", "n1", "--kubeconfig", api.Kubeconfig(t))
	lists(t, limit, k, region, 1, "dfl-fme.0")
	modeTold(t, root, "region")
	labelled(t, api, "region")
	if got := k.Resources(); fmt.Sprint(got) != "["+region+"]" {
		t.Errorf("resources %v: it began in another mode", got)
	}

	if _, err := k.Allocate(t.Context(), owner, kubelet.Request{region: 1}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // the kubelet lists it; what was answered just before would count too
	api.Annotate(node.ModeAnnotation, "af")
	lists(t, limit, k, afNLB0, 0, "dfl-port.0", "dfl-port.1")
	modeTold(t, root, "af")
	labelled(t, api, "af")
	lists(t, limit, k, region, 0)
	d.Says(limit, "FPGA mode changed", "mode=af")
	d.Answers(limit, "/metrics", 200, `inlay_discovery_events_total{action="kick",family="fpga"} 1`)
	d.Says(limit, "resource offered", afNLB0, "unhealthy=2")

	k.Free(owner)
	lists(t, limit, k, afNLB0, 2, "dfl-port.0", "dfl-port.1")

	api.Annotate(node.ModeAnnotation, "regions")
	d.Says(limit, "level=warning", "node annotation "+node.ModeAnnotation+" is passed over, the mode stays af", "regions")
	api.Touch()
	api.Annotate(node.ModeAnnotation, "")
	api.Annotate(node.ModeAnnotation, "regiondevel")
	lists(t, limit, k, region, 1, "dfl-fme.0")
	modeTold(t, root, "regiondevel")
	labelled(t, api, "regiondevel")
	if n := strings.Count(d.Output(), "is passed over"); n != 1 {
		t.Errorf("warned %d times of one wrong annotation", n)
	}
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestWithoutTheAPIServerTheFlagsModeIsUsedUntilItComes(t *testing.T) {
	t.Parallel()
	root := emulated(t, "dfl")
	api := nodetest.Start(t, "n1")
	api.Annotate(node.ModeAnnotation, "region")
	api.SetDown(true)
	k := startKubelet(t, root)
	d := start(t, root, "--node-name", "n1", "--kubeconfig", api.Kubeconfig(t))
	lists(t, limit, k, afNLB0, 1, "dfl-port.0")
	d.Says(limit, "level=warning", "the mode is af until the node's annotation can be read")
	api.SetDown(false)
	lists(t, limit, k, region, 1, "dfl-fme.0")
	labelled(t, api, "region")
	api.SetDown(true)
	time.Sleep(100 * time.Millisecond)
	lists(t, limit, k, region, 1, "dfl-fme.0")
	d.Answers(limit, "/readyz", 200, "ready")
}

func TestANodeWithoutCardsLeavesTheAPIServerAlone(t *testing.T) {
	root := emulated(t)
	api := nodetest.Start(t, "n1")
	k := startKubelet(t, root)
	d := start(t, root, "--node-name", "n1", "--kubeconfig", api.Kubeconfig(t))
	d.Answers(limit, "/readyz", 200, "ready")
	if n := api.Requests("get") + api.Requests("watch") + api.Requests("patch"); n != 0 {
		t.Errorf("%d requests", n)
	}
	if _, err := os.Stat(root + "/run/inlay/node.json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("node.json: %v", err)
	}
	api.Annotate(node.ModeAnnotation, "region")
	plug(t, root, "dfl")
	lists(t, limit, k, region, 1, "dfl-fme.0")
	labelled(t, api, "region")
}

func TestAnAllocatedPortThatIsReprogrammedIsNotOfferedTwice(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for audits of 5 s each")
	}
	root := emulated(t, "dfl:ports=2")
	k := startKubelet(t, root)
	d := start(t, root)
	lists(t, limit, k, afNLB0, 2, "dfl-port.0", "dfl-port.1")
	a, err := k.Allocate(t.Context(), owner, kubelet.Request{afNLB0: 1})
	if err != nil {
		t.Fatal(err)
	}
	held := a.Devices[afNLB0][0]
	setAttr(t, afuOf(root, held), nlb3)
	lists(t, limit, k, afNLB3, 0, held)
	d.Says(limit, "resource offered", afNLB3, "unhealthy=1")

	// The plugin's memory ends with it; the kubelet's does not.
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
	d = start(t, root)
	lists(t, limit, k, afNLB3, 0, held)
	d.Answers(limit, "/metrics", 200, `inlay_devices{family="fpga",health="Unhealthy",resource="`+afNLB3+`"} 1`)
	k.Free(owner)
	lists(t, limit, k, afNLB3, 1, held)
}

func TestAKubeletThatFallsSilentKeepsNewNamesBackUntilItAnswers(t *testing.T) {
	t.Parallel()
	root := emulated(t, "dfl")
	k := startKubelet(t, root)
	k.SetSilent(true)
	d := start(t, root, "--fpga-mode", "region")
	lists(t, limit, k, region, 0, "dfl-fme.0")
	k.SetSilent(false)
	lists(t, limit, k, region, 1, "dfl-fme.0")
	d.Says(limit, "resource offered", region, "healthy=1")
}

func TestWithPodResourcesOffTheKubeletIsNotAsked(t *testing.T) {
	root := emulated(t, "dfl")
	k := startKubelet(t, root)
	k.SetSilent(true)
	start(t, root, "--fpga-mode", "region", "--podresources", "")
	lists(t, limit, k, region, 1, "dfl-fme.0")
}

func TestDiscoverShowsTheModeOfTheAnnotation(t *testing.T) {
	root := emulated(t, "dfl")
	api := nodetest.Start(t, "n1")
	api.Annotate(node.ModeAnnotation, "region")
	args := []string{"discover", "--host-root", root, "--kubeconfig", api.Kubeconfig(t)}
	if r := run(t, args, "NODE_NAME=n1"); r.code != 0 || !strings.Contains(r.stdout, region) {
		t.Errorf("%+v", r)
	}
	api.SetDown(true)
	if r := run(t, args, "NODE_NAME=n1"); r.code != 0 || !strings.Contains(r.stdout, afNLB0) ||
		!strings.Contains(r.stderr, "the mode is af until the node's annotation can be read") {
		t.Errorf("%+v", r)
	}
	if got := api.Patches(); len(got) != 0 {
		t.Errorf("a look wrote %q", got)
	}
}
