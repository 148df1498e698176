//go:build integration

package integration

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/internal/record"
)

// A fault is one thing that goes wrong around a request for a region with NLB3. For
// each, four things must hold: while it lasts the container does not run, not even
// without its FPGA; the refusal names the cause; plain containers start in time and
// unchanged; once it is lifted the same request runs with the right function.
type fault struct {
	name string
	// cause is a regular expression that the refusal must match.
	cause string
	// inject breaks something before the request is made, lift mends it.
	inject, lift func(*faultRun)
	// during acts while the request is under way; nil = nothing.
	during func(*faultRun)
	// skipsNRI says that the runtime goes on without inlay-nri. Such a fault is run
	// thrice: as it is; without PreStartContainer, so that the gate has to stop the
	// container; and without both, which must then let it run.
	skipsNRI bool
	options  InlayOptions
	cards    []string
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

func TestFaults(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			if !f.skipsNRI {
				f.run(t, protection{prestart: true, gate: true})
				return
			}
			t.Run("as it is", func(t *testing.T) { f.run(t, protection{prestart: true, gate: true}) })
			t.Run("gate alone", func(t *testing.T) { f.run(t, protection{gate: true}) })
			t.Run("without the gate", func(t *testing.T) { f.run(t, protection{}) })
		})
	}
}

// protection says which of the guards against a skipped inlay-nri are there.
type protection struct{ prestart, gate bool }

// attemptLimit bounds one attempt; the longest fault waits for the hook's timeout.
const attemptLimit = 45 * time.Second

func (f fault) run(t *testing.T, p protection) {
	cards := f.cards
	if cards == nil {
		cards = []string{"dfl:ports=1"}
	}
	n := StartNode(t, inlayTools(t), NodeOptions{Cards: cards})
	reference, _ := n.PlainContainer()
	r := &faultRun{Inlay: n.StartInlay(f.options), t: t, node: n, request: Regions(standardWant)}
	n.PutBitstream(Interface, NLB3, NLB3)
	r.request.NoPreStart = !p.prestart
	if !p.gate {
		r.RemoveGate()
	}
	if f.inject != nil {
		f.inject(r)
	}

	r.w = r.NewWorkload("fpga", r.request)
	refusal := make(chan error, 1)
	go func() { refusal <- r.w.Try() }()
	if f.during != nil {
		f.during(r)
	}
	n.MustBePlain("while the request is under way", reference)
	var err error
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
	if err == nil || !regexp.MustCompile(f.cause).MatchString(err.Error()) {
		t.Errorf("the refusal does not name the cause %q: %v", f.cause, err)
	}
	t.Logf("refused: %v", err)
	n.MustBePlain("after the refusal", reference)

	f.lift(r)
	r.w.RunsWithin(30 * time.Second)
	if got := strings.Join(r.w.Functions(), " "); got != NLB3 {
		t.Errorf("after the fault the container reads %q through its ports, want %s", got, NLB3)
	}
}

// forgeRecord changes what stands in the container's allocation record.
func forgeRecord(change func(value string) string) func(*cri.ContainerSpec) {
	return func(s *cri.ContainerSpec) {
		for key, value := range s.Annotations {
			if strings.HasPrefix(key, record.Prefix) {
				s.Annotations[key] = change(value)
			}
		}
	}
}

// askAgain lifts a fault that lay in the request: the pod is made anew without it.
func askAgain(r *faultRun) { r.w.Renew(Regions(standardWant)) }

func restorePolicy(r *faultRun) { r.WritePolicy(StandardPolicy()) }

func restoreBitstream(r *faultRun) { r.node.PutBitstream(Interface, NLB3, NLB3) }

func healCard(r *faultRun) { r.node.SetFaults(emulator.Faults{}) }

var errNotYet = errors.New("not yet")

