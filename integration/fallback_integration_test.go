//go:build integration

package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/kubelet"
)

// The fallback without NRI: Allocate gives the device nodes, and inlay-hook programs.
// The runtime is told of the hook by a CDI device or by a hooks.d JSON.
var fallbackRuntimes = []RuntimeName{CRIO, OldCRIO}

// modeAnnotation is what makes the hooks.d JSON match.
const modeAnnotation = "com.intel.fpga.mode"

// way is a way to tell the runtime of the hook.
type way string

const (
	byCDI    way = "CDI"
	byHooksD way = "hooks.d"
)

// fallbackNode is a CRI-O node without NRI and without inlay-nri.
func fallbackNode(t *testing.T, runtime RuntimeName, w way, o InlayOptions, cards ...string) *Inlay {
	t.Helper()
	n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, NoNRI: true, Cards: cards})
	for _, fn := range []string{NLB0, NLB3} {
		n.PutBitstream(Interface, fn, fn)
	}
	o.Allocate = true
	i := n.StartInlay(o)
	if w == byHooksD {
		n.InstallHooksJSON()
	}
	return i
}

// through makes a request of it that reaches the hook in that way alone.
func (w way) through(r Request) Request {
	if w == byHooksD {
		// A runtime that does not know CDI.
		r.Forge = func(s *cri.ContainerSpec) { s.CDIDevices = nil }
	}
	return r
}

func onFallback(t *testing.T, scenario func(*testing.T, RuntimeName, way)) {
	t.Helper()
	on(t, fallbackRuntimes, func(t *testing.T, runtime RuntimeName) {
		for _, w := range []way{byCDI, byHooksD} {
			t.Run(string(w), func(t *testing.T) { scenario(t, runtime, w) })
		}
	})
}

func TestFallbackProgramsARegion(t *testing.T) {
	onFallback(t, func(t *testing.T, runtime RuntimeName, w way) {
		i := fallbackNode(t, runtime, w, InlayOptions{}, "dfl:ports=1")
		work := i.NewWorkload("one", w.through(Regions(standardWant)))
		for range 2 { // the second start is a warm one
			work.MustRun()
			if diff := cmp.Diff(map[string]string{"dfl-port.0": NLB3}, work.Ports()); diff != "" {
				t.Error(diff)
			}
		}
		if got := i.Node.Programmed(); len(got) != 1 || got[0].Loaded != NLB3 {
			t.Errorf("programmings: %+v", got)
		}
	})
}

// With both the hook is run twice; the second run finds the function loaded.
func TestFallbackWithCDIAndHooksJSONProgramsOnce(t *testing.T) {
	i := fallbackNode(t, CRIO, byHooksD, InlayOptions{}, "dfl:ports=1")
	work := i.NewWorkload("both", Regions(standardWant))
	work.MustRun()
	if got := work.Functions(); !slices.Equal(got, []string{NLB3}) {
		t.Errorf("functions %v", got)
	}
	if got := i.Node.Programmed(); len(got) != 1 {
		t.Errorf("programmings: %+v", got)
	}
}

func TestFallbackRefusesWhatCannotBeProgrammed(t *testing.T) {
	onFallback(t, func(t *testing.T, runtime RuntimeName, w way) {
		i := fallbackNode(t, runtime, w, InlayOptions{}, "dfl:ports=1")
		i.Node.SetFaults(emulator.Faults{"*": {PRErrno: "EIO", PRStatus: []string{"crc"}}})
		work := i.NewWorkload("broken", w.through(Regions(standardWant)))
		err := work.Try()
		if err == nil || !strings.Contains(err.Error(), NLB3) || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("the refusal does not name the cause: %v", err)
		}
		if work.Running() {
			t.Errorf("the container runs; its ports: %v", work.Ports())
		}
		i.Node.SetFaults(emulator.Faults{})
		work.MustRun()
		if got := work.Functions(); !slices.Equal(got, []string{NLB3}) {
			t.Errorf("functions %v", got)
		}
	})
}

func TestFallbackGivesAFAndWholeCards(t *testing.T) {
	on(t, fallbackRuntimes, func(t *testing.T, runtime RuntimeName) {
		t.Run("af", func(t *testing.T) {
			i := fallbackNode(t, runtime, byCDI, InlayOptions{Mode: "af"}, "dfl:ports=2,afu="+NLB0+"/"+NLB3)
			work := i.NewWorkload("af", Request{Resources: kubelet.Request{AFResource(t, Interface, NLB3): 1}})
			work.MustRun()
			if diff := cmp.Diff(map[string]string{"dfl-port.1": NLB3}, work.Ports()); diff != "" {
				t.Error(diff)
			}
		})
		t.Run("regiondevel", func(t *testing.T) {
			i := fallbackNode(t, runtime, byCDI, InlayOptions{Mode: "regiondevel"}, "dfl:ports=2")
			work := i.NewWorkload("devel", Request{Resources: kubelet.Request{RegionResource(Interface): 1}})
			work.MustRun()
			if diff := cmp.Diff(map[string]string{"dfl-port.0": NLB0, "dfl-port.1": NLB0}, work.Ports()); diff != "" {
				t.Error(diff)
			}
		})
	})
}

