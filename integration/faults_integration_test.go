//go:build integration

package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/docs"
)

// A fault is one thing that goes wrong around a request for a region with NLB3. For
// each, four things must hold: while it lasts the container does not run, not even
// without its FPGA; the refusal names the cause, in the words of docs/diagnose.md; plain
// containers start in time and unchanged; once it is lifted the same request runs with
// the right function.
type fault struct {
	name string
	// cause is a regular expression that the refusal must match.
	cause string
	// inject breaks something before the request is made, lift mends it.
	inject, lift func(*faultRun)
	// admitted breaks something when the pod has its devices and no container yet.
	admitted func(*faultRun)
	// during acts while the request is under way; nil = nothing.
	during func(*faultRun)
	// skipsNRI says that the runtime goes on without inlay-nri. Such a fault is run
	// thrice: as it is; without PreStartContainer, so that the gate has to stop the
	// container; and without both, which must then let it run.
	skipsNRI bool
	options  InlayOptions
	cards    []string
	// also are the runtimes besides containerd that the fault is tried on.
	also []RuntimeName
}

// faultRun is one run of a fault.
type faultRun struct {
	*Inlay
	t    *testing.T
	node *Node
	// request is what will be asked for; inject may change it.
	request Request
	w       *Workload
}

var standardWant = Want{Interface: Interface, Function: NLB3}

func TestFaults(t *testing.T) { runFaults(t, Containerd) }

// What the runtime has a part in is shown on the others too.
func TestFaultsOnCRIO(t *testing.T)    { runFaults(t, CRIO) }
func TestFaultsOnOldCRIO(t *testing.T) { runFaults(t, OldCRIO) }

func runFaults(t *testing.T, r RuntimeName) {
	for _, f := range faults() {
		if r != Containerd && !slices.Contains(f.also, r) {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			if !f.skipsNRI {
				f.run(t, r, protection{prestart: true, gate: true})
				return
			}
			t.Run("as it is", func(t *testing.T) { f.run(t, r, protection{prestart: true, gate: true}) })
			t.Run("gate alone", func(t *testing.T) { f.run(t, r, protection{gate: true}) })
			t.Run("without the gate", func(t *testing.T) { f.run(t, r, protection{}) })
		})
	}
}

// protection says which of the guards against a skipped inlay-nri are there.
type protection struct{ prestart, gate bool }

// attemptLimit bounds a request; the longest fault waits for the hook's timeout.
const attemptLimit = 45 * time.Second

func (f fault) run(t *testing.T, runtime RuntimeName, p protection) {
	cards := f.cards
	if cards == nil {
		cards = []string{"dfl:ports=1"}
	}
	n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, Cards: cards})
	reference := n.PlainContainer()
	r := &faultRun{Inlay: n.StartInlay(f.options), t: t, node: n, request: Regions(standardWant)}
	n.PutBitstream(Interface, NLB3, NLB3)
	r.request.NoPreStart = !p.prestart
	if f.inject != nil {
		f.inject(r)
	}
	r.w = r.NewWorkload("fpga", r.request)
	_, err := r.w.Admit()
	r.must(err)
	if f.admitted != nil {
		f.admitted(r)
	}
	if !p.gate {
		r.RemoveGate()
	}

	cause := regexp.MustCompile(f.cause)
	refusal := make(chan error, 1)
	go func() { refusal <- r.w.Answered(cause) }()
	if f.during != nil {
		f.during(r)
	}
	n.MustBePlain("while the request is under way", reference)
	select {
	case err = <-refusal:
	case <-time.After(attemptLimit):
		t.Fatalf("the request was neither granted nor refused within %v", attemptLimit)
	}
	if !p.prestart && !p.gate {
		if !r.w.Running() {
			t.Errorf("with the gate taken out the container should have run bare, so this check could not fail: %v", err)
		}
		return
	}
	if r.w.Running() {
		t.Errorf("the container runs while the fault lasts; its ports: %v", r.w.Ports())
	}
	if err == nil || !cause.MatchString(err.Error()) {
		t.Errorf("the refusal does not name the cause %q: %v", f.cause, err)
	} else if wrong := onThePage(f.name, err.Error()); wrong != nil {
		t.Error(wrong)
	}
	t.Logf("refused: %v", err)
	n.MustBePlain("after the refusal", reference)

	f.lift(r)
	r.w.RunsWithin(30 * time.Second)
	if got := strings.Join(r.w.Functions(), " "); got != NLB3 {
		t.Errorf("after the fault the container reads %q through its ports, want %s", got, NLB3)
	}
}

// onThePage tells whether a row of docs/diagnose.md names the fault and has the message
// that its refusal was seen with.
func onThePage(fault, refusal string) error {
	rows, err := docs.Explanations(refusal)
	if err != nil {
		return err
	}
	test := docs.Test{Package: "integration", Function: "TestFaults", Case: fault}
	for _, row := range rows {
		if slices.Contains(row.Tests, test) {
			return nil
		}
	}
	return fmt.Errorf("docs/diagnose.md has no row of %q with a message of it: %s", test, refusal)
}

// backLimit is how soon inlay-nri has to be back after the runtime's restart. It takes less
// than a second on a machine that is not busy.
const backLimit = 10 * time.Second

// The runtime's own restart is no fault of a request: inlay-nri is back soon, and running
// FPGA containers do not notice.
func TestRestartOfTheRuntime(t *testing.T) {
	on(t, onBoth, restart)
}

func restart(t *testing.T, r RuntimeName) {
	for _, tc := range []struct {
		name string
		end  func(*Node) error
	}{
		{"ended", func(n *Node) error { return n.Runtime.Halt(n.ctx()) }},
		{"killed", func(n *Node) error { return n.Runtime.Process().Kill(n.ctx()) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i := fpgaNode(t, r, InlayOptions{}, "dfl:ports=1", "dfl:ports=1")
			running := i.NewWorkload("running", Regions(standardWant))
			running.MustRun()

			if err := tc.end(i.Node); err != nil {
				t.Fatal(err)
			}
			if err := i.Node.Runtime.Start(i.Node.ctx()); err != nil {
				t.Fatal(err)
			}
			back := Elapsed(i.WaitForNRI)
			t.Logf("inlay-nri was back %v after its runtime", back)
			if back > backLimit {
				t.Errorf("inlay-nri was back %v after its runtime, more than %v", back, backLimit)
			}
			if !running.Running() {
				t.Error("the FPGA container did not outlive the restart")
			}
			after := i.NewWorkload("after", Regions(standardWant))
			after.MustRun()
			if got := after.Functions(); !slices.Equal(got, []string{NLB3}) {
				t.Errorf("functions %v", got)
			}
		})
	}
}
