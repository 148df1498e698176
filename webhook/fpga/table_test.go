package fpga_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/fpga"
)

// AcceleratorFunction and FpgaRegion share their names (8.35: in the reference the later one overwrote the other).
func TestTheOlderOfTwoHasTheName(t *testing.T) {
	af := func(created int64) v2.Object { return born(created, function("x", "af", dcp12, nlb0)) }
	devel := func(created int64) v2.Object { return born(created, region("x", dcp12)) }
	ageless := function("x", "af", dcp12, nlb0)
	for name, c := range map[string]struct {
		objects  []v2.Object
		resource string // of a container that asks for x
		denied   string
		ready    map[v2.Kind]string // reason, then a part of the message
	}{
		"alone": {[]v2.Object{af(1)}, afNLB0, "", map[v2.Kind]string{"AcceleratorFunction": "LeadsToResource gets " + afNLB0 + ", mode af", "FpgaRegion": " there is no FpgaRegion x"}},
		"function older": {[]v2.Object{devel(2), af(1)}, afNLB0, "", map[v2.Kind]string{
			"AcceleratorFunction": "LeadsToResource the younger FpgaRegion of this name leads nowhere", "FpgaRegion": "NameConflict AcceleratorFunction x is older and has the name fpga.intel.com/x; rename one",
		}},
		"region older": {[]v2.Object{devel(1), af(2)}, regionDCP12, "", map[v2.Kind]string{
			"FpgaRegion": "LeadsToResource the younger AcceleratorFunction of this name", "AcceleratorFunction": "NameConflict FpgaRegion x is older",
		}},
		"of one age": {[]v2.Object{devel(1), af(1)}, "", "in namespace ns1 AcceleratorFunction x and FpgaRegion x have one name and neither is known to be older", map[v2.Kind]string{
			"FpgaRegion": "NameConflict neither has it", "AcceleratorFunction": "NameConflict neither has it",
		}},
		"of unknown age": {[]v2.Object{devel(1), ageless}, "", "neither is known to be older", map[v2.Kind]string{"FpgaRegion": "NameConflict", "AcceleratorFunction": "NameConflict"}},
		"the older one is invalid": {[]v2.Object{born(1, function("x", "afoo", dcp12, nlb0)), devel(2)}, regionDCP12, "", map[v2.Kind]string{
			"FpgaRegion": "LeadsToResource", "AcceleratorFunction": `InvalidMode mode "afoo" is neither`,
		}},
		"invalid alone":  {[]v2.Object{region("x", "69")}, "", "stands for nothing: FpgaRegion x of namespace ns1 is invalid: interfaceId", map[v2.Kind]string{"FpgaRegion": "InvalidInterfaceId"}},
		"replaced":       {[]v2.Object{region("x", d5005), region("x", dcp12)}, regionDCP12, "", map[v2.Kind]string{"FpgaRegion": "LeadsToResource"}},
		"one of another": {[]v2.Object{region("y", dcp12)}, "", "named x (it has y)", nil},
		"none valid":     {[]v2.Object{region("y", "")}, "", "named x (it has none)", nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := table(c.objects...)
			spec := "containers: [{name: c, resources: " + asks(fp+"x", "1") + "}]"
			if c.denied != "" {
				wantDenied(t, spec, m, c.denied)
			} else if got, _ := translated(t, spec, m, fpga.Options{}); len(got.Spec.Containers[0].Resources.Limits) != 1 || has(got.Spec.Containers[0].Resources.Limits, c.resource) != 1 {
				t.Errorf("gets %v", got.Spec.Containers[0].Resources.Limits)
			}
			for kind, want := range c.ready {
				ok, reason, message, resource := m.Ready(kind, "x")
				wantReason, wantMessage, _ := strings.Cut(want, " ")
				if reason != wantReason || !strings.Contains(message, wantMessage) || ok != (reason == v2.ReasonLeadsToResource) || ok != (resource != "") {
					t.Errorf("%s: %v %s %q %q, want %s", kind, ok, reason, message, resource, want)
				}
				if ok && resource != c.resource {
					t.Errorf("%s: %s", kind, resource)
				}
			}
		})
	}
}