// must fails the run on an error of the test's own doing.
func (r *faultRun) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func faults() []fault {
	const (
		unseen = `did not see this container|inlay-nri`
		hook   = `inlay-hook`
	)
	otherNamespace := StandardPolicy()
	otherNamespace.Namespaces = map[string]policy.Namespace{"team-b": otherNamespace.Namespaces[Namespace]}
	old := StandardPolicy()
	old.Synced = time.Now().Add(-2 * time.Hour)

	return []fault{
		{
			name: "inlay-nri is frozen", cause: unseen, skipsNRI: true,
			inject: func(r *faultRun) { r.must(r.NRI.Stop()) },
			lift:   func(r *faultRun) { r.must(r.NRI.Cont()) },
		},
		{
			name: "inlay-nri is not connected", cause: unseen, skipsNRI: true,
			inject: func(r *faultRun) { r.must(r.NRI.Kill(r.node.ctx())) },
			lift:   func(r *faultRun) { r.StartNRI() },
		},
		{
			// The silent kubelet keeps inlay-nri inside the request until it is killed.
			name: "inlay-nri is killed in the middle of a request", cause: unseen, skipsNRI: true,
			inject: func(r *faultRun) { r.Kubelet.SetSilent(true) },
			during: func(r *faultRun) {
				r.node.eventually("inlay-nri asking the kubelet", readyLimit, func() error {
					if r.Kubelet.Waiting() == 0 {
						return errNotYet
					}
					return nil
				})
				r.must(r.NRI.Kill(r.node.ctx()))
			},
			lift: func(r *faultRun) {
				r.Kubelet.SetSilent(false)
				r.StartNRI()
			},
		},
		{
			name: "the kubelet does not answer", cause: `podresources.*(deadline|Deadline)`,
			inject: func(r *faultRun) { r.Kubelet.SetSilent(true) },
			lift:   func(r *faultRun) { r.Kubelet.SetSilent(false) },
		},
		{
			name: "the hook's program is missing", cause: `hook is missing on this node`,
			inject: func(r *faultRun) { r.RemoveHook() },
			lift:   func(r *faultRun) { r.InstallHook() },
		},
		{
			name: "the bitstream is missing", cause: NLB3 + `.*not found`,
			inject: func(r *faultRun) { r.node.RemoveFile(r.node.BitstreamFile(Interface, NLB3)) },
			lift:   restoreBitstream,
		},
		{
			name: "the bitstream is corrupt", cause: NLB3 + `.*invalid`,
			inject: func(r *faultRun) {
				r.node.PutFile(r.node.BitstreamFile(Interface, NLB3), []byte("XeonFPGA, but no more than that"))
			},
			lift: restoreBitstream,
		},
		{
			name: "the bitstream is for another interface", cause: NLB3 + `.*something else.*` + OtherInterface,
			inject: func(r *faultRun) {
				data, err := emulator.GBS(OtherInterface, NLB3, bitstreamBytes)
				r.must(err)
				r.node.PutFile(r.node.BitstreamFile(Interface, NLB3), data)
			},
			lift: restoreBitstream,
		},
		{
			name: "the bitstream carries another AFU", cause: NLB3 + `.*something else.*` + NLB0,
			inject: func(r *faultRun) { r.node.PutBitstream(Interface, NLB3, NLB0) },
			lift:   restoreBitstream,
		},
		{
			name: "the PR fails with EIO", cause: `dfl-port\.0.*` + NLB3 + `.*(input/output error|EIO)`,
			inject: func(r *faultRun) { r.node.SetFaults(emulator.Faults{"*": {PRErrno: "EIO", PRStatus: []string{"crc"}}}) },
			lift:   healCard,
		},
		{
			name: "the PR loads another function", cause: `dfl-port\.0.*` + NLB3 + `.*read back ` + NLB0,
			inject: func(r *faultRun) { r.node.SetFaults(emulator.Faults{"*": {PRLoads: "none"}}) },
			lift:   healCard,
		},
		{
			name: "the PR hangs beyond the hook's timeout", cause: `dfl-port\.0.*` + NLB3 + `.*(programming|over)`,
			options: InlayOptions{HookTimeout: 4 * time.Second},
			inject:  func(r *faultRun) { r.node.SetFaults(emulator.Faults{"*": {PRHang: true}}) },
			lift:    healCard,
		},
		{
			name: "the hook is killed in the middle", cause: hook,
			inject: func(r *faultRun) { r.node.SetFaults(emulator.Faults{"*": {PRDelay: "1500ms"}}) },
			during: func(r *faultRun) {
				r.node.eventually("the program hook", readyLimit, func() error {
					pids := processesWith("inlay-hook\x00program\x00", r.node.HostRoot)
					if len(pids) == 0 {
						return errNotYet
					}
					time.Sleep(300 * time.Millisecond) // into the PR
					return killAll(pids)
				})
			},
			lift: healCard,
		},
		{
			name: "the card is dead", cause: `dfl-fme\.0.*(all ones|does not answer)`,
			inject: func(r *faultRun) { r.node.SetFaults(emulator.Faults{"dfl-fme.0": {Dead: true}}) },
			lift:   healCard,
		},
		{
			name: "the record stands in a pod annotation", cause: `the pod itself carries`,
			inject: func(r *faultRun) {
				r.request.PodAnnotations = map[string]string{record.Key("region-" + Interface): "dfl-fme.0@0000:3b:00.0"}
			},
			lift: askAgain,
		},
		{
			name: "the record names another pod's device", cause: `held by pod team-b/other|the kubelet lists`,
			cards: []string{"dfl:ports=1", "dfl:ports=1"},
			inject: func(r *faultRun) {
				r.Kubelet.Claim(kubelet.Owner{Namespace: "team-b", Pod: "other", Container: "main"}, RegionResource(Interface), "dfl-fme.0")
				r.request.Forge = forgeRecord(func(string) string { return "dfl-fme.0@0000:3b:00.0" })
			},
			lift: func(r *faultRun) {
				r.Kubelet.Free(kubelet.Owner{Namespace: "team-b", Pod: "other", Container: "main"})
				askAgain(r)
			},
		},
		{
			name: "the card was renumbered over a restart of the kubelet", cause: `delete the pod`,
			inject: func(r *faultRun) {
				r.request.Forge = forgeRecord(func(v string) string { return strings.Replace(v, "@0000:", "@0001:", 1) })
			},
			lift: askAgain,
		},
		{
			name: "two region types in one container, functions for one", cause: `functions asked for, . devices? allocated`,
			cards: []string{"dfl:ports=1", "dfl:ports=1,iface=" + OtherInterface},
			inject: func(r *faultRun) {
				r.request.Resources[RegionResource(OtherInterface)] = 1
			},
			lift: askAgain,
		},
		{
			name: "one pair too many", cause: `2 functions asked for, 1 devices? allocated`,
			inject: func(r *faultRun) {
				r.request.Env = append(r.request.Env, "FPGA_REGION_2="+Interface, "FPGA_AFU_2="+NLB3)
			},
			lift: askAgain,
		},
		{
			name: "one pair too few", cause: `asks for none|FPGA_`,
			inject: func(r *faultRun) { r.request.Env = nil },
			lift:   askAgain,
		},
		{
			name: "the policy file is missing", cause: `nothing is granted: policy file is missing`,
			inject: func(r *faultRun) { r.RemovePolicy() },
			lift:   restorePolicy,
		},
		{
			name: "the policy file is old", cause: `nothing is granted: policy file is too old`,
			options: InlayOptions{PolicyMaxAge: time.Hour},
			inject:  func(r *faultRun) { r.WritePolicy(old) },
			lift:    restorePolicy,
		},
		{
			name: "the policy is another namespace's", cause: `namespace ` + Namespace + ` has no AcceleratorFunction`,
			inject: func(r *faultRun) { r.WritePolicy(otherNamespace) },
			lift:   restorePolicy,
		},
		{
			name: "the policy has the function in another mode", cause: `no AcceleratorFunction of mode region`,
			inject: func(r *faultRun) { r.WritePolicy(onlyMode(policy.ModeAF)) },
			lift:   restorePolicy,
		},
	}
}

