package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/journal"
)

// limit is for what has no promise of its own; it is long because machines that test are busy.
const limit = 20 * time.Second

func sockets(t testing.TB, root string) []string {
	t.Helper()
	found, err := filepath.Glob(root + "/var/lib/kubelet/device-plugins/fpga.intel.com-*.sock")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestItStartsWithoutAKubeletAndEndsCleanly(t *testing.T) {
	root := emulated(t, "dfl:ports=2,afu=d8424dc4a4a3c413f89e433683f9040b/"+nlb3)
	d := start(t, root)
	d.Answers(limit, "/healthz", 200, "ok")
	d.Answers(limit, "/readyz", 503, "resource "+afNLB0+" is not registered with the kubelet", "kubelet.sock is not there")
	childtest.Eventually(t, limit, func() error {
		if got := sockets(t, root); len(got) != 2 {
			return fmt.Errorf("sockets %v", got)
		}
		return nil
	})
	k := startKubelet(t, root)
	lists(t, limit, k, afNLB0, 1, "dfl-port.0")
	lists(t, limit, k, afNLB3, 1, "dfl-port.1")
	d.Answers(limit, "/readyz", 200, "ready")
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if got := sockets(t, root); len(got) != 0 {
		t.Errorf("sockets left: %v", got)
	}
	if !strings.Contains(d.Output(), "inlay-deviceplugin ends") {
		t.Error("it does not say that it ends")
	}
}

// A terminal that is closed sends it.
func TestAHangupEndsItAsSIGTERMDoes(t *testing.T) {
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("SKIPPED: it is ignored here (nohup), and what is started here ignores it too")
	}
	t.Parallel()
	root := emulated(t, "dfl")
	k := startKubelet(t, root)
	d := start(t, root)
	lists(t, limit, k, afNLB0, 1, "dfl-port.0")
	if err := d.Stop(syscall.SIGHUP); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if got := sockets(t, root); len(got) != 0 {
		t.Errorf("sockets left: %v", got)
	}
}

func TestTheKubeletMayRestartAnyNumberOfTimesAndSocketsMayGo(t *testing.T) {
	root := emulated(t, "dfl", "dfl")
	k := kubelettest.New(root + "/var/lib/kubelet/device-plugins")
	t.Cleanup(k.Close)
	if err := k.Start(); err != nil {
		t.Fatal(err)
	}
	hasBoth := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		if _, err := k.Wait(ctx, region, func(r kubelettest.Resource) bool { return r.Allocatable() == 2 }); err != nil {
			t.Fatal(err)
		}
	}
	d := start(t, root, "--fpga-mode", "region")
	hasBoth()
	for i := range 10 {
		if err := k.Restart(); err != nil {
			t.Fatal(err)
		}
		hasBoth()
		if i%3 > 0 {
			continue
		}
		for _, s := range sockets(t, root) {
			if err := os.Remove(s); err != nil {
				t.Fatal(err)
			}
		}
		childtest.Eventually(t, limit, func() error {
			if len(sockets(t, root)) != 1 {
				return errors.New("the socket is not back")
			}
			return nil
		})
		hasBoth()
	}
	d.Answers(limit, "/readyz", 200, "ready")
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestMetricsAndLogsTellWhatHappens(t *testing.T) {
	t.Parallel()
	root := emulated(t, "dfl", "dfl")
	setAttr(t, compatOf(root, "dfl-fme.1"), ones)
	k := startKubelet(t, root)
	d := start(t, root, "--fpga-mode", "region")
	lists(t, limit, k, region, 1, "dfl-fme.0")
	d.Answers(limit, "/metrics", 200,
		`inlay_devices{family="fpga",health="Healthy",resource="`+region+`"} 1`,
		`inlay_devices_skipped{family="fpga"} 1`,
		`inlay_kubelet_registrations_total{result="ok"} 1`,
		`inlay_kubelet_registration_gap_seconds_count 1`,
		`inlay_discovery_events_total{action="start",family="fpga"}`,
		`inlay_build_info{`)
	d.Answers(limit, "/readyz", 503, "family fpga: /sys/devices/", "/dfl-fme.1: its interface id reads as all ones")
	d.Answers(limit, "/readyz?exclude=hardware", 200, "ready") // what the DaemonSet's probe asks

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	owner := kubelet.Owner{Namespace: "ns", Pod: "pod", Container: "c"}
	a, err := k.Allocate(ctx, owner, kubelet.Request{region: 1})
	if err != nil || a.Annotations["allocated.fpga.intel.com/region-"+iface] != "dfl-fme.0@0000:3b:00.0" || len(a.Nodes) != 0 {
		t.Errorf("allocated %+v, %v", a, err)
	}
	if err := k.PreStart(ctx, owner); err == nil || !strings.Contains(err.Error(), "no answer from inlay-nri") {
		t.Errorf("PreStart: %v", err)
	}
	d.Says(limit, "allocated", "dfl-fme.0", region)
	d.Answers(limit, "/metrics", 200, `inlay_allocations_total{resource="`+region+`",result="ok"} 1`,
		`inlay_prestarts_total{resource="`+region+`",result="error"} 1`)

	setAttr(t, compatOf(root, "dfl-fme.0"), ones)
	lists(t, limit, k, region, 0, "dfl-fme.0")
	d.Answers(limit, "/metrics", 200, `inlay_devices{family="fpga",health="Unhealthy",resource="`+region+`"} 1`,
		`inlay_health_transitions_total{from="Healthy",to="Unhealthy"} 1`)
	d.Says(limit, "health of a device changed", "dfl-fme.0", "all ones")
}

