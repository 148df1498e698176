package fpga_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/webhook/fpga"
)

// env writes variables of alternating names and values.
func env(pairs ...string) string {
	var es []string
	for i := 0; i < len(pairs); i += 2 {
		es = append(es, fmt.Sprintf("{name: %q, value: %q}", pairs[i], pairs[i+1]))
	}
	return "[" + strings.Join(es, ", ") + "]"
}

func TestAContainerMayBringExactlyWhatItWouldHaveBeenGiven(t *testing.T) {
	for name, c := range map[string]struct{ resources, env string }{
		"one pair":                       {asks(regionDCP12, "1"), env("FPGA_AFU_1", nlb3, "FPGA_REGION_1", dcp12)},
		"among others":                   {asks(regionDCP12, "1", "cpu", "1"), env("A", "b", "FPGA_REGION_1", dcp12, "A", "$(FPGA_AFU_1)", "FPGA_AFU_1", nlb3)},
		"two pairs of one region":        {asks(regionDCP12, "2"), env("FPGA_AFU_1", nlb3, "FPGA_AFU_2", nlb0, "FPGA_REGION_1", dcp12, "FPGA_REGION_2", dcp12)},
		"two regions":                    {asks(regionDCP12, "1", regionD5005, "1"), env("FPGA_AFU_1", aocx, "FPGA_AFU_2", nlb0, "FPGA_REGION_1", d5005, "FPGA_REGION_2", dcp12)},
		"a quantity written another way": {asks(regionDCP12, "1000m"), env("FPGA_AFU_1", nlb3, "FPGA_REGION_1", dcp12)},
		"a second region, of none":       {asks(regionDCP12, "1", regionD5005, "0"), env("FPGA_AFU_1", nlb3, "FPGA_REGION_1", dcp12)},
		"other names":                    {asks("cpu", "1"), env("FPGA", "x", "FPGA_", "x", "MY_FPGA_AFU_1", "x", "fpga_afu_1", "x", "FPGA_REGIO", "x", "FPGA_AF", "x")},
	} {
		t.Run(name, func(t *testing.T) {
			for _, list := range []string{"{containers: [%s]}", "{initContainers: [%s]}"} {
				spec := fmt.Sprintf(list, "{name: c, resources: "+c.resources+", env: "+c.env+"}")
				if _, v := translated(t, spec, ns1(), fpga.Options{ModeAffinity: true}); len(v.Patch)+len(v.Warnings) > 0 {
					t.Errorf("patch %v, warnings %q", v.Patch, v.Warnings)
				}
			}
		})
	}
}

