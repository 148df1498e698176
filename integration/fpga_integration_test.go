//go:build integration

package integration

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/kubelet"
)

// fpgaNode is a node with cards, Inlay on it and NLB3 in the bitstream store.
func fpgaNode(t *testing.T, runtime RuntimeName, o InlayOptions, cards ...string) *Inlay {
	t.Helper()
	n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, Cards: cards})
	for _, iface := range []string{Interface, OtherInterface} {
		for _, fn := range []string{NLB0, NLB3} {
			n.PutBitstream(iface, fn, fn)
		}
	}
	return n.StartInlay(o)
}

func TestOneRegionIsProgrammedAndRead(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		i := fpgaNode(t, runtime, InlayOptions{}, "dfl:ports=1")
		w := i.NewWorkload("one", Regions(standardWant))
		w.MustRun()
		if diff := cmp.Diff(map[string]string{"dfl-port.0": NLB3}, w.Ports()); diff != "" {
			t.Error(diff)
		}
		if got := i.Node.Programmed(); len(got) != 1 || got[0].Loaded != NLB3 {
			t.Errorf("programmings: %+v", got)
		}
	})
}

func TestOPAECardIsProgrammedAndRead(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		i := fpgaNode(t, runtime, InlayOptions{}, "opae:ports=1")
		w := i.NewWorkload("opae", Regions(standardWant))
		w.MustRun()
		if diff := cmp.Diff(map[string]string{"intel-fpga-port.0": NLB3}, w.Ports()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTwoRegionsOnTwoCards(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		i := fpgaNode(t, runtime, InlayOptions{}, "dfl:ports=1", "dfl:ports=1,iface="+OtherInterface)
		w := i.NewWorkload("two", Regions(Want{Interface, NLB3}, Want{OtherInterface, NLB0}))
		w.MustRun()
		if diff := cmp.Diff(map[string]string{"dfl-port.0": NLB3, "dfl-port.1": NLB0}, w.Ports()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWarmRestartProgramsNothing(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		i := fpgaNode(t, runtime, InlayOptions{}, "dfl:ports=1")
		w := i.NewWorkload("warm", Regions(standardWant))
		for range 3 {
			w.MustRun() // removes the container of the run before
			if got := w.Functions(); !slices.Equal(got, []string{NLB3}) {
				t.Fatalf("functions %v", got)
			}
		}
		if got := i.Node.Programmed(); len(got) != 1 {
			t.Errorf("%d programmings for three starts of one container, want 1: %+v", len(got), got)
		}
	})
}

func TestPodsOnDifferentCardsAreProgrammedInParallel(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		// As far apart as a busy machine may start them, and well below the hook's timeout.
		const pods, delay = 3, 6 * time.Second
		i := fpgaNode(t, runtime, InlayOptions{}, "dfl:ports=1", "dfl:ports=1", "dfl:ports=1")
		i.Node.SetFaults(emulator.Faults{"*": {PRDelay: delay.String()}})
		var workloads []*Workload
		for k := range pods {
			workloads = append(workloads, i.NewWorkload(fmt.Sprintf("parallel-%d", k), Regions(standardWant)))
		}
		var wg sync.WaitGroup
		errs := make([]error, pods)
		for k, w := range workloads {
			wg.Go(func() { errs[k] = w.Answered(nil) })
		}
		wg.Wait()
		for k, w := range workloads {
			if errs[k] != nil {
				t.Fatal(errs[k])
			}
			if got := w.Functions(); !slices.Equal(got, []string{NLB3}) {
				t.Errorf("pod %d: functions %v", k, got)
			}
		}
		done := i.Node.Programmed()
		if len(done) != pods {
			t.Fatalf("%d programmings, want %d", len(done), pods)
		}
		first, last := done[0].End, done[0].Start
		for _, p := range done {
			if p.End.Before(first) {
				first = p.End
			}
			if p.Start.After(last) {
				last = p.Start
			}
		}
		if !last.Before(first) {
			t.Errorf("the last programming began at %v, after the first had ended at %v: they went in turn", last, first)
		}
	})
}

func TestProgrammingSlowerThanNRISucceeds(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		i := fpgaNode(t, runtime, InlayOptions{}, "dfl:ports=1")
		i.Node.SetFaults(emulator.Faults{"*": {PRDelay: "4s"}})
		w := i.NewWorkload("slow", Regions(standardWant))
		if took := Elapsed(w.MustRun); took < 4*time.Second {
			t.Errorf("started after %v, before the programming could have ended", took)
		}
		if got := w.Functions(); !slices.Equal(got, []string{NLB3}) {
			t.Errorf("functions %v", got)
		}
	})
}

