package fpga_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/fpga"
)

const (
	dcp12 = "69528db6eb31577a8c3668f9faa081f6"
	d5005 = "bfac4d851ee856fe8c95865ce1bbaa2d"
	nlb0  = "d8424dc4a4a3c413f89e433683f9040b"
	nlb3  = "f7df405cbd7acf7222f144b0b93acd18"
	aocx  = "40007c0623210742000ebc58df6f5343e668b03a"

	regionDCP12 = "fpga.intel.com/region-" + dcp12
	regionD5005 = "fpga.intel.com/region-" + d5005
	afNLB0      = "fpga.intel.com/af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs"
	afNLB3      = "fpga.intel.com/af-695.f7d.aVKNtusxV3qMNmj5-qCB9vffQFy9es9yIvFEsLk6zRg"
)

func function(name, mode, iface, afu string) v2.Object {
	return &v2.AcceleratorFunction{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v2.AcceleratorFunctionSpec{Mode: mode, InterfaceID: iface, AfuID: afu},
	}
}

func region(name, iface string) v2.Object {
	return &v2.FpgaRegion{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v2.FpgaRegionSpec{InterfaceID: iface}}
}

// born gives an object an age.
func born(unix int64, o v2.Object) v2.Object {
	o.SetCreationTimestamp(metav1.NewTime(time.Unix(unix, 0)))
	return o
}

func table(objects ...v2.Object) *fpga.Table {
	var es []fpga.Entry
	for _, o := range objects {
		es = append(es, fpga.EntryOf(o))
	}
	return fpga.NewTable(es)
}

// ns1 has the mappings of spec/fpga.md 5.5 and some more: a second function in mode af, a D5005 with a function from an
// AOCX file, and one that leads nowhere.
func ns1() *fpga.Table {
	return table(
		function("n3o", "region", dcp12, nlb3),
		function("n0o", "region", dcp12, nlb0),
		function("n0p", "af", dcp12, nlb0),
		region("a10", dcp12),
		function("n3p", "af", dcp12, nlb3),
		function("mm", "region", d5005, aocx),
		region("d5", d5005),
		function("odd", "afoo", dcp12, nlb0),
	)
}

// pod makes the JSON of a pod of the YAML of its spec.
func pod(t testing.TB, spec string) []byte {
	t.Helper()
	var s any
	if err := yaml.Unmarshal([]byte(spec), &s); err != nil {
		t.Fatalf("%v in\n%s", err, spec)
	}
	b, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p"}, "spec": s,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func view(t testing.TB, raw []byte) fpga.Pod {
	t.Helper()
	p, err := fpga.ParsePod(raw)
	if err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return p
}

// apply does to a pod what the API server does with the patch.
func apply(t testing.TB, raw []byte, v fpga.Verdict) []byte {
	t.Helper()
	text, err := v.MarshalPatch()
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Patch) == 0 {
		return raw
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatalf("%v in patch %s", err, text)
	}
	out, err := patch.Apply(raw)
	if err != nil {
		t.Fatalf("%v of patch %s to %s", err, text, raw)
	}
	return out
}

func decodePod(t testing.TB, raw []byte) *corev1.Pod {
	t.Helper()
	var p corev1.Pod
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return &p
}

func samePod(want, got *corev1.Pod) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b resource.Quantity) bool { return a.Cmp(b) == 0 }))
}

// translated gives the pod that comes of a spec, as the API server would have it; on the way it sees to it that what
// came out passes Check and needs no second translation.
func translated(t testing.TB, spec string, m *fpga.Table, o fpga.Options) (*corev1.Pod, fpga.Verdict) {
	t.Helper()
	raw := pod(t, spec)
	v := fpga.Translate(view(t, raw), "ns1", m, o)
	if v.Denied != "" {
		t.Fatalf("denied: %s", v.Denied)
	}
	out := apply(t, raw, v)
	settled(t, out, m, o)
	return decodePod(t, out), v
}

func settled(t testing.TB, out []byte, m *fpga.Table, o fpga.Options) {
	t.Helper()
	p := view(t, out)
	if c := fpga.Check(p, "ns1", m); c.Denied != "" || len(c.Patch) > 0 {
		t.Errorf("a translated pod fails Check: %q, patch %v, pod %s", c.Denied, c.Patch, out)
	}
	if again := fpga.Translate(p, "ns1", m, o); again.Denied != "" || len(again.Patch) > 0 {
		t.Errorf("a translated pod is translated again: %q, patch %v, pod %s", again.Denied, again.Patch, out)
	}
}

// wantDenied checks that both webhooks refuse a pod, with a message that has all the words.
func wantDenied(t testing.TB, spec string, m *fpga.Table, words ...string) {
	t.Helper()
	p := view(t, pod(t, spec))
	v := fpga.Translate(p, "ns1", m, fpga.Options{ModeAffinity: true})
	for _, w := range words {
		if !strings.Contains(v.Denied, w) {
			t.Errorf("denied %q, want %q in it", v.Denied, w)
		}
	}
	if v.Denied == "" || len(v.Patch) > 0 || len(v.Uses) > 0 {
		t.Errorf("denied %q, patch %v, uses %v; want a denial alone", v.Denied, v.Patch, v.Uses)
	}
	if strings.ContainsAny(v.Denied, "\n\r\x1b") {
		t.Errorf("denied in several lines: %q", v.Denied)
	}
	if c := fpga.Check(p, "ns1", m); c.Denied == "" {
		t.Errorf("Check allows what Translate denies: %s", v.Denied)
	}
}

// asks is the resources of a container, in limits and requests.
func asks(pairs ...string) string {
	list := make([]string, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, `"`+pairs[i]+`": "`+pairs[i+1]+`"`)
	}
	l := "{" + strings.Join(list, ", ") + "}"
	return "{limits: " + l + ", requests: " + l + "}"
}

const fp = "fpga.intel.com/"

func encode(t testing.TB, p *corev1.Pod) []byte {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