func TestReservedVariablesAreDenied(t *testing.T) {
	good := env("FPGA_AFU_1", nlb3, "FPGA_REGION_1", dcp12)
	for name, c := range map[string]struct {
		resources, env string
		words          []string
	}{
		"without an FPGA":            {"{}", env("A", "b", "FPGA_REGION_1", dcp12), []string{"sets FPGA_REGION_1", "take them out"}},
		"without an FPGA, AFU":       {"{}", env("FPGA_AFU_1", nlb3), []string{"sets FPGA_AFU_1", "set by inlay-webhook alone"}},
		"without underscore":         {"{}", env("FPGA_REGIONS", "x"), []string{"sets FPGA_REGIONS"}},
		"bare":                       {"{}", env("FPGA_AFU", ""), []string{"sets FPGA_AFU"}},
		"beside an alias":            {asks(fp+"n3o", "1"), env("FPGA_AFU_2", nlb3), []string{"sets FPGA_AFU_2", "by the name of its mapping"}},
		"the alias's own pair":       {asks(fp+"n3o", "1"), good, []string{"sets FPGA_AFU_1", "it has 2 such variables"}},
		"beside mode af":             {asks(afNLB0, "1"), good, []string{"sets FPGA_AFU_1"}},
		"beside an alias of mode af": {asks(fp+"n0p", "1"), good, []string{"sets FPGA_AFU_1"}},
		"beside an FpgaRegion":       {asks(fp+"a10", "1"), good, []string{"sets FPGA_AFU_1"}},
		"raw region and FpgaRegion":  {asks(regionDCP12, "1", fp+"d5", "1"), good, []string{"sets FPGA_AFU_1"}},
		"no region asked for":        {asks(regionDCP12, "0"), good, []string{"sets FPGA_AFU_1"}},
		"one of the pair, region":    {asks(regionDCP12, "1"), env("FPGA_REGION_1", dcp12), []string{"and not FPGA_AFU_1"}},
		"one of the pair, AFU":       {asks(regionDCP12, "1"), env("FPGA_AFU_1", nlb3), []string{"and not FPGA_REGION_1"}},
		"fewer than asked for":       {asks(regionDCP12, "2"), good, []string{"and not FPGA_REGION_2"}},
		"more than asked for":        {asks(regionDCP12, "1"), env("FPGA_AFU_1", nlb3, "FPGA_REGION_1", dcp12, "FPGA_AFU_2", nlb3, "FPGA_REGION_2", dcp12), []string{"sets FPGA_AFU_2 and asks for 1 region ("}},
		"number 0":                   {asks(regionDCP12, "1"), env("FPGA_AFU_0", nlb3, "FPGA_REGION_0", dcp12), []string{"FPGA_AFU_0"}},
		"leading zero":               {asks(regionDCP12, "1"), env("FPGA_AFU_01", nlb3, "FPGA_REGION_01", dcp12), []string{"FPGA_AFU_01"}},
		"signed number":              {asks(regionDCP12, "1"), env("FPGA_AFU_+1", nlb3, "FPGA_REGION_1", dcp12), []string{"FPGA_AFU_+1"}},
		"other digits":               {asks(regionDCP12, "1"), env("FPGA_AFU_١", nlb3, "FPGA_REGION_1", dcp12), []string{"FPGA_AFU_"}},
		"huge number":                {asks(regionDCP12, "1"), env("FPGA_AFU_99999999999999999999", nlb3), []string{"FPGA_AFU_9999"}},
		"another name beside":        {asks(regionDCP12, "1"), env("FPGA_AFU_1", nlb3, "FPGA_REGION_1", dcp12, "FPGA_REGION", "x"), []string{"sets FPGA_REGION and asks for 1 region "}},
		"twice":                      {asks(regionDCP12, "1"), env("FPGA_AFU_1", nlb3, "FPGA_REGION_1", dcp12, "FPGA_AFU_1", nlb3), []string{"FPGA_AFU_1 twice"}},
		"valueFrom":                  {asks(regionDCP12, "1"), "[{name: FPGA_AFU_1, valueFrom: {configMapKeyRef: {name: m, key: k}}}, {name: FPGA_REGION_1, value: " + dcp12 + "}]", []string{"FPGA_AFU_1 from elsewhere"}},
		"value and valueFrom":        {asks(regionDCP12, "1"), "[{name: FPGA_AFU_1, value: " + nlb3 + ", valueFrom: {}}, {name: FPGA_REGION_1, value: " + dcp12 + "}]", []string{"FPGA_AFU_1 from elsewhere"}},
		"reference":                  {asks(regionDCP12, "1"), env("X", nlb3, "FPGA_AFU_1", "$(X)", "FPGA_REGION_1", dcp12), []string{"FPGA_AFU_1=$(X)"}},
		"function of no mapping":     {asks(regionDCP12, "1"), env("FPGA_AFU_1", strings.Repeat("0", 32), "FPGA_REGION_1", dcp12), []string{"FPGA_AFU_1=00000000000000000000000000000000", "no AcceleratorFunction of mode region in namespace ns1"}},
		"function of another region": {asks(regionDCP12, "1"), env("FPGA_AFU_1", aocx, "FPGA_REGION_1", dcp12), []string{"FPGA_AFU_1=" + aocx}},
		"region not asked for":       {asks(regionDCP12, "1"), env("FPGA_AFU_1", aocx, "FPGA_REGION_1", d5005), []string{"asks for 1 of " + regionDCP12 + " and sets functions for 0"}},
		"counts of regions crossed": {
			asks(regionDCP12, "1", regionD5005, "2"),
			env("FPGA_AFU_1", nlb3, "FPGA_REGION_1", dcp12, "FPGA_AFU_2", nlb3, "FPGA_REGION_2", dcp12, "FPGA_AFU_3", aocx, "FPGA_REGION_3", d5005),
			[]string{"sets functions for 2"},
		},
		"no function":        {asks(regionDCP12, "1"), env("FPGA_AFU_1", "", "FPGA_REGION_1", dcp12), []string{"FPGA_AFU_1=\"\""}},
		"in capitals":        {asks(regionDCP12, "1"), env("FPGA_AFU_1", strings.ToUpper(nlb3), "FPGA_REGION_1", dcp12), []string{"FPGA_AFU_1=F7DF"}},
		"space in the value": {asks(regionDCP12, "1"), env("FPGA_AFU_1", nlb3+" ", "FPGA_REGION_1", dcp12), []string{"FPGA_AFU_1="}},
	} {
		t.Run(name, func(t *testing.T) {
			for role, list := range map[string]string{
				"container c": "{containers: [%s]}", "init container c": "{initContainers: [%s], containers: [{name: d}]}",
				"sidecar c": "{initContainers: [{restartPolicy: Always, %s], containers: [{name: d}]}",
			} {
				text := "{name: c, resources: " + c.resources + ", env: " + c.env + "}"
				if strings.HasPrefix(role, "sidecar") {
					text = text[1:]
				}
				wantDenied(t, fmt.Sprintf(list, text), ns1(), append(c.words, role)...)
			}
		})
	}
}

