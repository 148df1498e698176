// Package chaos breaks a cluster with Inlay in every way that a cluster breaks, and holds it to what Inlay promises
// all the time:
//
//	steps := chaos.Generate(seed, chaos.Plan{Steps: 300, SettleEvery: 15}) // nothing but the seed decides
//	report, err := chaos.Run(ctx, chaos.Options{Cluster: cluster.Options{Tools: tools}, Steps: steps, Log: os.Stdout})
//
// A step is a line of text (see Step): `0.4s kill kubelet`. What was generated can be printed, cut down by hand and run
// again: ParseSteps. Steps do not wait for what they cause; a cluster is broken in several places at once. What a step
// breaks a later step mends, and `settle` mends everything and waits until the cluster is well.
//
// # The promises
//
// An invariant is a function of what was seen (Seen), with a name. They are in invariants.go, the last one in failures.go:
//
//   - only-what-was-granted: the card's nodes in a container's /dev and the rules of its device cgroup are those of the
//     devices in its allocation record, as many as its pod asked for; the record is what the kubelet says; and its
//     namespace has the mapping.
//   - right-function: whatever a container reads through its ports is what its pod asked for, at any moment.
//   - one-port-one-container: no two running containers have one port.
//   - nothing-disturbed: a container that runs goes on; a pod without an FPGA has none and starts like any other.
//   - nobody-let-in: a pod of a namespace without mappings is refused.
//   - nothing-lost: when all is well again the Node offers what its cards give.
//   - everything-runs: then every pod that can run does, within a bound.
//   - nobody-turned-away: no pod with a right to an FPGA fails for good, but for the reasons below.
//
// The first five are looked at several times a second, whatever else is going on, and need neither the API server nor
// the kubelet nor the runtime: what a container has is read from the kernel (/proc, the device cgroup), and what it
// reads through its ports it writes to a file of the host, line by line (witness.go). The others hold at each settle.
//
// # Pods that the kubelet turns away
//
// The kubelet decides once whether it takes a pod that the scheduler has sent. If not the pod fails for good, with the
// reason UnexpectedAdmissionError, and its controller makes another, as settle does. That is no violation with one of
// these messages, if what was broken at that moment explains it (failures.go); any other reason, message or moment is.
//
//   - no healthy devices present: the device plugin is not connected. The kubelet, or the plugin, was killed or frozen,
//     or the DaemonSet rolled out, and no settle has found all well since. Or every card was ill. The scheduler only sees
//     the Node's status, which still has the devices. Of 48 pods turned away in 2,000 steps, 47 were so.
//   - requested number of devices unavailable: a static pod has a card. The webhook has refused its mirror pod, so the
//     scheduler does not know and gives the same card to another pod. Or as before, or a card was ill. The 48th pod.
//   - previously allocated devices are no longer healthy: the same as the first, for a pod that a kubelet which was
//     killed had taken already; or its card was ill.
//   - rpc error: code = Unavailable: the plugin ended while it was asked. It never answers with that code itself.
//   - device … is unhealthy, or is not there: the plugin's own refusal, if a card was ill. The kubelet had not heard yet.
//
// The last three have not been seen; the code of the kubelet and of the plugin has them. An allocation that the plugin
// refuses while all cards are well is a violation.
//
// # What is not done
//
// The clock of the machine is not ours to change, and no Go program would notice a preloaded library or a time
// namespace, which has no CLOCK_REALTIME. What Inlay does with the time of day on a node is to judge the age of the
// policy file and the dates of bitstreams. So `clock` changes the first and `bitstream dated` the second: to a reader that
// is the same jump. The webhook judges its certificates by the time of day; webhook/certs has tests with a clock of their own.
//
// The disk that fills up is a small file system that is mounted where Inlay writes (its run folder and its state folder)
// before Inlay is installed. The bitstream store its daemons and its hook only read: there a full disk is a file of which
// half is missing.
package chaos
