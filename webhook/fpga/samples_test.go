package fpga_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/inlay-project/inlay/webhook/fpga"
)

// Section 5.5 of the specification, S8 and the table of 5.4 where Inlay's rules are other ones.
func TestPodsBecomeWhatTheSpecificationSays(t *testing.T) {
	const pairN3 = "{name: FPGA_AFU_1, value: " + nlb3 + "}, {name: FPGA_REGION_1, value: " + dcp12 + "}"
	for name, c := range map[string]struct {
		spec, want string
		operations int
	}{
		"S1: one function to be programmed": {
			"containers: [{name: c, resources: " + asks("cpu", "1", fp+"n3o", "1") + ", env: [{name: SOME_VAR, value: x}]}]",
			"containers: [{name: c, resources: " + asks("cpu", "1", regionDCP12, "1") + ", env: [" + pairN3 + ", {name: SOME_VAR, value: x}]}]", 5,
		},
		"S1 without env": {
			"containers: [{name: c, resources: " + asks("cpu", "1", fp+"n3o", "1") + "}]",
			"containers: [{name: c, resources: " + asks("cpu", "1", regionDCP12, "1") + ", env: [" + pairN3 + "]}]", 5,
		},
		"S2: two names of one region": {
			"containers: [{name: c, resources: " + asks(fp+"n3o", "1", fp+"n0o", "2") + "}]",
			"containers: [{name: c, resources: " + asks(regionDCP12, "3") + ", env: [" +
				"{name: FPGA_AFU_1, value: " + nlb0 + "}, {name: FPGA_AFU_2, value: " + nlb0 + "}, {name: FPGA_AFU_3, value: " + nlb3 + "}, " +
				"{name: FPGA_REGION_1, value: " + dcp12 + "}, {name: FPGA_REGION_2, value: " + dcp12 + "}, {name: FPGA_REGION_3, value: " + dcp12 + "}]}]", 7,
		},
		"S3: a function that is there": {
			"containers: [{name: c, resources: " + asks(fp+"n0p", "2") + "}]",
			"containers: [{name: c, resources: " + asks(afNLB0, "2") + "}]", 4,
		},
		"S4: a region to develop on": {
			"containers: [{name: c, resources: " + asks(fp+"a10", "1") + "}]",
			"containers: [{name: c, resources: " + asks(regionDCP12, "1") + "}]", 4,
		},
		"S5: a resource by its own name": {
			"containers: [{name: c, resources: " + asks(regionDCP12, "1") + "}]",
			"containers: [{name: c, resources: " + asks(regionDCP12, "1") + "}]", 0,
		},
		"S5: an af resource by its own name": {
			"containers: [{name: c, resources: " + asks(afNLB0, "1") + "}]",
			"containers: [{name: c, resources: " + asks(afNLB0, "1") + "}]", 0,
		},
		"S7: two containers, two modes": {
			"containers: [{name: a, resources: " + asks(fp+"n3o", "1") + "}, {name: b, resources: " + asks(fp+"n0p", "1") + "}]",
			"containers: [{name: a, resources: " + asks(regionDCP12, "1") + ", env: [" + pairN3 + "]}, {name: b, resources: " + asks(afNLB0, "1") + "}]", 9,
		},
		"numbering begins anew in each container": {
			"containers: [{name: a, resources: " + asks(fp+"n3o", "1") + "}, {name: b, resources: " + asks(fp+"n3o", "1") + "}]",
			"containers: [{name: a, resources: " + asks(regionDCP12, "1") + ", env: [" + pairN3 + "]}, " +
				"{name: b, resources: " + asks(regionDCP12, "1") + ", env: [" + pairN3 + "]}]", 10,
		},
		"no FPGA": {
			"containers: [{name: c, resources: " + asks("cpu", "1") + ", env: [{name: A, value: b}]}]",
			"containers: [{name: c, resources: " + asks("cpu", "1") + ", env: [{name: A, value: b}]}]", 0,
		},
		"quantity 0": {
			"containers: [{name: c, resources: " + asks(fp+"n3o", "0") + "}]",
			"containers: [{name: c, resources: " + asks(regionDCP12, "0") + "}]", 4,
		},
		"alias and raw name of one resource": {
			"containers: [{name: c, resources: " + asks(fp+"n0p", "2", afNLB0, "1") + "}]",
			"containers: [{name: c, resources: " + asks(afNLB0, "3") + "}]", 4,
		},
		"alias of none and raw name of one resource": {
			"containers: [{name: c, resources: " + asks(fp+"n0p", "0", afNLB0, "1") + "}]",
			"containers: [{name: c, resources: " + asks(afNLB0, "1") + "}]", 2,
		},
		"FpgaRegion and raw name of its region": {
			"containers: [{name: c, resources: " + asks(fp+"a10", "1", regionDCP12, "1") + "}]",
			"containers: [{name: c, resources: " + asks(regionDCP12, "2") + "}]", 4,
		},
		"FpgaRegion and raw name of another region": {
			"containers: [{name: c, resources: " + asks(fp+"a10", "1", regionD5005, "1") + "}]",
			"containers: [{name: c, resources: " + asks(regionDCP12, "1", regionD5005, "1") + "}]", 4,
		},
		"two functions of mode af": {
			"containers: [{name: c, resources: " + asks(fp+"n0p", "1", fp+"n3p", "1") + "}]",
			"containers: [{name: c, resources: " + asks(afNLB0, "1", afNLB3, "1") + "}]", 8,
		},
		"AOCX hash": {
			"containers: [{name: c, resources: " + asks(fp+"mm", "1") + "}]",
			"containers: [{name: c, resources: " + asks(regionD5005, "1") +
				", env: [{name: FPGA_AFU_1, value: " + aocx + "}, {name: FPGA_REGION_1, value: " + d5005 + "}]}]", 5,
		},
		"no containers": {"containers: []", "containers: []", 0},
		"empty spec":    {"{}", "{}", 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, v := translated(t, c.spec, ns1(), fpga.Options{})
			if diff := samePod(decodePod(t, pod(t, c.want)), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if len(v.Patch) != c.operations {
				t.Errorf("%d operations, want %d: %v", len(v.Patch), c.operations, v.Patch)
			}
			if len(v.Warnings) > 0 && c.operations != 9 {
				t.Errorf("warnings %q", v.Warnings)
			}
		})
	}
}

