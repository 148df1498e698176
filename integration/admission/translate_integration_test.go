//go:build integration

package admission

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// seen is what kubectl shows of a container, as far as FPGAs are concerned.
type seen struct {
	Limits, Requests map[string]string // of fpga.intel.com/ only
	Env              []string          // name=value, or name<- for valueFrom, in order
}

// asks is the usual outcome: the same in limits and requests.
func asks(env []string, pairs ...string) seen {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return seen{Limits: m, Requests: m, Env: env}
}

func containers(p corev1.Pod) map[string]seen {
	all := map[string]seen{}
	for _, c := range append(append([]corev1.Container{}, p.Spec.InitContainers...), p.Spec.Containers...) {
		var s seen
		s.Limits, s.Requests = fpgas(c.Resources.Limits), fpgas(c.Resources.Requests)
		for _, e := range c.Env {
			if e.ValueFrom != nil {
				s.Env = append(s.Env, e.Name+"<-")
			} else {
				s.Env = append(s.Env, e.Name+"="+e.Value)
			}
		}
		all[c.Name] = s
	}
	return all
}

func fpgas(list corev1.ResourceList) map[string]string {
	m := map[string]string{}
	for name, q := range list {
		if strings.HasPrefix(string(name), "fpga.intel.com/") {
			m[string(name)] = q.String()
		}
	}
	return m
}

// create makes a pod with kubectl and returns what the API server has of it.
func (s *System) create(t *testing.T, ns, manifest string, flags ...string) corev1.Pod {
	t.Helper()
	r := s.Admin().Try(t.Context(), manifest, append([]string{"create", "-n", ns, "-f", "-", "-o", "json"}, flags...)...)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return decode(t, r.Stdout)
}

func decode(t *testing.T, text string) corev1.Pod {
	t.Helper()
	var p corev1.Pod
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTranslationIsSeenInThePod(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ns := s.namespace(t, usual()+card("b20", other))
	for name, c := range map[string]struct {
		spec string
		want map[string]seen
	}{
		"a function of mode region": {
			"{containers: [{name: c, image: i, env: [{name: SOME_VAR, value: x}], resources: {limits: {cpu: 1, fpga.intel.com/n3o: 1}}}]}",
			map[string]seen{"c": asks([]string{"FPGA_AFU_1=" + nlb3, "FPGA_REGION_1=" + iface, "SOME_VAR=x"}, region, "1")},
		},
		"two functions of one region": {
			"{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/n3o: 1, fpga.intel.com/n0o: 2}}}]}",
			map[string]seen{"c": asks([]string{
				"FPGA_AFU_1=" + nlb0, "FPGA_AFU_2=" + nlb0, "FPGA_AFU_3=" + nlb3,
				"FPGA_REGION_1=" + iface, "FPGA_REGION_2=" + iface, "FPGA_REGION_3=" + iface,
			}, region, "3")},
		},
		"a function of mode af": {
			"{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/n0p: 2}}}]}",
			map[string]seen{"c": asks(nil, nlb0AF, "2")},
		},
		"a card": {
			"{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/a10: 1}}}]}",
			map[string]seen{"c": asks(nil, region, "1")},
		},
		"two cards": {
			"{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/a10: 1, fpga.intel.com/b20: 2}}}]}",
			map[string]seen{"c": asks(nil, region, "1", otherR, "2")},
		},
		"a resource by its own name": {
			"{containers: [{name: c, image: i, resources: {limits: {" + region + ": 1}}}]}",
			map[string]seen{"c": asks(nil, region, "1")},
		},
		"a card by both names": {
			"{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/a10: 1, " + region + ": 2}}}]}",
			map[string]seen{"c": asks(nil, region, "3")},
		},
		"our own output again": {
			"{containers: [{name: c, image: i, env: [{name: FPGA_AFU_1, value: " + nlb3 + "}, {name: FPGA_REGION_1, value: " + iface + "}], resources: {limits: {" + region + ": 1}}}]}",
			map[string]seen{"c": asks([]string{"FPGA_AFU_1=" + nlb3, "FPGA_REGION_1=" + iface}, region, "1")},
		},
		"init containers, sidecars and containers": {
			`{initContainers: [
				{name: init, image: i, resources: {limits: {fpga.intel.com/n3o: 1}}},
				{name: side, image: i, restartPolicy: Always, resources: {limits: {fpga.intel.com/n0o: 1}}}],
			  containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/n0o: 1}}}, {name: plain, image: i}]}`,
			map[string]seen{
				"init": asks([]string{"FPGA_AFU_1=" + nlb3, "FPGA_REGION_1=" + iface}, region, "1"),
				"side": asks([]string{"FPGA_AFU_1=" + nlb0, "FPGA_REGION_1=" + iface}, region, "1"),
				"c":    asks([]string{"FPGA_AFU_1=" + nlb0, "FPGA_REGION_1=" + iface}, region, "1"), "plain": asks(nil),
			},
		},
		"the order, references and sources of variables": {
			`{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/n3o: 1}}, env: [
				{name: Z, value: $(A)}, {name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: Z, value: '"}, {"name": "FPGA_AFU_1'}, {name: F, value: $(FPGA_AFU_1)}]}]}`,
			map[string]seen{"c": asks([]string{
				"FPGA_AFU_1=" + nlb3, "FPGA_REGION_1=" + iface,
				"Z=$(A)", "A<-", `Z="}, {"name": "FPGA_AFU_1`, "F=$(FPGA_AFU_1)",
			}, region, "1")},
		},
		"other resources, however similar": {
			"{containers: [{name: c, image: i, resources: {limits: {fpga.intel.community/n3o: 1, fpga.intel.com/n3o: 1, cpu: 1500m}}}]}",
			map[string]seen{"c": asks([]string{"FPGA_AFU_1=" + nlb3, "FPGA_REGION_1=" + iface}, region, "1")},
		},
		"a quantity of nothing": {
			"{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/n3o: 0}}}]}",
			map[string]seen{"c": asks(nil, region, "0")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := s.create(t, ns, fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {generateName: p-}, spec: %s}", c.spec))
			stored := decode(t, s.Kubectl(t, "get", "pod", pod.Name, "-n", ns, "-o", "json"))
			if diff := cmp.Diff(c.want, containers(stored)); diff != "" {
				t.Errorf("kubectl get pod (-want +got):\n%s", diff)
			}
		})
	}
}

// deploy/ has --mode-affinity.
func TestNodeAffinityFollowsTheMode(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ns := s.namespace(t, usual())
	for alias, mode := range map[string]string{"n3o": "region", "n0p": "af", "a10": "regiondevel"} {
		pod := s.create(t, ns, manifest("p-"+alias, `{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/`+alias+`: 1}}}],
			affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: rack, operator: Exists}]}]}}}}`))
		want := []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: "rack", Operator: corev1.NodeSelectorOpExists},
			{Key: "fpga.intel.com/mode", Operator: corev1.NodeSelectorOpIn, Values: []string{mode}},
		}}}
		got := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", alias, diff)
		}
	}
}

