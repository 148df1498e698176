package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/internal/policy"
)

// Ids that the scenarios use: two functions of the emulator's default interface, and an
// interface for a second card.
const (
	Interface      = emulator.DefaultInterface
	OtherInterface = "ce48969398f05f33946d560708be108a"

	// NLB0 is what an emulated card holds at first.
	NLB0 = emulator.DefaultAFU
	NLB3 = "f7df405cbd7acf7222f144b0b93acd18"
)

// StandardPolicy lets Namespace have both functions on both interfaces, in every mode.
func StandardPolicy() policy.Policy {
	var ns policy.Namespace
	for _, iface := range []string{Interface, OtherInterface} {
		ns.Regions = append(ns.Regions, policy.Region{Name: "region-" + iface[:6], Interface: iface})
		for _, fn := range []string{NLB0, NLB3} {
			for _, mode := range []policy.Mode{policy.ModeAF, policy.ModeRegion} {
				ns.Functions = append(ns.Functions, policy.Function{
					Name: fmt.Sprintf("%s-%s-%s", fn[:6], iface[:6], mode), Interface: iface, Function: fn, Mode: mode,
				})
			}
		}
	}
	return policy.Policy{Format: policy.Format, Synced: time.Now().UTC(), Namespaces: map[string]policy.Namespace{Namespace: ns}}
}

// RegionResource is the full resource name of an interface's regions.
func RegionResource(iface string) string {
	return "fpga.intel.com/" + fpga.RegionResource(fpga.InterfaceID(iface))
}

// AFResource is the full resource name of a function that is already on an interface.
func AFResource(t testing.TB, iface, afu string) string {
	t.Helper()
	name, err := fpga.AFResource(fpga.InterfaceID(iface), fpga.AFUID(afu))
	if err != nil {
		t.Fatal(err)
	}
	return "fpga.intel.com/" + name
}

// Want is one function on one interface.
type Want struct{ Interface, Function string }

// Request is what a pod's author asks for, after the webhook has translated it.
type Request struct {
	Resources kubelet.Request
	Env       []string
	// User runs the container as somebody; nil is root.
	User *cri.User
	// Namespace and PodAnnotations are the pod's; empty means Namespace and none.
	Namespace      string
	PodAnnotations map[string]string
	// Forge changes the container after the kubelet's answer is in it.
	Forge func(*cri.ContainerSpec)
	// NoPreStart leaves PreStartContainer out, as a kubelet does between its own
	// restart and the device plugin's registration.
	NoPreStart bool
}

// Regions asks for a region for each function, in region mode.
func Regions(wants ...Want) Request {
	r := Request{Resources: kubelet.Request{}}
	for n, w := range wants {
		r.Resources[RegionResource(w.Interface)]++
		r.Env = append(r.Env, fmt.Sprintf("FPGA_REGION_%d=%s", n+1, w.Interface), fmt.Sprintf("FPGA_AFU_%d=%s", n+1, w.Function))
	}
	return r
}

// readFunctions prints "<port> <AFU id>" for every port in the container and stays.
const readFunctions = `for p in /dev/dfl-port.* /dev/intel-fpga-port.*; do
  [ -e "$p" ] || continue
  id=$(afu-read "$p" 2>&1); echo "port ${p#/dev/} $id"
done
echo ready
exec sleep 2147483647`

// Workload is a pod whose container reads its FPGA functions. It is tried as a kubelet
// does: the pod stays, the container is made anew each time.
type Workload struct {
	Pod     *Pod
	Request Request

	inlay     *Inlay
	t         testing.TB
	attempt   uint32
	container *Container
}

// NewWorkload makes the pod; nothing is asked for yet.
func (i *Inlay) NewWorkload(name string, r Request) *Workload {
	i.t.Helper()
	pod := i.Node.RunPod(name, func(s *cri.PodSpec) {
		s.Annotations = r.PodAnnotations
		if r.Namespace != "" {
			s.Namespace = r.Namespace
		}
	})
	return &Workload{Pod: pod, Request: r, inlay: i, t: i.t}
}

// Owner is the workload's container as the kubelet knows it.
func (w *Workload) Owner() kubelet.Owner {
	return kubelet.Owner{Namespace: w.Pod.Spec.Namespace, Pod: w.Pod.Spec.Name, Container: "main"}
}