func TestPodsAreDeniedAsTheSpecificationSays(t *testing.T) {
	one := func(resources string) string { return "containers: [{name: c, resources: " + resources + "}]" }
	for name, c := range map[string]struct {
		spec  string
		table *fpga.Table
		words []string
	}{
		"S5: raw name without a mapping":     {one(asks(regionDCP12, "1")), nil, []string{"container c: no mapping of namespace ns1 leads to " + regionDCP12}},
		"S5: raw af name without a mapping":  {one(asks(afNLB0, "1")), table(function("n0o", "region", dcp12, nlb0)), []string{"no mapping of namespace ns1 leads to " + afNLB0}},
		"raw region, mapping of mode af":     {one(asks(regionDCP12, "1")), table(function("n0p", "af", dcp12, nlb0)), []string{"no mapping"}},
		"S6: two modes":                      {one(asks(fp+"n3o", "1", fp+"n0p", "1")), ns1(), []string{"n0p (AcceleratorFunction, mode af)", "n3o (AcceleratorFunction, mode region)", "cannot be in one container"}},
		"af and regiondevel":                 {one(asks(fp+"a10", "1", fp+"n0p", "1")), ns1(), []string{"mode regiondevel", "mode af"}},
		"region and regiondevel":             {one(asks(fp+"a10", "1", fp+"n3o", "1")), ns1(), []string{"mode regiondevel", "mode region)"}},
		"region and raw region":              {one(asks(fp+"n3o", "1", regionDCP12, "1")), ns1(), []string{"by its own name", "nothing would say what to program"}},
		"region and another raw region":      {one(asks(fp+"n3o", "1", regionD5005, "1")), ns1(), []string{"by its own name"}},
		"raw region and raw af":              {one(asks(afNLB0, "1", regionDCP12, "1")), ns1(), []string{"cannot be in one container"}},
		"raw af and region":                  {one(asks(afNLB0, "1", fp+"n3o", "1")), ns1(), []string{"cannot be in one container"}},
		"FpgaRegion, raw region, region":     {one(asks(fp+"a10", "1", regionDCP12, "1", fp+"n3o", "1")), ns1(), []string{"cannot be in one container"}},
		"S6: unknown name":                   {one(asks(fp+"unknown", "1")), ns1(), []string{"container c: namespace ns1 has no AcceleratorFunction or FpgaRegion named unknown", "a10, d5, mm, n0o, n0p and 2 more"}},
		"unknown name, no mappings":          {one(asks(fp+"n3o", "1")), nil, []string{"named n3o"}},
		"empty name":                         {one(asks(fp, "1")), ns1(), []string{`named ""`}},
		"a mapping that leads nowhere":       {one(asks(fp+"odd", "1")), ns1(), []string{"AcceleratorFunction odd", `mode "afoo" is neither af nor region`}},
		"S6: limits only":                    {one("{limits: {" + fp + "n3o: 1}}"), ns1(), []string{"is in its limits and not in its requests"}},
		"requests only":                      {one("{requests: {" + fp + "n3o: 1}}"), ns1(), []string{"is in its requests and not in its limits"}},
		"S6: limit 1, request 2":             {one("{limits: {" + fp + "n3o: 1}, requests: {" + fp + "n3o: 2}}"), ns1(), []string{"limit 1 and request 2 differ"}},
		"crossed names":                      {one("{limits: {" + fp + "n3o: 1}, requests: {" + fp + "n0o: 1}}"), ns1(), []string{"(and 1 more)"}},
		"raw name, limits only":              {one("{limits: {" + regionDCP12 + ": 1}}"), ns1(), []string{"not in its requests"}},
		"S6: 1.1":                            {one(asks(fp+"n3o", "1.1")), ns1(), []string{"1.1 is not a whole number"}},
		"S6: 1100m":                          {one(asks(fp+"n3o", "1100m")), ns1(), []string{"1100m is not a whole number"}},
		"more than a container can have":     {one(asks(fp+"n3o", "257")), ns1(), []string{"257 is more than the 256"}},
		"more than a container can have sum": {one(asks(fp+"n3o", "200", fp+"n0o", "57")), ns1(), []string{"asks for 257 FPGAs; the most is 256"}},
		"FPGA of the pod as a whole":         {"{resources: " + asks(fp+"n3o", "1") + "}", ns1(), []string{"pod: spec.resources asks for " + fp + "n3o"}},
	} {
		t.Run(name, func(t *testing.T) { wantDenied(t, c.spec, c.table, c.words...) })
	}
}