// A mapping may be named as the resource that it leads to. The name stays the resource's: what another mapping puts into
// a pod must not be translated a second time.
func TestTheNameOfAResourceStandsForTheResource(t *testing.T) {
	self := "region-" + dcp12
	for name, m := range map[string]*fpga.Table{
		"FpgaRegion":          table(region(self, dcp12), function("n3o", "region", dcp12, nlb3), region("a10", dcp12)),
		"AcceleratorFunction": table(function(self, "region", dcp12, nlb3), function("n3o", "region", dcp12, nlb3), region("a10", dcp12)),
		"both":                table(function(self, "region", dcp12, nlb3), region(self, dcp12), function("n3o", "region", dcp12, nlb3), region("a10", dcp12)),
	} {
		for _, ask := range []string{"n3o", "a10", self} {
			translated(t, "containers: [{name: c, resources: "+asks(fp+ask, "1")+"}]", m, fpga.Options{ModeAffinity: true})
		}
		if ok, _, message, resource := m.Ready(v2.KindFpgaRegion, self); name != "AcceleratorFunction" && (!ok || resource != regionDCP12) {
			t.Errorf("%s: %s", name, message)
		}
	}
}

func TestUsesNameTheMappings(t *testing.T) {
	for name, c := range map[string]struct {
		container string
		want      []string
	}{
		"aliases": {"resources: " + asks(fp+"n3o", "1", fp+"n0o", "2"), []string{
			"c: fpga.intel.com/n0o -> AcceleratorFunction/n0o -> " + regionDCP12, "c: fpga.intel.com/n3o -> AcceleratorFunction/n3o -> " + regionDCP12,
		}},
		"raw af":     {"resources: " + asks(afNLB0, "1"), []string{"c: " + afNLB0 + " -> AcceleratorFunction/n0p -> " + afNLB0}},
		"raw region": {"resources: " + asks(regionDCP12, "1"), []string{"c: " + regionDCP12 + " -> FpgaRegion/a10 -> " + regionDCP12}},
		"translated": {"resources: " + asks(regionDCP12, "3") + ", env: " + env("FPGA_AFU_1", nlb0, "FPGA_AFU_2", nlb0, "FPGA_AFU_3", nlb3,
			"FPGA_REGION_1", dcp12, "FPGA_REGION_2", dcp12, "FPGA_REGION_3", dcp12), []string{
			"c: " + regionDCP12 + " -> AcceleratorFunction/n0o -> " + regionDCP12, "c: " + regionDCP12 + " -> AcceleratorFunction/n3o -> " + regionDCP12,
		}},
		"none": {"env: []", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, u := range fpga.Translate(view(t, pod(t, "containers: [{name: c, "+c.container+"}]")), "ns1", ns1(), fpga.Options{}).Uses {
				got = append(got, u.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestTheNamespaceIsThePodsOwnElseTheRequests(t *testing.T) {
	for raw, want := range map[string]string{`{"metadata":{"namespace":"own"}}`: "own", `{"metadata":{"namespace":""}}`: "request", `{"metadata":{"namespace":null}}`: "request", `{}`: "request"} {
		if got := view(t, []byte(raw)).In("request"); got != want {
			t.Errorf("%s: %s", raw, got)
		}
	}
	raw := `{"metadata":{"namespace":"own"},"spec":{"containers":[{"name":"c","resources":{"limits":{"fpga.intel.com/x":"1"},"requests":{"fpga.intel.com/x":"1"}}}]}}`
	if v := fpga.Translate(view(t, []byte(raw)), "request", nil, fpga.Options{}); !strings.Contains(v.Denied, "namespace own has no") {
		t.Errorf("denied %q", v.Denied)
	}
}

func has(list corev1.ResourceList, name string) int64 {
	q := list[corev1.ResourceName(name)]
	return q.Value()
}
