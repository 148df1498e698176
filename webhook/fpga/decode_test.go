package fpga

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestAPodThatCannotBeReadNamesTheField(t *testing.T) {
	container := func(fields string) string { return `{"spec":{"containers":[{},{` + fields + `}]}}` }
	for _, c := range []struct{ raw, want string }{
		{`[]`, "pod is an array, not an object"},
		{`null`, "pod is null, not an object"},
		{`"pod"`, "pod is a string, not an object"},
		{`{"spec":[]}`, "pod: spec is an array, not an object"},
		{`{"spec":{},"spec":{}}`, "pod: spec stands there twice"},
		{`{"spec":{},"\u0073pec":{}}`, "pod: spec stands there twice"},
		{`{"metadata":1}`, "pod: metadata is a number, not an object"},
		{`{"metadata":{"namespace":"a","namespace":"b"}}`, "pod: metadata.namespace stands there twice"},
		{`{"metadata":{"name":{}}}`, "pod: metadata.name is an object, not a string"},
		{`{"spec":{"containers":{}}}`, "pod: spec.containers is an object, not an array"},
		{`{"spec":{"containers":[],"containers":[]}}`, "pod: spec.containers stands there twice"},
		{`{"spec":{"initContainers":"x"}}`, "pod: spec.initContainers is a string, not an array"},
		{`{"spec":{"initContainers":[{},[]]}}`, "pod: spec.initContainers[1] is an array, not an object"},
		{container(`"name":1`), "pod: spec.containers[1].name is a number, not a string"},
		{container(`"name":"a","name":"b"`), "pod: spec.containers[1].name stands there twice"},
		{container(`"restartPolicy":true`), "pod: spec.containers[1].restartPolicy is a boolean, not a string"},
		{container(`"resources":[]`), "pod: spec.containers[1].resources is an array, not an object"},
		{container(`"resources":{},"resources":{}`), "pod: spec.containers[1].resources stands there twice"},
		{container(`"resources":{"limits":[]}`), "pod: spec.containers[1].resources.limits is an array, not an object"},
		{container(`"resources":{"limits":{},"limits":{}}`), "pod: spec.containers[1].resources.limits stands there twice"},
		{container(`"resources":{"requests":{"fpga.intel.com/a":true}}`), "pod: spec.containers[1].resources.requests[fpga.intel.com/a] is neither a string nor a number"},
		{container(`"resources":{"requests":{"fpga.intel.com/a":null}}`), "pod: spec.containers[1].resources.requests[fpga.intel.com/a] is neither a string nor a number"},
		{container(`"resources":{"limits":{"fpga.intel.com/a":1,"cpu":1,"fpga.intel.com/a":1}}`), "pod: spec.containers[1].resources.limits[fpga.intel.com/a] stands there twice"},
		{container(`"resources":{"limits":{"fpga.intel.com/a":1,"fpga.intel.com\/\u0061":1}}`), "pod: spec.containers[1].resources.limits[fpga.intel.com/a] stands there twice"},
		{container(`"env":{}`), "pod: spec.containers[1].env is an object, not an array"},
		{container(`"env":[],"env":[]`), "pod: spec.containers[1].env stands there twice"},
		{container(`"env":[{},1]`), "pod: spec.containers[1].env[1] is a number, not an object"},
		{container(`"env":[{"name":1}]`), "pod: spec.containers[1].env[0].name is a number, not a string"},
		{container(`"env":[{"name":"A","name":"FPGA_AFU_1"}]`), "pod: spec.containers[1].env[0].name stands there twice"},
		{container(`"env":[{"name":"A","value":1}]`), "pod: spec.containers[1].env[0].value is a number, not a string"},
		{container(`"env":[{"value":"A","value":"B"}]`), "pod: spec.containers[1].env[0].value stands there twice"},
		{container(`"env":[{"valueFrom":{},"valueFrom":null}]`), "pod: spec.containers[1].env[0].valueFrom stands there twice"},
		{container(`"envFrom":1`), "pod: spec.containers[1].envFrom is a number, not an array"},
		{container(`"envFrom":[{"prefix":"","prefix":"FPGA_AFU"}]`), "pod: spec.containers[1].envFrom[0].prefix stands there twice"},
		{`{"spec":{"resources":1}}`, "pod: spec.resources is a number, not an object"},
		{`{"spec":{"affinity":[]}}`, "pod: spec.affinity is an array, not an object"},
		{
			`{"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"values":[1]}]}]}}}}}`,
			"pod: spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0] is a number, not a string",
		},
		{`{"spec":{"affinity":{"nodeAffinity":{},"nodeAffinity":{}}}}`, "pod: spec.affinity.nodeAffinity stands there twice"},
	} {
		_, err := ParsePod([]byte(c.raw))
		var e *DecodeError
		if !errors.As(err, &e) || e.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.raw, err, c.want)
		}
	}
	for _, raw := range []string{``, `{`, `{"spec":}`, `{} {}`, strings.Repeat(`{"spec":`, 2)} {
		if _, err := ParsePod([]byte(raw)); err == nil || !strings.HasPrefix(err.Error(), "pod: ") {
			t.Errorf("%.20s: %v", raw, err)
		}
	}
}

