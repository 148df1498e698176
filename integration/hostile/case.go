package hostile

import (
	"slices"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Object is a JSON object: pods are kept as such, because many of them are none that Go types could hold.
type Object = map[string]any

// Case is a pod and what becomes of it.
type Case struct {
	Name string // what it tries
	Rule string // what stops it, or what it must not break
	In   string // namespace of the request
	Pod  Object
	// Outside is what reaches the containers from where no webhook looks.
	Outside Outside

	// API is the outcome on an API server with the webhook.
	API Verdict
	// Direct is the webhook's own answer to the pod as it stands here, where that is another one: the API server refuses
	// the pod before or after, or completes it.
	Direct *Verdict
	// Bare is the API server's answer without the webhook, where that is not to admit the pod. Such a pod is on no node.
	Bare string
	// Node is the outcome on nodes of each mode without the webhook, container by container in the order of their
	// starts. A mode that is not named cannot run the pod: it offers no such resource, or not so many.
	Node Nodes
}

// Outside is environment that is not in the pod.
type Outside struct {
	Image    map[string][]string // ENV of the image, by container
	Config   map[string]string   // data of the ConfigMap "config" and of the Secret "config"
	Services map[string]string   // the variables that a kubelet makes of the namespace's Services
}

// VerdictKind says who decided how.
type VerdictKind string

// The verdicts.
const (
	Denied     VerdictKind = "denied"     // by the webhook
	Rejected   VerdictKind = "rejected"   // by the API server itself; or by the webhook as malformed
	Untouched  VerdictKind = "untouched"  // admitted without a patch
	Translated VerdictKind = "translated" // admitted with a patch
)

// Verdict is an outcome of admission.
type Verdict struct {
	Kind    VerdictKind
	Says    []string // parts of the message, or of the warnings
	Changes []Change // containers that are changed, if the kind is Translated
}

// Change is what the patch makes of one container: everything else stays.
type Change struct {
	Container string
	Resources map[string]string // what stands in limits and requests in place of all that had the prefix
	Env       []string          // NAME=VALUE that come before the container's own
}

func denied(says ...string) Verdict    { return Verdict{Kind: Denied, Says: says} }
func rejected(says ...string) Verdict  { return Verdict{Kind: Rejected, Says: says} }
func untouched(says ...string) Verdict { return Verdict{Kind: Untouched, Says: says} }

func translated(changes ...Change) Verdict { return Verdict{Kind: Translated, Changes: changes} }

// gets is a container with n of a resource and the pairs of a region each.
func gets(container, resource, quantity string, functions ...[2]string) Change {
	c := Change{Container: container, Resources: map[string]string{resource: quantity}}
	var regions, afus []string
	for i, f := range functions {
		regions = append(regions, numbered("FPGA_REGION_", i+1)+"="+f[0])
		afus = append(afus, numbered("FPGA_AFU_", i+1)+"="+f[1])
	}
	c.Env = slices.Concat(afus, regions)
	return c
}

func direct(v Verdict) *Verdict { return &v }

// Nodes are outcomes by the node's mode.
type Nodes map[v2.Mode][]Outcome

// Outcome is what becomes of one container on a node.
type Outcome struct {
	Container string
	Refused   []string // parts of the refusal; nil = it runs
	Reads     []string // the functions that it reads through its ports, sorted; nil = it has no FPGA
	Whole     bool     // it has a whole card and reads what is loaded there
}

func refused(container string, says ...string) Outcome {
	return Outcome{Container: container, Refused: says}
}

func reads(container string, functions ...string) Outcome {
	slices.Sort(functions)
	return Outcome{Container: container, Reads: functions}
}

func bare(container string) Outcome { return Outcome{Container: container} }

func whole(container string) Outcome { return Outcome{Container: container, Whole: true} }

// nowhere is for pods that ask for what no node offers.
func nowhere() Nodes { return nil }

func everywhere(o ...Outcome) Nodes {
	return Nodes{v2.ModeAF: o, v2.ModeRegion: o, v2.ModeRegionDevel: o}
}

func onAF(o ...Outcome) Nodes { return Nodes{v2.ModeAF: o} }

// onRegions is for pods that ask for regions of interface A, which two modes offer.
func onRegions(region, devel []Outcome) Nodes {
	return Nodes{v2.ModeRegion: region, v2.ModeRegionDevel: devel}
}

// onRegionAlone is for pods that only the larger node in mode region can run.
func onRegionAlone(o ...Outcome) Nodes { return Nodes{v2.ModeRegion: o} }

func these(o ...Outcome) []Outcome { return o }

// Parts of refusals on a node that many cases share.
const (
	develTakesNone = "this node's mode is regiondevel: it programs no functions, and the container asks for one"
	regionNeedsOne = "a region comes with a function, and the container asks for none"
)

// noMapping is what inlay-nri says of a function that no mapping of the namespace names.
func noMapping(ns string, mode v2.Mode, afu string) string {
	return "namespace " + ns + " has no AcceleratorFunction of mode " + string(mode) + " for interface " + ifaceA + ", function " + afu
}

// noRegion is what inlay-nri says of a whole card that no mapping of the namespace names.
func noRegion(ns string) string {
	return "namespace " + ns + " has no FpgaRegion for interface " + ifaceA
}