func TestAPodAsksForAtMost1024(t *testing.T) {
	full := "{name: c, resources: " + asks(fp+"n3o", "256") + "}"
	four := full + ", " + full + ", " + full + ", " + full
	if _, v := translated(t, "containers: ["+four+"]", ns1(), fpga.Options{}); len(v.Patch) != 4*5 {
		t.Errorf("%d operations", len(v.Patch))
	}
	wantDenied(t, "{containers: ["+four+"], initContainers: [{name: i, resources: "+asks(fp+"n3o", "1")+"}]}", ns1(), "pod: its containers ask for 1025 FPGAs")
}

func TestAllReasonsAreCountedAndTheFirstIsTold(t *testing.T) {
	wantDenied(t, "{initContainers: [{name: i, resources: "+asks(fp+"x", "1", fp+"y", "1")+"}], containers: [{name: c, resources: "+asks(fp+"z", "1")+"}]}",
		ns1(), "init container i: namespace ns1 has no AcceleratorFunction or FpgaRegion named x", "(and 2 more)")
}

// An API server applies a patch to the pod as it writes it, not as the user did.
func TestThePatchFitsTheEncodedPodToo(t *testing.T) {
	spec := "containers: [{name: c, env: [], resources: " + asks(fp+"n3o", "1000m") + "}]"
	written := pod(t, spec)
	v := fpga.Translate(view(t, written), "ns1", ns1(), fpga.Options{})
	first := apply(t, written, v)
	encoded := encode(t, decodePod(t, written))
	second := apply(t, encoded, fpga.Translate(view(t, encoded), "ns1", ns1(), fpga.Options{}))
	if diff := samePod(decodePod(t, first), decodePod(t, second)); diff != "" {
		t.Errorf("(-as written +as encoded)\n%s", diff)
	}
	if !jsonpatch.Equal(encode(t, decodePod(t, first)), encode(t, decodePod(t, second))) {
		t.Error("the pods are not the same JSON")
	}
}

func TestThePatchOfASampleIsTheExpectedText(t *testing.T) {
	v := fpga.Translate(view(t, pod(t, "containers: [{resources: "+asks(fp+"n3o", "1")+", env: [{name: SOME_VAR, value: x}]}]")), "ns1", ns1(), fpga.Options{})
	got, err := v.MarshalPatch()
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"op":"remove","path":"/spec/containers/0/resources/limits/fpga.intel.com~1n3o"},` +
		`{"op":"remove","path":"/spec/containers/0/resources/requests/fpga.intel.com~1n3o"},` +
		`{"op":"add","path":"/spec/containers/0/resources/limits/fpga.intel.com~1region-69528db6eb31577a8c3668f9faa081f6","value":"1"},` +
		`{"op":"add","path":"/spec/containers/0/resources/requests/fpga.intel.com~1region-69528db6eb31577a8c3668f9faa081f6","value":"1"},` +
		`{"op":"add","path":"/spec/containers/0/env","value":[{"name":"FPGA_AFU_1","value":"f7df405cbd7acf7222f144b0b93acd18"},` +
		`{"name":"FPGA_REGION_1","value":"69528db6eb31577a8c3668f9faa081f6"},{"name":"SOME_VAR","value":"x"}]}]`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
