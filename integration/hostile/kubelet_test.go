package hostile

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReferencesAreExpandedAsAKubeletDoes(t *testing.T) {
	vars := map[string]string{"A": "a", "B": "$(A)"}
	for text, want := range map[string]string{
		"": "", "x": "x", "$(A)": "a", "$(A)$(A)": "aa", "-$(A)-": "-a-", "$(B)": "$(A)", "$(C)": "$(C)", "$$(A)": "$(A)", "$$$(A)": "$a",
		"$": "$", "$A": "$A", "$(A": "$(A", "$()": "$()", "$$": "$", "a$$b$(": "a$b$(",
	} {
		if got := expand(text, vars, nil); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestTheEnvironmentIsAKubelets(t *testing.T) {
	p, err := decodePod(pod(annotation("k", "note"), only(
		env("A", "1"), env("B", "$(A)$(E)"), env("A", "2"), envRef("C", "configMapKeyRef", "x"), envRef("N", "fieldRef", "metadata.annotations['k']"),
		env("Z", ""), envFrom("configMapRef", ""), envFrom("secretRef", "P_"),
	)))
	if err != nil {
		t.Fatal(err)
	}
	o := Outside{Config: map[string]string{"x": "cx", "A": "hidden"}, Services: map[string]string{"E": "svc", "C": "hidden"}}
	got, err := environment(p, &p.Spec.Containers[0], o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"A=2", "B=1svc", "C=cx", "E=svc", "N=note", "P_A=hidden", "P_x=cx", "Z=", "x=cx"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAPodFitsWhereItsPeakFits(t *testing.T) {
	of := func(n int) part { return ask(regionA, n) }
	for name, tt := range map[string]struct {
		pod  Object
		need int64
	}{
		"containers are added up":          {pod(container("a", of(1)), container("b", of(2))), 3},
		"init containers come one by one":  {pod(initContainer("a", of(2)), initContainer("b", of(1)), only(of(1))), 2},
		"sidecars stay":                    {pod(sidecar("a", of(2)), initContainer("b", of(1)), only(of(2))), 4},
		"an init container beside sidecar": {pod(sidecar("a", of(2)), initContainer("b", of(5)), only(of(2))), 7},
		"none is nothing":                  {pod(only(of(0))), 0},
	} {
		p, err := decodePod(tt.pod)
		if err != nil {
			t.Fatal(err)
		}
		if got := needs(p)[regionA]; got != tt.need {
			t.Errorf("%s: %d, want %d", name, got, tt.need)
		}
		if err := fits(p, map[string]int{regionA: int(tt.need)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := fits(p, map[string]int{regionA: int(tt.need) - 1}); tt.need > 0 && !errors.Is(err, errDoesNotFit) {
			t.Errorf("%s: one less: %v", name, err)
		}
	}
}

// A case speaks of each outcome once, and of all of them.
func TestTheTableIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		if seen[c.Name] {
			t.Errorf("two cases are called %q", c.Name)
		}
		seen[c.Name] = true
		if c.Name == "" || c.Rule == "" || c.In == "" || c.API.Kind == "" {
			t.Errorf("%q says too little", c.Name)
		}
		if c.Bare != "" && len(c.Node) > 0 {
			t.Errorf("%q: no API server admits it, so no node has it", c.Name)
		}
		if c.API.Kind == Rejected && c.Bare == "" {
			t.Errorf("%q: an API server refuses it by itself, so it does without the webhook too", c.Name)
		}
		if _, err := decodePod(c.Pod); err != nil && c.Bare == "" {
			t.Errorf("%q: %v", c.Name, err)
		}
	}
	for _, r := range Requests() {
		if seen[r.Name] || r.Rule == "" || r.Status == 0 && r.Answer.Kind == "" {
			t.Errorf("request %q says too little, or is there twice", r.Name)
		}
		seen[r.Name] = true
	}
	const least = 90
	if len(Cases()) < least {
		t.Errorf("%d cases, want %d", len(Cases()), least)
	}
	t.Logf("%d pods, %d requests", len(Cases()), len(Requests()))
}