// modeValues is what a pod's author may write into com.intel.fpga.mode.
var modeValues = []string{"", "off", "af", "region", "regiondevel", "fpga.intel.com/region", "fpga.intel.com/regiondevel", ".*", "\n"}

// A pod that sets the annotation itself, to whatever value, gets no FPGA by it, has
// nothing programmed, and cannot keep the hook from its own container.
func TestPodThatSetsTheModeItselfGainsNothing(t *testing.T) {
	nodes := map[string]func(*testing.T, RuntimeName) *Inlay{
		"with NRI": func(t *testing.T, r RuntimeName) *Inlay { return fpgaNode(t, r, InlayOptions{}, "dfl:ports=1") },
		"with NRI and hooks.d": func(t *testing.T, r RuntimeName) *Inlay {
			i := fpgaNode(t, r, InlayOptions{}, "dfl:ports=1")
			i.Node.InstallHooksJSON()
			return i
		},
		"with CDI": func(t *testing.T, r RuntimeName) *Inlay {
			return fallbackNode(t, r, byCDI, InlayOptions{}, "dfl:ports=1")
		},
		"with hooks.d": func(t *testing.T, r RuntimeName) *Inlay {
			return fallbackNode(t, r, byHooksD, InlayOptions{}, "dfl:ports=1")
		},
	}
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		for _, name := range slices.Sorted(maps.Keys(nodes)) {
			if runtime == Containerd && name != "with NRI" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				i := nodes[name](t, runtime)
				for k, value := range modeValues {
					i.expectNoFPGA(t, fmt.Sprintf("without-%d", k), value)
				}
				w := byCDI
				if name == "with hooks.d" {
					w = byHooksD
				}
				for k, value := range modeValues {
					// What is loaded is never what is asked for.
					i.expectOwnFPGA(t, fmt.Sprintf("with-%d", k), value, w, []string{NLB3, NLB0}[k%2])
				}
			})
		}
	})
}

// expectNoFPGA runs a pod that has the annotation and asks for a function, but was
// allocated nothing.
func (i *Inlay) expectNoFPGA(t *testing.T, name, value string) {
	t.Helper()
	pod := i.Node.RunPod(name, WithAnnotations(map[string]string{modeAnnotation: value}))
	defer pod.End()
	before := len(i.Node.Programmed())
	spec := Shell(readFunctions)
	spec.Env = Regions(standardWant).Env
	c, err := pod.TryRun(spec)
	if err == nil {
		// It may run: as a plain container.
		if got := c.Exec("sh", "-c", "ls /dev | grep -e dfl -e fpga || true"); got != "" {
			t.Errorf("mode %q: a container without an allocation has %q", value, got)
		}
	}
	if got := i.Node.Programmed(); len(got) != before {
		t.Errorf("mode %q: something was programmed: %+v", value, got[before:])
	}
}

// expectOwnFPGA runs a pod that has the annotation and was allocated a region: it gets
// what it asked for, no less and no more.
func (i *Inlay) expectOwnFPGA(t *testing.T, name, value string, w way, function string) {
	t.Helper()
	r := w.through(Regions(Want{Interface, function}))
	r.PodAnnotations = map[string]string{modeAnnotation: value}
	work := i.NewWorkload(name, r)
	defer work.End()
	if err := work.Answered(nil); err != nil {
		t.Errorf("mode %q: %v", value, err)
		return
	}
	if got := work.Functions(); !slices.Equal(got, []string{function}) {
		t.Errorf("mode %q: functions %v, want %s, which was asked for", value, got, function)
	}
}

// Why the JSON matches any value: a pod could switch off a hook that matches one, and
// the check above would find its port as it was.
func TestHooksJSONThatMatchesAValueCouldBeSwitchedOff(t *testing.T) {
	i := fallbackNode(t, CRIO, byHooksD, InlayOptions{}, "dfl:ports=1")
	i.Node.editHooksJSON(func(doc map[string]any) {
		doc["when"] = map[string]any{"annotations": map[string]any{"^com\\.intel\\.fpga\\.mode$": "^fpga\\.intel\\.com/region$"}}
	})
	r := byHooksD.through(Regions(standardWant))
	work := i.NewWorkload("honest", r)
	work.MustRun()
	if got := work.Functions(); !slices.Equal(got, []string{NLB3}) {
		t.Fatalf("functions %v", got)
	}
	work.End()
	r = byHooksD.through(Regions(Want{Interface, NLB0}))
	r.PodAnnotations = map[string]string{modeAnnotation: "off"}
	work = i.NewWorkload("off", r)
	work.MustRun()
	if got := work.Functions(); !slices.Equal(got, []string{NLB3}) {
		t.Errorf("the hook ran all the same (functions %v), so the other test shows nothing", got)
	}
}
