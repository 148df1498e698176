package fpga_test

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	"github.com/inlay-project/inlay/webhook/fpga"
)

// seeds are pods that show a fuzzer where the decisions are.
func seeds(f *testing.F) {
	f.Add(usualPod(f))
	for _, spec := range []string{
		"containers: [{name: c, resources: " + asks(fp+"n3o", "1", fp+"n0o", "2") + ", env: [{name: A, value: b}]}]",
		"containers: [{name: c, resources: " + asks(fp+"a10", "1", regionDCP12, "1") + "}]",
		"containers: [{name: c, resources: " + asks(fp+"n0p", "1e0", afNLB0, "1000m") + "}]",
		"containers: [{name: c, resources: " + asks(regionDCP12, "1") + ", env: [{name: FPGA_AFU_1, value: " + nlb3 + "}, {name: FPGA_REGION_1, value: " + dcp12 + "}]}]",
		"containers: [{name: c, env: [{name: FPGA_AFU_1, valueFrom: {fieldRef: {fieldPath: metadata.name}}}], envFrom: [{prefix: FPGA_AFU, secretRef: {name: s}}]}]",
		"{initContainers: [{name: i, restartPolicy: Always, resources: " + asks(fp+"mm", "1") + "}], containers: [{name: c}], resources: {limits: {cpu: 1}}}",
		"{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}, {matchFields: [{key: metadata.name, operator: In, values: [node-1]}]}, " +
			"{matchExpressions: [{key: fpga.intel.com/mode, operator: In, values: [region]}]}]}}}, containers: [{name: c, resources: " + asks(fp+"n3o", "1") + "}]}",
		"{affinity: {}, containers: [{name: c, resources: {limits: {" + fp + "n3o: 1}, requests: {" + fp + "n3o: 0.5Ki}}}]}",
	} {
		f.Add(pod(f, spec))
	}
	f.Add([]byte(`{"spec":{"containers":[null,{"name":"\u0061","env":null,"\u0065nv":[{"name":"FPGA_AFU"}]}]}}`))
	f.Add([]byte(`{"spec":{"affinity":null,"containers":[{"resources":{"limits":{"fpga.intel.com/\u006e3o":1},"requests":{"fpga.intel.com/n3o":1.0}},"env":[]}]}}`))
	f.Add([]byte(`{"spec":{"tolerations":[},"volumes":[x y,,]}}`))
	f.Add([]byte("\x01\x01\x00\x01\x00\x00\x00 0123"))
	f.Add([]byte("\x00\x02\x00\x01\x06\x00\x00\x02\x02\x00\x00\x03\x01\x00"))
	f.Add([]byte(`{"metadata":{"namespace":"ns1"},"metadata":{"namespace":"ns2"}}`))
}

// slow are exponents whose number the API machinery computes: it takes minutes, and tells us nothing.
var slow = regexp.MustCompile(`[0-9.][eE][+-]?[0-9]{3,}[^0-9A-Za-z]`)

func decodes(raw []byte) (*corev1.Pod, bool) {
	var p corev1.Pod
	return &p, !slow.Match(raw) && kjson.UnmarshalCaseSensitivePreserveInts(raw, &p) == nil
}

// FuzzTranslate: any pod is refused, or gets a patch that applies, with an outcome that is a pod, asks for no mapping by
// name any more, passes Check and is left alone from then on.
func FuzzTranslate(f *testing.F) {
	seeds(f)
	m := ns1()
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			if _, err := fpga.ParsePod(raw); err == nil {
				t.Fatalf("no JSON, and read as a pod: %q", raw)
			}
			raw = grown(raw)
		}
		holds(t, raw, m)
	})
}

func TestGrownPodsAreRefusedOrComeOutRight(t *testing.T) {
	m := ns1()
	random := rand.New(rand.NewPCG(1, 2))
	outcomes := make(map[string]int)
	for range 4000 {
		choices := make([]byte, 20+random.IntN(100))
		for i := range choices {
			choices[i] = byte(random.Uint32())
		}
		outcomes[holds(t, grown(choices), m)]++
	}
	for _, outcome := range []string{"denied", "patched", "as it was"} {
		if outcomes[outcome] < 40 {
			t.Errorf("%d pods were %s; the test does not see that", outcomes[outcome], outcome)
		}
	}
}

// holds checks what is promised of every pod that is valid JSON, and tells what became of it.
func holds(t *testing.T, raw []byte, m *fpga.Table) string {
	o := fpga.Options{ModeAffinity: true}
	p, err := fpga.ParsePod(raw)
	if err != nil {
		return "unreadable"
	}
	v := fpga.Translate(p, "ns1", m, o)
	var text strings.Builder
	fpga.Explain(&text, p, "ns1", m, o)
	if strings.ContainsAny(v.Denied, "\n\x1b") || strings.Contains(text.String(), "\x1b") {
		t.Fatalf("a message with control characters: %q", text.String())
	}
	if v.Denied != "" {
		if len(v.Patch)+len(v.Uses) > 0 || fpga.Check(p, "ns1", m).Denied == "" {
			t.Fatalf("denied (%s), but not altogether", v.Denied)
		}
		return "denied"
	}
	out := patched(t, raw, v)
	settled(t, out, m, o)
	in, ok := decodes(raw)
	if !ok {
		return "no pod"
	}
	got, ok := decodes(out)
	if !ok {
		t.Fatalf("the outcome is no pod: %s", out)
	}
	noAlias(t, got)
	// The same of the pod as the API server writes it.
	encoded := encode(t, in)
	w := fpga.Translate(view(t, encoded), "ns1", m, o)
	if w.Denied != "" {
		t.Fatalf("allowed as it was written, and denied as the API server writes it: %s", w.Denied)
	}
	again, ok := decodes(patched(t, encoded, w))
	if !ok {
		t.Fatal("the outcome of the encoded pod is no pod")
	}
	if !jsonpatch.Equal(encode(t, got), encode(t, again)) {
		t.Fatalf("two outcomes:\n%s\n%s", encode(t, got), encode(t, again))
	}
	if len(v.Patch) > 0 {
		return "patched"
	}
	return "as it was"
}

func patched(t *testing.T, raw []byte, v fpga.Verdict) []byte {
	text, err := v.MarshalPatch()
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Patch) == 0 {
		return raw
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	out, err := patch.Apply(raw)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

func noAlias(t *testing.T, p *corev1.Pod) {
	for _, cs := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for _, c := range cs {
			for _, list := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
				for name := range list {
					if s := string(name); strings.HasPrefix(s, fp) && !strings.HasPrefix(s, fp+"region-") && !strings.HasPrefix(s, fp+"af-") {
						t.Fatalf("%s is left", s)
					}
				}
			}
		}
	}
}
