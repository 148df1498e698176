package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cluster"
)

// Namespaces of the pods: one has the mappings, one has none.
const (
	team      = "team-a"
	strangers = "strangers"
)

// functions are those of the store, by the names of the mappings that lead to them. They are more than a card has ports,
// so that a card that comes free mostly holds another function than the next pod asks for.
var functions = map[string]string{
	"nlb0": integration.NLB0, "nlb3": integration.NLB3,
	"fir": "0123456789abcdef0123456789abcdef", "fft": "fedcba98765432100123456789abcdef",
}

func functionNames() []string { return slices.Sorted(maps.Keys(functions)) }

// either is a mapping that leads to one function or the other.
const either = "either"

func mappingNames() []string { return append(functionNames(), either) }

// RegionResource is what all cards of the cluster offer.
var regionResource = integration.RegionResource(integration.Interface)

// Pod is a pod that chaos has made.
type Pod struct {
	Name, Namespace, UID, Kind string
	// Functions are what it asked for: in a container of it there are as many ports, which read as these. Empty for
	// a plain pod; nil and "" never mean anything goes.
	Functions []string
}

// stays says whether a container of the pod, once it runs, runs until the pod is deleted.
func (p Pod) stays() bool { return p.Kind != kindJob }

// mayRun says whether a cluster that is well lets it run.
func (p Pod) mayRun() bool { return !p.mustNot() }

// mustNot says that nobody may let the pod have what it asks for.
func (p Pod) mustNot() bool { return p.Namespace == strangers }

// newPod is a pod as it is to be created.
func newPod(name, kind, function string) (Pod, cluster.PodSpec, error) {
	id, known := functions[function]
	if !known {
		return Pod{}, cluster.PodSpec{}, fmt.Errorf("%q is none of %q", function, functionNames())
	}
	p := Pod{Name: name, Namespace: team, Kind: kind, Functions: []string{id}}
	asked := map[string]int64{vendor + function: 1}
	env := map[string]string{}
	readings := forEver
	policy := corev1.RestartPolicyAlways
	switch kind {
	case kindRegion:
	case kindJob:
		readings, policy = jobReadings, corev1.RestartPolicyOnFailure
	case kindPair:
		other := otherThan(function)
		p.Functions = append(p.Functions, functions[other])
		asked[vendor+other] = 1
	case kindEither:
		p.Functions = nil // the API server's answer tells
		asked = map[string]int64{vendor + either: 1}
	case kindPlain:
		p.Functions, asked = nil, nil
	case kindStranger:
		p.Namespace = strangers
	case kindForger, kindStatic:
		p.Namespace = strangers
		asked = map[string]int64{regionResource: 1}
		env["FPGA_REGION_1"], env["FPGA_AFU_1"] = integration.Interface, id
	default:
		return Pod{}, cluster.PodSpec{}, fmt.Errorf("%q is no kind of pod", kind)
	}
	spec := cluster.PodSpec{Name: name, Namespace: p.Namespace, Resources: asked, Env: env, RestartPolicy: policy}
	witnessed(&spec, readings)
	return p, spec, nil
}

const vendor = "fpga.intel.com/"

// otherThan is the next function by name, and after the last one the first.
func otherThan(function string) string {
	names := functionNames()
	return names[(slices.Index(names, function)+1)%len(names)]
}

// nameOf is a function's mapping, "" if it has none of its own.
func nameOf(id string) string {
	for name, f := range functions {
		if f == id {
			return name
		}
	}
	return ""
}

// translated is the functions that the webhook has put into a pod.
func translated(pod *corev1.Pod) []string {
	var ids []string
	for _, e := range pod.Spec.Containers[0].Env {
		if strings.HasPrefix(e.Name, "FPGA_AFU_") {
			ids = append(ids, e.Value)
		}
	}
	slices.Sort(ids)
	return ids
}
