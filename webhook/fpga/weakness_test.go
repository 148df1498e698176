package fpga_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/fpga"
)

// The numbers are those of section 8 of the specification: what the reference gets wrong.

func TestInitContainersAndSidecarsAreTranslatedAndChecked(t *testing.T) { // 8.28
	spec := "{initContainers: [{name: i, resources: " + asks(fp+"n3o", "1") + "}, {name: s, restartPolicy: Always, resources: " + asks(fp+"n0p", "1") + ", env: [{name: A, value: b}]}], " +
		"containers: [{name: c, resources: " + asks(fp+"a10", "2") + "}]}"
	want := "{initContainers: [{name: i, resources: " + asks(regionDCP12, "1") + ", env: " + env("FPGA_AFU_1", nlb3, "FPGA_REGION_1", dcp12) + "}, " +
		"{name: s, restartPolicy: Always, resources: " + asks(afNLB0, "1") + ", env: [{name: A, value: b}]}], containers: [{name: c, resources: " + asks(regionDCP12, "2") + "}]}"
	got, v := translated(t, spec, ns1(), fpga.Options{})
	if diff := samePod(decodePod(t, pod(t, want)), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	roles := []string{}
	for _, f := range v.Containers {
		roles = append(roles, f.Role+" "+f.Name)
	}
	if diff := cmp.Diff([]string{"init container i", "sidecar s", "container c"}, roles); diff != "" {
		t.Errorf("findings (-want +got)\n%s", diff)
	}
	wantDenied(t, "{initContainers: [{name: i, resources: "+asks(regionDCP12, "1")+"}], containers: [{name: c}]}", nil, "init container i: no mapping")
}

func TestARawNameIsNoWayToChooseTheFunction(t *testing.T) { // 8.29
	wantDenied(t, "containers: [{name: c, resources: "+asks(regionDCP12, "1")+", env: "+env("FPGA_AFU_1", strings.Repeat("a", 32), "FPGA_REGION_1", dcp12)+"}]",
		table(function("n3o", "region", dcp12, nlb3)), "container c: sets FPGA_AFU_1=aaaa")
}

func TestS8IsDenied(t *testing.T) { // 8.29, sample S8
	wantDenied(t, "containers: [{name: c, resources: "+asks(fp+"n3o", "1")+", env: "+env("FPGA_REGION_1", "evil", "FPGA_AFU", "evil", "A", "b")+"}]", ns1(), "container c: sets FPGA_REGION_1")
}

func TestValuesOfVariablesCannotBreakThePatch(t *testing.T) { // 8.30
	for _, value := range []string{
		`x"},{"name":"FPGA_AFU_1","value":"` + aocx, `"`, `\`, "\n\r\t", "\u2028\u0000\u007f", "日本語 🦀", `\u0022`, `</script>`, strings.Repeat("x", 1<<16), "~0~1/", "{{.}}", "%s%n",
	} {
		raw := pod(t, "containers: [{name: c, resources: "+asks(fp+"n3o", "1")+"}]")
		p := decodePod(t, raw)
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "Z", Value: value}}
		raw = encode(t, p)
		out := apply(t, raw, fpga.Translate(view(t, raw), "ns1", ns1(), fpga.Options{}))
		want := []corev1.EnvVar{{Name: "FPGA_AFU_1", Value: nlb3}, {Name: "FPGA_REGION_1", Value: dcp12}, {Name: "Z", Value: value}}
		if diff := cmp.Diff(want, decodePod(t, out).Spec.Containers[0].Env); diff != "" {
			t.Errorf("value %.40q (-want +got)\n%s", value, diff)
		}
	}
}

func TestEnvironmentSurvives(t *testing.T) { // 8.31
	const own = "{name: Z, value: '1'}, {name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}, {name: Z, value: '2'}, {name: B, value: '$(FPGA_AFU_1) $(Z) $$(A)'}, " +
		"{name: S, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}, {name: EMPTY}"
	spec := "containers: [{name: c, resources: " + asks(fp+"n3o", "1") + ", env: [" + own + "], envFrom: [{prefix: P_, configMapRef: {name: m}}]}]"
	want := "containers: [{name: c, resources: " + asks(regionDCP12, "1") + ", env: [{name: FPGA_AFU_1, value: " + nlb3 + "}, {name: FPGA_REGION_1, value: " + dcp12 + "}, " + own +
		"], envFrom: [{prefix: P_, configMapRef: {name: m}}]}]"
	got, _ := translated(t, spec, ns1(), fpga.Options{})
	if diff := samePod(decodePod(t, pod(t, want)), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestARawNameDoesNotHideTheOthers(t *testing.T) { // 8.32
	got, _ := translated(t, "containers: [{name: c, resources: "+asks(regionD5005, "1", fp+"a10", "1")+"}]", ns1(), fpga.Options{})
	want := decodePod(t, pod(t, "containers: [{name: c, resources: "+asks(regionD5005, "1", regionDCP12, "1")+"}]"))
	if diff := samePod(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for range 20 { // in any order of a map
		wantDenied(t, "containers: [{name: c, resources: "+asks(regionD5005, "1", fp+"unknown", "1")+"}]", ns1(), "named unknown")
	}
}

func TestOneTableServesManyAtOnce(t *testing.T) { // 8.33
	m := ns1()
	p := view(t, usualPod(t))
	done := make(chan string)
	for range 8 {
		go func() {
			last := ""
			for range 200 {
				last = fpga.Translate(p, "ns1", m, fpga.Options{ModeAffinity: true}).Denied
			}
			done <- last
		}()
	}
	for range 8 {
		if denied := <-done; denied != "" {
			t.Error(denied)
		}
	}
}

func TestHugeQuantitiesCostNothing(t *testing.T) { // 8.34
	const soon = 5 * time.Second // microseconds in truth; what costs anything here costs minutes
	for _, q := range []string{"1e9", "1000000000", "1e999999999", "1e-999999999", "9223372036854775807", "1Ei", strings.Repeat("9", 64), strings.Repeat("9", 1<<20), "1e99999999999999999999", "0.1e999999999"} {
		raw := pod(t, "containers: [{name: c, resources: "+asks(fp+"n3o", q)+"}]")
		began := time.Now()
		v := fpga.Translate(view(t, raw), "ns1", ns1(), fpga.Options{})
		if !strings.HasPrefix(v.Denied, "container c: "+fp+"n3o: limit ") || len(v.Denied) > 300 {
			t.Errorf("%.20s: denied %q", q, v.Denied)
		}
		if took := time.Since(began); took > soon {
			t.Errorf("%.20s took %v", q, took)
		}
	}
	// Pods of very many containers: the answer stays short, and comes soon.
	for name, c := range map[string]struct {
		containers int
		resource   string
		quantity   string
		words      []string
	}{
		"wrong names":  {1000, fp + "x", "1", []string{"container c: namespace ns1 has no", "named x", "(and 999 more)"}},
		"more names":   {20000, fp + "x", "0", []string{"named x", "(and 1024 more)"}},
		"many FPGAs":   {20000, fp + "n3o", "256", []string{"pod: its containers ask for 262144 FPGAs; the most is 1024 (and 1 more)"}},
		"none of many": {20000, fp + "n3o", "0", []string{"pod: its containers ask for FPGAs by 20000 names; the most is 1024"}},
	} {
		one := fmt.Sprintf(`{"name":"c","resources":{"limits":{%q:%q},"requests":{%q:%q}}}`, c.resource, c.quantity, c.resource, c.quantity)
		p := view(t, []byte(`{"spec":{"containers":[`+one+strings.Repeat(","+one, c.containers-1)+`]}}`))
		began := time.Now()
		v := fpga.Translate(p, "ns1", ns1(), fpga.Options{})
		if took := time.Since(began); took > soon {
			t.Errorf("%s took %v", name, took)
		}
		for _, w := range c.words {
			if !strings.Contains(v.Denied, w) || len(v.Denied) > 300 {
				t.Errorf("%s: denied %q, want %q", name, v.Denied, w)
			}
		}
		if check := fpga.Check(p, "ns1", ns1()); check.Denied == "" {
			t.Errorf("%s: Check allows it", name)
		}
	}
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("%sx%d", fp, i), "0")
	}
	wantDenied(t, "containers: [{name: c, resources: "+asks(names...)+"}]", ns1(), "by 300 names")
}

func TestAccessEndsWithTheMapping(t *testing.T) { // 8.35
	spec := "containers: [{name: c, resources: " + asks(regionDCP12, "1") + "}]"
	before := table(function("n3o", "region", dcp12, nlb3), region("a10", dcp12))
	for name, c := range map[string]struct {
		table  *fpga.Table
		denied bool
	}{
		"both":             {before, false},
		"one of two gone":  {table(region("a10", dcp12)), false},
		"changed":          {table(region("a10", d5005)), true},
		"became invalid":   {table(region("a10", "x")), true},
		"gone":             {table(), true},
		"no table":         {nil, true},
		"name in conflict": {table(function("x", "region", dcp12, nlb3), region("x", dcp12)), false},
	} {
		if v := fpga.Translate(view(t, pod(t, spec)), "ns1", c.table, fpga.Options{}); (v.Denied != "") != c.denied {
			t.Errorf("%s: denied %q", name, v.Denied)
		}
	}
}

func TestOnlyTheExactPrefixIsOurs(t *testing.T) { // 8.38
	for _, name := range []string{"fpga.intel.community/n3o", "fpga.intel.com.example/n3o", "xfpga.intel.com/n3o", "fpga.intel.com", "FPGA.intel.com/n3o", "requests.fpga.intel.com/n3o"} {
		for _, m := range []*fpga.Table{ns1(), nil} {
			if _, v := translated(t, "containers: [{name: c, resources: {limits: {"+name+": 1.5}}}]", m, fpga.Options{}); len(v.Patch) > 0 {
				t.Errorf("%s: %v", name, v.Patch)
			}
		}
	}
}

func TestQuantitiesAreComparedAsNumbers(t *testing.T) { // 8.38
	for _, request := range []string{`"2"`, "2", "2.0", `"2000m"`, `"2e0"`, `"0.2e1"`, `"2.000"`, `"+2"`, `" 2 "`, `"0.001953125Ki"`, `"002"`, "20e-1", `"2000000u"`, `"2000000000n"`, `"0.002k"`, `"2."`} {
		raw := []byte(`{"spec":{"containers":[{"name":"c","resources":{"limits":{"fpga.intel.com/n0p":"2"},"requests":{"fpga.intel.com/n0p":` + request + `}}}]}}`)
		v := fpga.Translate(view(t, raw), "ns1", ns1(), fpga.Options{})
		if v.Denied != "" || len(v.Patch) != 4 || v.Patch[2].Value != "2" {
			t.Errorf("%s: denied %q, patch %v", request, v.Denied, v.Patch)
		}
	}
}

func TestTheSamePodAlwaysGivesTheSamePatch(t *testing.T) { // 5.4: order unspecified in the reference
	objects := []v2.Object{function("n3o", "region", dcp12, nlb3), function("n0o", "region", dcp12, nlb0), function("mm", "region", d5005, aocx)}
	names := []string{fp + "n3o", fp + "n0o", fp + "mm"}
	first := ""
	for i := range 6 {
		a, b := i%3, (i+1+i/3)%3
		c := 3 - a - b
		m := table(objects[c], objects[a], objects[b])
		raw := pod(t, "containers: [{name: c, resources: "+asks(names[b], "1", names[c], "1", names[a], "1")+"}]")
		text, err := fpga.Translate(view(t, raw), "ns1", m, fpga.Options{ModeAffinity: true}).MarshalPatch()
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(text)
		}
		if diff := cmp.Diff(first, string(text)); diff != "" {
			t.Errorf("order %d%d%d (-first +now)\n%s", a, b, c, diff)
		}
	}
	if at := []int{strings.Index(first, aocx), strings.Index(first, nlb0), strings.Index(first, nlb3)}; at[0] < 0 || at[0] > at[1] || at[1] > at[2] {
		t.Errorf("numbering is not by name: %v", at)
	}
}