// Admit gives the workload its devices, as the kubelet does once before a pod starts.
func (w *Workload) Admit() (kubelet.Answer, error) {
	return w.inlay.Kubelet.Allocate(w.inlay.Node.ctx(), w.Owner(), w.Request.Resources)
}

// Try allocates, creates and starts once and returns the first refusal. The container
// of an earlier attempt is removed before.
func (w *Workload) Try() error {
	w.t.Helper()
	ctx := w.inlay.Node.ctx()
	if w.container != nil {
		w.container.End()
		w.container = nil
	}
	answer, err := w.Admit()
	if err != nil {
		return err
	}
	spec := Shell(readFunctions)
	spec.Env, spec.User, spec.Attempt = w.Request.Env, w.Request.User, w.attempt
	spec = w.inlay.onThisHost(answer.Apply(spec))
	if w.Request.Forge != nil {
		w.Request.Forge(&spec)
	}
	w.attempt++
	if !w.Request.NoPreStart {
		if err := w.inlay.Kubelet.PreStart(ctx, w.Owner()); err != nil {
			return err
		}
	}
	if w.container, err = w.Pod.TryCreate(spec); err != nil {
		return err
	}
	return w.container.Start(ctx)
}

// unanswered are refusals because a question among our programs or to the kubelet was not
// answered in its few hundred milliseconds, which happens on a machine that is busy.
var unanswered = regexp.MustCompile(`no answer from inlay-nri.*deadline|podresources .*deadline`)

// retries is how often Answered tries again.
const retries = 3

// Answered tries something of that name. As a kubelet would, it tries again after a refusal
// for want of an answer, and after no other, nor after one that is wanted; nil wants none.
func Answered(t testing.TB, name string, wanted *regexp.Regexp, try func() error) error {
	t.Helper()
	for n := 0; ; n++ {
		err := try()
		if err == nil || n == retries || !unanswered.MatchString(err.Error()) || wanted != nil && wanted.MatchString(err.Error()) {
			return err
		}
		t.Logf("%s is tried again: %v", name, err)
		time.Sleep(retryEvery)
	}
}

// Answered is Try, again for want of an answer.
func (w *Workload) Answered(wanted *regexp.Regexp) error {
	w.t.Helper()
	return Answered(w.t, w.Pod.Spec.Name, wanted, w.Try)
}

// MustRun tries, again for want of an answer, and that must succeed.
func (w *Workload) MustRun() {
	w.t.Helper()
	if err := w.Answered(nil); err != nil {
		w.t.Fatal(err)
	}
}

// retryEvery is a kubelet's back-off, made short.
const retryEvery = 200 * time.Millisecond

// RunsWithin tries until the container runs.
func (w *Workload) RunsWithin(limit time.Duration) {
	w.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := w.Try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s does not run within %v: %v", w.Pod.Spec.Name, limit, err)
		}
		time.Sleep(retryEvery)
	}
}

// Running says whether the workload's program runs, with or without an FPGA.
func (w *Workload) Running() bool {
	w.t.Helper()
	return w.container != nil && w.container.Running()
}

// Renew makes the pod anew for another request, as its author would.
func (w *Workload) Renew(r Request) {
	w.t.Helper()
	name := w.Pod.Spec.Name
	w.End()
	*w = *w.inlay.NewWorkload(name, r)
}

// Container is the container of the last attempt; nil if it was not created.
func (w *Workload) Container() *Container { return w.container }

// Ports are the ports that the container sees, each with what afu-read said of it.
func (w *Workload) Ports() map[string]string {
	w.t.Helper()
	w.inlay.Node.eventually("the workload's output", func() error {
		if log := w.container.Logs(); !strings.HasSuffix(log, "ready\n") {
			return fmt.Errorf("so far: %q", log)
		}
		return nil
	})
	ports := map[string]string{}
	for line := range strings.Lines(w.container.Logs()) {
		if name, id, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "port "), " "); ok {
			ports[name] = id
		}
	}
	return ports
}

// Functions are the AFU ids that the container reads through its ports, sorted.
func (w *Workload) Functions() []string {
	w.t.Helper()
	var ids []string
	for _, id := range w.Ports() {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// End removes the pod and gives its devices back.
func (w *Workload) End() {
	w.t.Helper()
	owner := w.Owner()
	w.Pod.End()
	w.inlay.Kubelet.Free(owner)
	w.container = nil
}
