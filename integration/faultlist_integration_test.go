//go:build integration

package integration

import (
	"errors"
	"strings"
	"time"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/internal/record"
)

// unseen is what a pod shows whose container inlay-nri was not asked about: the gate's words, or PreStartContainer's.
const unseen = `inlay-nri did not see this container: it was created while|no answer from inlay-nri( on \S+)?: `

// faults is the list of what can go wrong; see type fault for what each must show.
func faults() []fault {
	otherNamespace := StandardPolicy()
	otherNamespace.Namespaces = map[string]policy.Namespace{"team-b": otherNamespace.Namespaces[Namespace]}
	old := StandardPolicy()
	old.Synced = time.Now().Add(-2 * time.Hour)

	crioOnly, everyCRIO := []RuntimeName{CRIO}, []RuntimeName{CRIO, OldCRIO}

	return []fault{
		{
			name: "inlay-nri is frozen", also: everyCRIO, cause: unseen, skipsNRI: true,
			inject: func(r *faultRun) { r.must(r.NRI.Stop()) },
			lift:   func(r *faultRun) { r.must(r.NRI.Cont()) },
		},
		{
			name: "inlay-nri is not connected", also: crioOnly, cause: unseen, skipsNRI: true,
			inject: func(r *faultRun) { r.must(r.NRI.Kill(r.node.ctx())) },
			lift:   func(r *faultRun) { r.StartNRI() },
		},
		{
			// The silent kubelet keeps inlay-nri inside the request until it is killed.
			name: "inlay-nri is killed in the middle of a request", also: crioOnly, cause: unseen, skipsNRI: true,
			admitted: func(r *faultRun) { r.Kubelet.SetSilent(true) },
			during: func(r *faultRun) {
				r.node.eventually("inlay-nri asking the kubelet", func() error {
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
			name: "the kubelet does not answer", also: crioOnly, cause: `whose the devices are cannot be checked: kubelet's podresources .*[dD]eadline`,
			admitted: func(r *faultRun) { r.Kubelet.SetSilent(true) },
			lift:     func(r *faultRun) { r.Kubelet.SetSilent(false) },
		},
		{
			name: "the hook's program is missing", also: everyCRIO, cause: `hook is missing on this node: open `,
			inject: func(r *faultRun) { r.RemoveHook() },
			lift:   func(r *faultRun) { r.InstallHook() },
		},
		{
			name: "the hook's program is another one", also: everyCRIO,
			cause:  `inlay-hook-\S+ is not the one that inlay-nri was shipped with: its SHA-256 begins [0-9a-f]{16}, expected`,
			inject: func(r *faultRun) { r.ReplaceHook() },
			lift:   func(r *faultRun) { r.InstallHook() },
		},
		{
			name: "the bitstream is missing", also: crioOnly, cause: NLB3 + `\.gbs: not found, nor is a \.aocx file of that name`,
			inject: func(r *faultRun) { r.node.RemoveFile(r.node.BitstreamFile(Interface, NLB3)) },
			lift:   restoreBitstream,
		},
		{
			name: "the bitstream is cut off", cause: NLB3 + `\.gbs: header: \d+ bytes of \d+`,
			inject: func(r *faultRun) { r.node.PutFile(r.node.BitstreamFile(Interface, NLB3), []byte("XeonFPGA")) },
			lift:   restoreBitstream,
		},
		{
			name: "the bitstream is none", cause: NLB3 + `\.gbs: header: no GBS magic`,
			inject: func(r *faultRun) {
				r.node.PutFile(r.node.BitstreamFile(Interface, NLB3), []byte("something else, though of some length"))
			},
			lift: restoreBitstream,
		},
		{
			name: "the bitstream is for another interface", cause: NLB3 + `.*is for interface ` + OtherInterface,
			inject: func(r *faultRun) {
				data, err := emulator.GBS(OtherInterface, NLB3, bitstreamBytes)
				r.must(err)
				r.node.PutFile(r.node.BitstreamFile(Interface, NLB3), data)
			},
			lift: restoreBitstream,
		},
		{
			name: "the bitstream carries another AFU", cause: NLB3 + `.*holds function "?` + NLB0,
			inject: func(r *faultRun) { r.node.PutBitstream(Interface, NLB3, NLB0) },
			lift:   restoreBitstream,
		},
		{
			name: "the PR fails with EIO", also: everyCRIO, cause: `dfl-port\.0.*` + NLB3 + `.*partial reconfiguration: .*input/output error`,
			inject: func(r *faultRun) { r.node.SetFaults(emulator.Faults{"*": {PRErrno: "EIO", PRStatus: []string{"crc"}}}) },
			lift:   healCard,
		},
		{
			name: "the PR loads another function", cause: `dfl-port\.0.*` + NLB3 + `.*read back ` + NLB0 + `, expected `,
			inject: func(r *faultRun) { r.node.SetFaults(emulator.Faults{"*": {PRLoads: "none"}}) },
			lift:   healCard,
		},
		{
			name: "the PR hangs beyond the hook's timeout", also: crioOnly, cause: `dfl-port\.0.*` + NLB3 + `.*the kernel is still programming it: gave up after \d+s`,
			options: InlayOptions{HookTimeout: 4 * time.Second},
			inject:  func(r *faultRun) { r.node.SetFaults(emulator.Faults{"*": {PRHang: true}}) },
			lift:    healCard,
		},
		{
			name: "the hook is killed in the middle", also: crioOnly, cause: `createRuntime hook.*signal: killed`,
			inject: func(r *faultRun) { r.node.SetFaults(emulator.Faults{"*": {PRDelay: "6s"}}) },
			during: func(r *faultRun) {
				r.node.eventually("the program hook", func() error {
					pids := process.With("inlay-hook\x00program\x00", r.node.HostRoot)
					if len(pids) == 0 {
						return errNotYet
					}
					time.Sleep(300 * time.Millisecond) // into the PR
					return process.KillAll(pids)
				})
			},
			lift: healCard,
		},
		{
			name: "the card is dead", cause: `dfl-fme\.0 reads as all ones: the card does not answer`,
			admitted: func(r *faultRun) { r.node.SetFaults(emulator.Faults{"dfl-fme.0": {Dead: true}}) },
			lift:     healCard,
		},
		{
			name: "the record stands in a pod annotation", also: everyCRIO, cause: `the pod itself carries the annotation \S+, which only the device plugin may set`,
			inject: func(r *faultRun) {
				r.request.PodAnnotations = map[string]string{record.Key("region-" + Interface): "dfl-fme.0@0000:3b:00.0"}
			},
			lift: askAgain,
		},
		{
			name: "the record names another pod's device", also: crioOnly, cause: `the kubelet says that pod team-b/other holds dfl-fme\.0`,
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
			name: "the card was renumbered over a restart of the kubelet", also: crioOnly, cause: `it is another one now: \S+ is at \S+ now, it was allocated at \S+; delete the pod`,
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
			name: "one pair too many", also: crioOnly, cause: `2 functions asked for, 1 devices? allocated`,
			inject: func(r *faultRun) {
				r.request.Env = append(r.request.Env, "FPGA_REGION_2="+Interface, "FPGA_AFU_2="+NLB3)
			},
			lift: askAgain,
		},
		{
			name: "one pair too few", cause: `a region comes with a function, and the container asks for none \(FPGA_AFU_n\)`,
			inject: func(r *faultRun) { r.request.Env = nil },
			lift:   askAgain,
		},
		{
			name: "the policy file is missing", also: everyCRIO, cause: `nothing is granted: policy file is missing`,
			inject: func(r *faultRun) { r.RemovePolicy() },
			lift:   restorePolicy,
		},
		{
			name: "the policy file is old", cause: `nothing is granted: policy file is too old \(last in step with the API server \S+ ago, 1h0m0s are allowed\): `,
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