// onlyMode is the standard policy with the mappings of one mode.
func onlyMode(mode policy.Mode) policy.Policy {
	p := StandardPolicy()
	ns := p.Namespaces[Namespace]
	var kept []policy.Function
	for _, f := range ns.Functions {
		if f.Mode == mode {
			kept = append(kept, f)
		}
	}
	ns.Functions = kept
	p.Namespaces[Namespace] = ns
	return p
}

// The runtime's own restart is no fault of a request: inlay-nri has to be back within a
// second of its socket, and running FPGA containers do not notice.
func TestContainerdRestart(t *testing.T) {
	n := StartNode(t, inlayTools(t), NodeOptions{Cards: []string{"dfl:ports=1", "dfl:ports=1"}})
	n.PutBitstream(Interface, NLB3, NLB3)
	i := n.StartInlay(InlayOptions{})
	running := i.NewWorkload("running", Regions(standardWant))
	running.MustRun()

	r := &faultRun{Inlay: i, t: t, node: n}
	r.must(n.Containerd.Halt(n.ctx()))
	r.must(n.Containerd.Start(n.ctx()))
	back := Elapsed(func() { i.WaitForNRI() })
	if back > time.Second {
		t.Errorf("inlay-nri was back %v after containerd, more than 1 s", back)
	}
	if !running.Running() {
		t.Error("the FPGA container did not outlive the restart")
	}
	if err := i.NewWorkload("after", Regions(standardWant)).Try(); err != nil {
		t.Error(err)
	}
}