// The kubelet gives a terminating pod's device to the next pod when the pod is gone for
// it, which can be before the last process has closed the port.
func TestNextPodWaitsForTheTerminatingOne(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		i := fpgaNode(t, runtime, InlayOptions{}, "dfl:ports=1")
		first := i.NewWorkload("first", Regions(Want{Interface, NLB0}))
		first.MustRun()
		// Holds the port open, as a program that uses it does; its end is the pod's.
		holder, ctx := first.Container().Container, i.Node.ctx()
		go func() { _, _ = holder.Exec(ctx, "sh", "-c", "exec 3<>/dev/dfl-port.0; : >/tmp/opened; sleep 600") }()
		i.Node.eventually("the first pod's program opening its port", func() error {
			_, err := holder.Exec(i.Node.ctx(), "test", "-e", "/tmp/opened")
			return err
		})
		i.Kubelet.Free(first.Owner())

		second := i.NewWorkload("second", Regions(standardWant))
		result := make(chan error, 1)
		go func() { result <- second.Answered(nil) }()
		select {
		case err := <-result:
			t.Fatalf("the second pod did not wait for the open port: %v", err)
		case <-time.After(2 * time.Second):
		}
		first.Pod.End()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		if got := second.Functions(); !slices.Equal(got, []string{NLB3}) {
			t.Errorf("functions %v", got)
		}
	})
}

func TestNonRootContainerOpensItsPort(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		i := fpgaNode(t, runtime, InlayOptions{}, "dfl:ports=1")
		r := Regions(standardWant)
		r.User = &cri.User{UID: 1000, GID: 1000}
		w := i.NewWorkload("user", r)
		w.MustRun()
		if got := w.Functions(); !slices.Equal(got, []string{NLB3}) {
			t.Errorf("functions %v", got)
		}
		if got := w.Container().Exec("id", "-u"); got != "1000\n" {
			t.Errorf("the container runs as %q", got)
		}
		// Where NRI does not tell the user, the node is open to the whole container.
		node := "660 1000 1000\n"
		if runtime == OldCRIO {
			node = "666 0 0\n"
		}
		if got := w.Container().Exec("stat", "-c", "%a %u %g", "/dev/dfl-port.0"); got != node {
			t.Errorf("the node is %q, want %q", got, node)
		}
	})
}

func TestAFContainerGetsThePortThatHasTheFunction(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		i := fpgaNode(t, runtime, InlayOptions{Mode: "af"}, "dfl:ports=2,afu="+NLB0+"/"+NLB3)
		w := i.NewWorkload("af", Request{Resources: kubelet.Request{AFResource(t, Interface, NLB3): 1}})
		w.MustRun()
		if diff := cmp.Diff(map[string]string{"dfl-port.1": NLB3}, w.Ports()); diff != "" {
			t.Error(diff)
		}
		if got := i.Node.Programmed(); len(got) != 0 {
			t.Errorf("an af container was programmed for: %+v", got)
		}
	})
}

func TestRegiondevelContainerGetsTheWholeCard(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		i := fpgaNode(t, runtime, InlayOptions{Mode: "regiondevel"}, "dfl:ports=2")
		w := i.NewWorkload("devel", Request{Resources: kubelet.Request{RegionResource(Interface): 1}})
		w.MustRun()
		if diff := cmp.Diff(map[string]string{"dfl-port.0": NLB0, "dfl-port.1": NLB0}, w.Ports()); diff != "" {
			t.Error(diff)
		}
		if got := w.Container().Exec("sh", "-c", "ls /dev | grep fme"); strings.TrimSpace(got) != "dfl-fme.0" {
			t.Errorf("FME nodes: %q", got)
		}
	})
}

func TestInitContainerThenAppContainerOnOneRegion(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		i := fpgaNode(t, runtime, InlayOptions{}, "dfl:ports=1")
		w := i.NewWorkload("staged", Regions(standardWant))
		answer, err := w.Admit()
		if err != nil {
			t.Fatal(err)
		}
		// podresources never lists plain init containers: only the app container is listed.
		spec := Shell(`afu-read /dev/dfl-port.0`)
		spec.Name, spec.Env = "init", w.Request.Env
		spec = answer.Apply(spec)
		if got, want := w.Pod.Run(spec).Wait(), (Result{Output: NLB3 + "\n"}); got != want {
			t.Errorf("init container: %+v, want %+v", got, want)
		}
		w.MustRun()
		if got := w.Functions(); !slices.Equal(got, []string{NLB3}) {
			t.Errorf("app container: functions %v", got)
		}
		if got := i.Node.Programmed(); len(got) != 1 {
			t.Errorf("%d programmings for both containers, want 1", len(got))
		}
	})
}

func TestPlainContainerIsUntouched(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, Cards: []string{"dfl:ports=1"}})
		reference, again := n.PlainContainer(), n.PlainContainer()
		if diff := cmp.Diff(reference.Spec, again.Spec); diff != "" {
			t.Fatalf("two plain containers differ without us, so the comparison means nothing:\n%s", diff)
		}
		n.StartInlay(InlayOptions{})
		n.MustBePlain("with Inlay on the node", reference)
	})
}