func TestWhatTheHooksDidIsLoggedAndCounted(t *testing.T) {
	root := emulated(t, "dfl")
	runDir := root + "/run/inlay"
	old := journal.Entry{Mode: "region", Device: "dfl-port.0", Programmed: true, Container: "before"}
	if err := journal.Append(runDir, old); err != nil {
		t.Fatal(err)
	}
	d := start(t, root, "--fpga-mode", "region")
	d.Says(limit, "resource offered")
	for _, e := range []journal.Entry{
		{Mode: "region", Container: "ns/a/c", Device: "dfl-port.0", Function: nlb3, Programmed: true, PR: 400 * time.Millisecond},
		{Mode: "region", Container: "ns/b/c", Device: "dfl-port.0", Function: nlb3, Waited: time.Second},
		{Mode: "af", Container: "ns/c/c", Device: "dfl-port.0"},
		{Mode: "region", Container: "ns/d/c", Device: "dfl-port.0", Function: nlb3, Error: "port dfl-port.0: input/output error", Reason: "pr"},
	} {
		if err := journal.Append(runDir, e); err != nil {
			t.Fatal(err)
		}
	}
	// The hook touches the folder when it is done.
	if err := os.WriteFile(runDir+"/touched", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Says(limit, "port programmed", "container=ns/a/c", "function="+nlb3, "duration=400ms")
	d.Says(limit, "port held the function already", "container=ns/b/c", "waited=1s")
	d.Says(limit, "port checked", "container=ns/c/c")
	d.Says(limit, "level=error", "port not readied", "container=ns/d/c", "input/output error")
	d.Answers(limit, "/metrics", 200, `inlay_fpga_programs_total{reason="",result="ok"} 1`, `inlay_fpga_programs_total{reason="pr",result="error"} 1`,
		`inlay_fpga_warm_hits_total 1`, `inlay_fpga_program_duration_seconds_count 1`)
	if strings.Contains(d.Output(), "container=before") {
		t.Error("what an earlier process logged is logged again")
	}
}

func TestANodeWithoutCardsIsReadyAndSilent(t *testing.T) {
	root := emulated(t)
	d := start(t, root)
	d.Answers(limit, "/readyz", 200, "ready")
	if got := sockets(t, root); len(got) != 0 {
		t.Errorf("sockets %v", got)
	}
	for line := range strings.Lines(d.Output()) {
		if strings.Contains(line, "level=warn") && !strings.Contains(line, "device events") || strings.Contains(line, "level=error") {
			t.Errorf("a complaint: %s", line)
		}
	}
}

func TestADriverThatIsLoadedLaterIsSeenAtOnce(t *testing.T) {
	root := emulated(t)
	k := startKubelet(t, root)
	d := start(t, root, "--fpga-mode", "region")
	d.Answers(limit, "/readyz", 200, "ready")
	plug(t, root, "dfl") // the class folder first, the nodes last, as a kernel does it
	// No audit helps: those of a node without cards are a minute apart.
	lists(t, limit, k, region, 1, "dfl-fme.0")
	d.Answers(limit, "/readyz", 200, "ready")
}

// The promise is 50 ms from the event to the list. A busy machine keeps it now and then, a poll never does.
func TestANodeThatComesOrGoesIsToldWithin50Milliseconds(t *testing.T) {
	root := emulated(t, "dfl", "dfl")
	k := startKubelet(t, root)
	start(t, root, "--fpga-mode", "region")
	lists(t, limit, k, region, 2, "dfl-fme.0", "dfl-fme.1")
	node := root + "/dev/dfl-fme.1"
	promise := 50 * time.Millisecond
	if childtest.Race {
		promise = time.Second
	}
	gone, back := time.Hour, time.Hour // each at its best
	for end := time.Now().Add(limit); max(gone, back) > promise && time.Now().Before(end); {
		time.Sleep(150 * time.Millisecond) // events in a row are taken together
		began := time.Now()
		if err := os.Remove(node); err != nil {
			t.Fatal(err)
		}
		lists(t, limit, k, region, 1, "dfl-fme.0")
		gone = min(gone, time.Since(began))
		time.Sleep(150 * time.Millisecond)
		began = time.Now()
		if err := os.WriteFile(node, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		lists(t, limit, k, region, 2, "dfl-fme.0", "dfl-fme.1")
		back = min(back, time.Since(began))
	}
	t.Logf("at best: gone after %v, back after %v", gone, back)
	if max(gone, back) > promise {
		t.Errorf("at best it was told after %v that it had gone, after %v that it was back; want %v", gone, back, promise)
	}
}

func TestAFunctionThatChangesSilentlyIsSeenWithinAnAudit(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for an audit: 5 s")
	}
	t.Parallel()
	root := emulated(t, "dfl")
	k := startKubelet(t, root)
	start(t, root)
	lists(t, limit, k, afNLB0, 1, "dfl-port.0")
	time.Sleep(2 * time.Second) // nothing is settling any more
	setAttr(t, afuOf(root, "dfl-port.0"), nlb3)
	began := time.Now()
	lists(t, limit, k, afNLB3, 1, "dfl-port.0")
	// 5.1 s is the promise, for which `make bench` is; a machine that tests is busy. Without audits it would be minutes.
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("seen after %v", took)
	}
	lists(t, limit, k, afNLB0, 0)
}