func TestWhatIsNotReadMayBeAnything(t *testing.T) {
	for _, raw := range []string{
		`{}`, `{"spec":null,"metadata":null}`, `{"status":1,"status":2,"spec":{"volumes":3,"volumes":4,"containers":null,"initContainers":null,"affinity":null,"resources":null}}`,
		`{"Spec":[],"SPEC":1,"metadata":{"labels":1,"Name":2}}`,
		`{"spec":{"containers":[null,{"name":null,"env":null,"envFrom":null,"resources":null,"image":1,"image":2}]}}`,
		`{"spec":{"containers":[{"resources":{"limits":null,"requests":{"cpu":{},"memory":null,"cpu":[]},"claims":1}}]}}`,
		`{"spec":{"ephemeralContainers":[{"env":[{"name":"FPGA_AFU_1","value":"x"}],"resources":{"limits":{"fpga.intel.com/x":"1"}}}]}}`,
	} {
		p, err := ParsePod([]byte(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		if v := Translate(p, "ns1", nil, Options{ModeAffinity: true}); v.Denied != "" || len(v.Patch) > 0 {
			t.Errorf("%s: denied %q, patch %v", raw, v.Denied, v.Patch)
		}
	}
}

func TestThePodsNameIsForMessages(t *testing.T) {
	for raw, want := range map[string]string{
		`{"metadata":{"name":"a","generateName":"b-"}}`: "a", `{"metadata":{"generateName":"b-"}}`: "b-", `{"metadata":{"generateName":"b-","name":""}}`: "b-", `{}`: "",
	} {
		if p, err := ParsePod([]byte(raw)); err != nil || p.Name() != want {
			t.Errorf("%s: %q, %v", raw, p.Name(), err)
		}
	}
}

func TestQuantitiesAreWholeNumbersOrSayWhyNot(t *testing.T) {
	for text, want := range map[string]quantity{
		"0": {n: 0}, "9": {n: 9}, "00": {n: 0}, "-0": {n: 0}, "+7": {n: 7}, "256": {n: 256}, "0e999999999999": {n: 0}, "0.000": {n: 0}, "0Ki": {n: 0}, "1e2": {n: 100}, "1E2": {n: 100},
		"2.5e1": {n: 25}, ".5e1": {n: 5}, "5.": {n: 5}, "1000m": {n: 1}, "0.1k": {n: 100}, "3000000000n": {n: 3}, "0.25Ki": {n: 256}, "0.00000095367431640625Mi": {n: 1},
		"\u00a01": {n: 1},
		"":        {fault: faultText}, " ": {fault: faultText}, "-": {fault: faultText}, ".": {fault: faultText}, "Ki": {fault: faultText}, "e1": {fault: faultText}, "1e": {fault: faultText},
		"1e+": {fault: faultText}, "1e1.0": {fault: faultText}, "1.2.3": {fault: faultText}, "1..": {fault: faultText}, "--1": {fault: faultText}, "1-": {fault: faultText}, "0x1": {fault: faultText}, "1_0": {fault: faultText},
		"1 0": {fault: faultText}, "1ki": {fault: faultText}, "1K": {fault: faultText}, "1KiB": {fault: faultText}, "nan": {fault: faultText}, "inf": {fault: faultText}, "١": {fault: faultText}, "true": {fault: faultText}, "1m1": {fault: faultText},
		"-1": {fault: faultNegative}, "-1e999999999": {fault: faultNegative}, "-0.5": {fault: faultNegative}, "-1Ei": {fault: faultNegative},
		"0.5": {fault: faultFraction}, "1m": {fault: faultFraction}, "1500m": {fault: faultFraction}, "1e-1": {fault: faultFraction}, "1e-999999999": {fault: faultFraction}, "0.0000000001": {fault: faultFraction},
		"0.3Ki": {fault: faultFraction}, "1e-4294967296": {fault: faultFraction}, "0.9999999999": {fault: faultFraction},
		"257": {fault: faultMany}, "1k": {fault: faultMany}, "1Ki": {fault: faultMany}, "1e9": {fault: faultMany}, "1e999999999": {fault: faultMany}, "1e4294967296": {fault: faultMany},
		"1e99999999999999999999": {fault: faultMany}, "9223372036854775808": {fault: faultMany}, "0.5Ei": {fault: faultMany}, "1E": {fault: faultMany}, "10000.0": {fault: faultMany},
		strings.Repeat("1", 64): {fault: faultMany}, strings.Repeat("0", 63) + "1": {n: 1},
	} {
		want.text = text
		if diff := cmp.Diff(want, parseQuantity(text), cmp.AllowUnexported(quantity{})); diff != "" {
			t.Errorf("%q (-want +got)\n%s", text, diff)
		}
		if want.fault != "" || strings.Contains(text, "e9999") {
			continue // what Kubernetes computes for minutes
		}
		if theirs, err := resource.ParseQuantity(strings.TrimSpace(text)); err != nil || theirs.CmpInt64(want.n) != 0 {
			t.Errorf("Kubernetes reads %q as %v, %v", text, &theirs, err)
		}
	}
	for _, suffix := range []string{"n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"} {
		var d decimal
		if theirs, err := resource.ParseQuantity("1" + suffix); err != nil || !d.scale(suffix) || theirs.AsApproximateFloat64() != math.Pow10(d.tens)*math.Pow(2, float64(d.twos)) {
			t.Errorf("1%s is %v to Kubernetes (%v), and 10^%d·2^%d here", suffix, &theirs, err, d.tens, d.twos)
		}
	}
	if q := parseQuantity(strings.Repeat("0", 65)); q.fault != faultLong || len(q.text) > 80 {
		t.Errorf("%+v", q)
	}
}

func TestTextOfAPodFitsAMessage(t *testing.T) {
	for text, want := range map[string]string{
		"plain-1.x/y": "plain-1.x/y", "": `""`, "a b": `"a b"`, "é": `"é"`, "\x1b[2J": `"\x1b[2J"`, "a\nb": `"a\nb"`,
		strings.Repeat("é", 41): `"` + strings.Repeat("é", 38) + `…"`, strings.Repeat("x", 81): `"` + strings.Repeat("x", 77) + `…"`,
		strings.Repeat("x", 80): strings.Repeat("x", 80), strings.Repeat("\x80", 100): `"…"`,
	} {
		if got := Show(text); got != want {
			t.Errorf("%q is shown as %s, want %s", text, got, want)
		}
	}
}