func TestEnvFromWithAReservedPrefixIsDenied(t *testing.T) {
	for _, prefix := range []string{"FPGA_REGION", "FPGA_REGION_", "FPGA_AFU", "FPGA_AFU_", "FPGA_AFUX"} {
		for _, resources := range []string{"{}", asks(fp+"n3o", "1"), asks(regionDCP12, "1")} {
			wantDenied(t, "containers: [{name: c, resources: "+resources+", envFrom: [{secretRef: {name: s}}, {prefix: "+prefix+", configMapRef: {name: m}}]}]",
				ns1(), "container c", "envFrom with prefix "+prefix, "choose another prefix")
		}
	}
	for _, prefix := range []string{`""`, "FPGA", "FPGA_", "FPGA_REGIO", "X_FPGA_AFU_", "null"} {
		spec := "containers: [{name: c, resources: " + asks(fp+"n3o", "1") + ", envFrom: [{prefix: " + prefix + ", configMapRef: {name: m}}]}]"
		if got, _ := translated(t, spec, ns1(), fpga.Options{}); len(got.Spec.Containers[0].EnvFrom) != 1 {
			t.Errorf("envFrom %v", got.Spec.Containers[0].EnvFrom)
		}
	}
}

// A later webhook or a client that goes round ours meets the validating webhook.
func TestCheckDeniesWhatWasAddedAfterTranslation(t *testing.T) {
	raw := pod(t, "containers: [{name: a, resources: "+asks(fp+"n3o", "1")+"}, {name: b}]")
	out := string(apply(t, raw, fpga.Translate(view(t, raw), "ns1", ns1(), fpga.Options{})))
	for name, c := range map[string]struct{ from, to, word string }{
		"nothing":            {"", "", ""},
		"another function":   {`"name":"FPGA_AFU_1","value":"` + nlb3, `"name":"FPGA_AFU_1","value":"` + aocx, "container a: sets FPGA_AFU_1=" + aocx},
		"one more variable":  {`"env":[`, `"env":[{"name":"FPGA_AFU_1","value":"` + nlb0 + `"},`, "container a: sets FPGA_AFU_1 twice"},
		"in another one":     {`{"name":"b"}`, `{"name":"b","env":[{"name":"FPGA_AFU_1","value":"` + nlb0 + `"}]}`, "container b: sets FPGA_AFU_1"},
		"another name":       {`{"name":"b"}`, `{"name":"b","resources":{"limits":{"fpga.intel.com/n3o":"1"},"requests":{"fpga.intel.com/n3o":"1"}}}`, "container b: fpga.intel.com/n3o was not translated: it was added after"},
		"a region more":      {`"fpga.intel.com/region-` + dcp12 + `":"1"`, `"fpga.intel.com/region-` + dcp12 + `":"2"`, "and not FPGA_REGION_2"},
		"an init container":  {`"spec":{`, `"spec":{"initContainers":[{"name":"i","env":[{"name":"FPGA_REGION_1","value":"x"}]}],`, "init container i: sets FPGA_REGION_1"},
		"names without ours": {out, string(raw), "container a: fpga.intel.com/n3o was not translated"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.ReplaceAll(out, c.from, c.to)
			if c.from == "" {
				changed = out
			} else if changed == out {
				t.Fatalf("nothing to replace in %s", out)
			}
			v := fpga.Check(view(t, []byte(changed)), "ns1", ns1())
			if !strings.Contains(v.Denied, c.word) || (v.Denied == "") != (c.word == "") || len(v.Patch) > 0 {
				t.Errorf("denied %q, patch %v; want %q", v.Denied, v.Patch, c.word)
			}
		})
	}
}