func TestAGateThatIsTakenAwayComesBackAtOnce(t *testing.T) {
	root := emulated(t, "dfl")
	d := start(t, root)
	d.Says(limit, "resource offered")
	file := root + "/run/cdi/intel.cdi.k8s.io-fpga-gate.yaml"
	const soon = 4 * time.Second // before the next audit
	for name, takeAway := range map[string]func() error{
		"the file": func() error { return os.Remove(file) },
		"the folder": func() error {
			return errors.Join(os.RemoveAll(root+"/away"), os.Rename(filepath.Dir(file), root+"/away"))
		},
		"its text": func() error { return os.WriteFile(file, []byte("kind: intel.cdi.k8s.io/fpga\n"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			best := time.Hour
			for range 3 {
				time.Sleep(150 * time.Millisecond)
				if err := takeAway(); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				childtest.Eventually(t, limit, func() error {
					b, err := os.ReadFile(file)
					if err == nil && !strings.Contains(string(b), "createRuntime") {
						err = errors.New("no gate in it")
					}
					return err
				})
				if best = min(best, time.Since(began)); best <= soon {
					return
				}
			}
			t.Errorf("back after %v at best", best)
		})
	}
}

func TestTheNodesModeIsInTheRunFolder(t *testing.T) {
	root := emulated(t, "dfl")
	d := start(t, root, "--fpga-mode", "regiondevel", "--fpga-grant", "allocate")
	d.Says(limit, "resource offered")
	var got map[string]string
	b, err := os.ReadFile(root + "/run/inlay/node.json")
	if err == nil {
		err = json.Unmarshal(b, &got)
	}
	if err != nil || fmt.Sprint(got) != "map[grant:allocate mode:regiondevel]" {
		t.Errorf("%v, %v", got, err)
	}
}
