package fpga

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// FuzzDecodePod: what Kubernetes reads as a pod, we refuse or read alike, so that nobody can show a pod to the webhook
// that is another one to the kubelet. Names that are no plain text match nothing of ours, so that they only have to be
// such on both sides.
func FuzzDecodePod(f *testing.F) {
	for _, s := range []string{
		`{"metadata":{"name":"p","namespace":"ns1"},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":1,"fpga.intel.com/n3o":"1"},"requests":{"fpga.intel.com/n3o":1}},` +
			`"env":[{"name":"A"},{"name":"FPGA_AFU_1","value":"x"},{"name":"FPGA_REGION","valueFrom":{"fieldRef":{"fieldPath":"x"}}}],"envFrom":[{"prefix":"FPGA_AFU"}]}]}}`,
		`{"spec":{"initContainers":[{"name":"i","restartPolicy":"Always","resources":{"limits":{"fpga.intel.com/a":" 1000m ","fpga.intel.com/b":1e1}}},null],"containers":null}}`,
		`{"spec":{"containers":[{"name":"c","name":"d","env":[{"name":"A","name":"FPGA_AFU_1"}]}]}}`,
		`{"spec":{"containers":[{"Name":"c","ENV":[{"name":"FPGA_AFU_1"}]}]}}`,
		`{"spec":{"containers":[{"env":[{"name":"FPGA\u005fAFU\ud800A","value":"\ud83d\ude00"}]}]}}`,
		`{"spec":{"containers":[{"resources":{"limits":{"fpga.intel.com/\ud800\u0061":1,"fpga.intel.com/\ufffda":2}}}]}}`,
		`{"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{},{"matchExpressions":[{"key":"fpga.intel.com/mode","operator":"In","values":["af"]}]}]}}}}}`,
		`{"spec":{"resources":{"limits":{"fpga.intel.com/x":"1"}},"affinity":{"nodeAffinity":{}}}}`,
	} {
		f.Add([]byte(s))
	}
	slow := regexp.MustCompile(`[0-9.][eE][+-]?[0-9]{3,}[^0-9A-Za-z]`) // exponents that Kubernetes computes for minutes
	f.Fuzz(func(t *testing.T, raw []byte) {
		var theirs corev1.Pod
		if slow.Match(raw) || kjson.UnmarshalCaseSensitivePreserveInts(raw, &theirs) != nil {
			return
		}
		ours, err := ParsePod(raw)
		if err != nil {
			return
		}
		odd := !utf8.Valid(raw) || bytes.Contains(raw, []byte(`\u`))
		if !odd && (ours.namespace != theirs.Namespace || theirs.Name != "" && ours.name != theirs.Name) {
			t.Fatalf("pod %s/%s, Kubernetes reads %s/%s", ours.namespace, ours.name, theirs.Namespace, theirs.Name)
		}
		all := append(slices.Clone(theirs.Spec.InitContainers), theirs.Spec.Containers...)
		if len(all) != len(ours.containers) {
			t.Fatalf("%d containers, Kubernetes reads %d", len(ours.containers), len(all))
		}
		for i := range all {
			sameContainer(t, &ours.containers[i], &all[i], i < len(theirs.Spec.InitContainers), odd)
		}
		if r := theirs.Spec.Resources; r != nil {
			list := make(corev1.ResourceList)
			for _, l := range []corev1.ResourceList{r.Limits, r.Requests} {
				for name, q := range l {
					list[name] = q
				}
			}
			for name := range list {
				if strings.HasPrefix(string(name), "fpga.intel.com/") && len(ours.resources) == 0 {
					t.Fatalf("%s of the pod is not seen", name)
				}
			}
		}
		sameAffinity(t, &ours.affinity, theirs.Spec.Affinity)
	})
}

// plainText replaces what JSON readers differ about.
func plainText(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '\\' {
			return "?"
		}
	}
	return s
}

func sameContainer(t *testing.T, c *container, k *corev1.Container, init, odd bool) {
	if (!odd && c.name != k.Name) || c.init != init {
		t.Fatalf("container %q, Kubernetes reads %q", c.name, k.Name)
	}
	if always := k.RestartPolicy != nil && *k.RestartPolicy == corev1.ContainerRestartPolicyAlways; c.sidecar != (init && always) {
		t.Fatalf("sidecar: %v", c.sidecar)
	}
	if len(k.Env) > 0 && c.env == nil {
		t.Fatal("env is not seen")
	}
	sameAmounts(t, c.limits, k.Resources.Limits)
	sameAmounts(t, c.requests, k.Resources.Requests)
	var want, got []variable
	for _, e := range k.Env {
		if isReserved([]byte(e.Name)) {
			want = append(want, variable{Variable{plainText(e.Name), plainText(e.Value)}, e.ValueFrom == nil})
		}
	}
	for _, v := range c.reserved {
		got = append(got, variable{Variable{plainText(v.Name), plainText(v.Value)}, v.plain})
	}
	if !slices.Equal(got, want) {
		t.Fatalf("variables %+v, Kubernetes reads %+v", got, want)
	}
	prefixes := 0
	for _, e := range k.EnvFrom {
		if isReserved([]byte(e.Prefix)) {
			prefixes++
		}
	}
	if prefixes != len(c.prefixes) {
		t.Fatalf("prefixes %q", c.prefixes)
	}
}

func sameAmounts(t *testing.T, as []amount, list corev1.ResourceList) {
	odd := false
	got := make(map[string]bool)
	for _, a := range as {
		if plainText(a.name) == "?" {
			odd = true
			continue
		}
		got[a.name] = true
		q, ok := list[corev1.ResourceName(a.name)]
		if !ok || a.fault == "" && q.CmpInt64(a.n) != 0 {
			t.Fatalf("%s %q = %d, Kubernetes reads %v", a.name, a.text, a.n, &q)
		}
	}
	for name := range list {
		switch s := string(name); {
		case !strings.HasPrefix(s, "fpga.intel.com/") || got[s]:
		case plainText(s) == "?" && odd:
		default:
			t.Fatalf("%q is not seen", s)
		}
	}
}

func sameAffinity(t *testing.T, a *affinity, k *corev1.Affinity) {
	var want affinity
	if k != nil {
		want.depth = hasAffinity
	}
	if k != nil && k.NodeAffinity != nil {
		want.depth = hasNodeAffinity
		if r := k.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			want.depth = hasRequired
			for _, term := range r.NodeSelectorTerms {
				s := selectorTerm{expressions: term.MatchExpressions != nil, empty: len(term.MatchExpressions)+len(term.MatchFields) == 0}
				for _, e := range term.MatchExpressions {
					if e.Key == v2.ModeLabel && e.Operator == corev1.NodeSelectorOpIn && len(e.Values) == 1 && plainText(e.Values[0]) != "?" {
						s.modes = append(s.modes, v2.Mode(e.Values[0]))
					}
				}
				want.terms = append(want.terms, s)
			}
		}
	}
	for i := range a.terms {
		a.terms[i].modes = slices.DeleteFunc(a.terms[i].modes, func(m v2.Mode) bool { return plainText(string(m)) == "?" })
		if len(a.terms[i].modes) == 0 {
			a.terms[i].modes = nil
		}
	}
	if diff := cmp.Diff(want, *a, cmp.AllowUnexported(affinity{}, selectorTerm{})); diff != "" {
		t.Fatalf("affinity (-Kubernetes +ours)\n%s", diff)
	}
}