func TestPodsWithoutANameAreTranslated(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ns := s.namespace(t, usual())
	const spec = "{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/n3o: 1}}}]}"
	want := map[string]seen{"c": asks([]string{"FPGA_AFU_1=" + nlb3, "FPGA_REGION_1=" + iface}, region, "1")}

	t.Run("server-side dry run", func(t *testing.T) {
		pod := s.create(t, ns, manifest("dry", spec), "--dry-run=server")
		if diff := cmp.Diff(want, containers(pod)); diff != "" {
			t.Errorf("the answer (-want +got):\n%s", diff)
		}
		if r := s.Admin().Try(t.Context(), "", "get", "pod", "dry", "-n", ns); r.Err == nil {
			t.Error("the dry run left a pod")
		}
		const alien = "{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/alien: 1}}}]}"
		if r := s.Admin().Try(t.Context(), manifest("dry", alien), "create", "-n", ns, "--dry-run=server", "-f", "-"); r.Err == nil {
			t.Error("a dry run with an unknown name was allowed")
		}
	})
	t.Run("pods of a ReplicaSet", func(t *testing.T) {
		s.Apply(t, fmt.Sprintf(`{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: set, namespace: %s},
			spec: {replicas: 2, selector: {matchLabels: {app: set}}, template: {metadata: {labels: {app: set}}, spec: %s}}}`, ns, spec))
		s.Kubectl(t, "wait", "--for=jsonpath={.status.replicas}=2", "rs/set", "-n", ns, "--timeout=10s")
		var pods corev1.PodList
		if err := json.Unmarshal([]byte(s.Kubectl(t, "get", "pods", "-n", ns, "-l", "app=set", "-o", "json")), &pods); err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) != 2 {
			t.Fatalf("%d pods, want 2", len(pods.Items))
		}
		for _, pod := range pods.Items {
			if diff := cmp.Diff(want, containers(pod)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", pod.Name, diff)
			}
		}
	})
	t.Run("refused pods of a ReplicaSet are explained by its events", func(t *testing.T) {
		s.Apply(t, fmt.Sprintf(`{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: alien, namespace: %s}, spec: {replicas: 1,
			selector: {matchLabels: {app: alien}}, template: {metadata: {labels: {app: alien}}, spec: {containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/alien: 1}}}]}}}}`, ns))
		s.eventSays(t, ns, "rs/alien", "FailedCreate", "alien")
	})
}
