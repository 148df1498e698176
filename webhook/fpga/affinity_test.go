package fpga_test

import (
	"strings"
	"testing"

	"github.com/inlay-project/inlay/webhook/fpga"
)

func TestNodeAffinityOfTheMode(t *testing.T) {
	const (
		required = "requiredDuringSchedulingIgnoredDuringExecution"
		ours     = "{key: fpga.intel.com/mode, operator: In, values: [region]}"
		zone     = "{key: zone, operator: In, values: [a, b]}"
		fields   = "matchFields: [{key: metadata.name, operator: In, values: [node-1]}]"
		prefer   = "preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [" + zone + "]}}]"
		apart    = "podAntiAffinity: {" + required + ": [{topologyKey: host}]}"
	)
	terms := func(terms string) string {
		return "{nodeAffinity: {" + required + ": {nodeSelectorTerms: " + terms + "}}}"
	}
	for name, c := range map[string]struct{ before, after string }{
		"none":                      {"", terms("[{matchExpressions: [" + ours + "]}]")},
		"null":                      {"null", terms("[{matchExpressions: [" + ours + "]}]")},
		"empty":                     {"{}", terms("[{matchExpressions: [" + ours + "]}]")},
		"of pods only":              {"{" + apart + "}", "{" + apart + ", nodeAffinity: {" + required + ": {nodeSelectorTerms: [{matchExpressions: [" + ours + "]}]}}}"},
		"empty node affinity":       {"{nodeAffinity: {}}", terms("[{matchExpressions: [" + ours + "]}]")},
		"null node affinity":        {"{nodeAffinity: null}", terms("[{matchExpressions: [" + ours + "]}]")},
		"preferred only":            {"{nodeAffinity: {" + prefer + "}}", "{nodeAffinity: {" + prefer + ", " + required + ": {nodeSelectorTerms: [{matchExpressions: [" + ours + "]}]}}}"},
		"null required":             {"{nodeAffinity: {" + required + ": null}}", terms("[{matchExpressions: [" + ours + "]}]")},
		"one term":                  {terms("[{matchExpressions: [" + zone + "]}]"), terms("[{matchExpressions: [" + zone + ", " + ours + "]}]")},
		"each of two terms":         {terms("[{matchExpressions: [" + zone + "]}, {matchExpressions: [" + zone + "]}]"), terms("[{matchExpressions: [" + zone + ", " + ours + "]}, {matchExpressions: [" + zone + ", " + ours + "]}]")},
		"fields only":               {terms("[{" + fields + "}]"), terms("[{" + fields + ", matchExpressions: [" + ours + "]}]")},
		"fields, empty expressions": {terms("[{" + fields + ", matchExpressions: []}]"), terms("[{" + fields + ", matchExpressions: [" + ours + "]}]")},
		"fields and expressions":    {terms("[{" + fields + ", matchExpressions: [" + zone + "]}]"), terms("[{" + fields + ", matchExpressions: [" + zone + ", " + ours + "]}]")},
		"there already":             {terms("[{matchExpressions: [" + ours + "]}]"), terms("[{matchExpressions: [" + ours + "]}]")},
		"there in one of two":       {terms("[{matchExpressions: [" + ours + "]}, {matchExpressions: [" + zone + "]}]"), terms("[{matchExpressions: [" + ours + "]}, {matchExpressions: [" + zone + ", " + ours + "]}]")},
		"another mode":              {terms("[{matchExpressions: [" + strings.Replace(ours, "region", "af", 1) + "]}]"), terms("[{matchExpressions: [" + strings.Replace(ours, "region", "af", 1) + ", " + ours + "]}]")},
		"the mode excluded":         {terms("[{matchExpressions: [" + strings.Replace(ours, "In", "NotIn", 1) + "]}]"), terms("[{matchExpressions: [" + strings.Replace(ours, "In", "NotIn", 1) + ", " + ours + "]}]")},
		"two modes":                 {terms("[{matchExpressions: [" + strings.Replace(ours, "[region]", "[region, af]", 1) + "]}]"), terms("[{matchExpressions: [" + strings.Replace(ours, "[region]", "[region, af]", 1) + ", " + ours + "]}]")},
		"a term that matches none":  {terms("[{}, {matchExpressions: []}, {matchExpressions: [" + zone + "]}]"), terms("[{}, {matchExpressions: []}, {matchExpressions: [" + zone + ", " + ours + "]}]")},
		"no terms":                  {terms("[]"), terms("[]")},
	} {
		t.Run(name, func(t *testing.T) {
			spec := func(affinity, c string) string {
				if affinity == "" {
					return "{containers: [" + c + "]}"
				}
				return "{affinity: " + affinity + ", containers: [" + c + "]}"
			}
			got, v := translated(t, spec(c.before, "{name: c, resources: "+asks(fp+"n3o", "1")+"}"), ns1(), fpga.Options{ModeAffinity: true})
			want := decodePod(t, pod(t, spec(c.after, "{name: c, resources: "+asks(regionDCP12, "1")+", env: "+env("FPGA_AFU_1", nlb3, "FPGA_REGION_1", dcp12)+"}")))
			if diff := samePod(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if (v.NodeMode == "region") != (c.before != c.after) {
				t.Errorf("NodeMode %q", v.NodeMode)
			}
			if got, _ := translated(t, spec(c.before, "{name: c, resources: "+asks(fp+"n3o", "1")+"}"), ns1(), fpga.Options{}); c.before == "" && got.Spec.Affinity != nil {
				t.Errorf("affinity without the option: %v", got.Spec.Affinity)
			}
		})
	}
}

func TestEachModeHasItsAffinity(t *testing.T) {
	for name, c := range map[string]struct{ containers, mode, warning string }{
		"region":                 {"{name: c, resources: " + asks(fp+"n3o", "1") + "}", "region", ""},
		"af":                     {"{name: c, resources: " + asks(fp+"n0p", "1") + "}", "af", ""},
		"regiondevel":            {"{name: c, resources: " + asks(fp+"a10", "1") + "}", "regiondevel", ""},
		"twice one mode":         {"{name: c, resources: " + asks(fp+"n0p", "1") + "}, {name: d, resources: " + asks(fp+"n3p", "1") + "}", "af", ""},
		"raw name":               {"{name: c, resources: " + asks(afNLB0, "1") + "}", "", ""},
		"no FPGA":                {"{name: c}", "", ""},
		"none of it":             {"{name: c, resources: " + asks(fp+"n0p", "0") + "}", "", ""},
		"two modes (S7)":         {"{name: c, resources: " + asks(fp+"n3o", "1") + "}, {name: d, resources: " + asks(fp+"n0p", "1") + "}", "", "modes region and af; the cards of a node are all of one mode"},
		"region and regiondevel": {"{name: c, resources: " + asks(fp+"a10", "1") + "}, {name: d, resources: " + asks(fp+"n3o", "1") + "}", "", "modes regiondevel and region"},
		"another mode, of none":  {"{name: c, resources: " + asks(fp+"n3o", "1") + "}, {name: d, resources: " + asks(fp+"n0p", "0") + "}", "region", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, v := translated(t, "containers: ["+c.containers+"]", ns1(), fpga.Options{ModeAffinity: true})
			mode := ""
			if a := got.Spec.Affinity; a != nil {
				mode = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchExpressions[0].Values[0]
			}
			if mode != c.mode || string(v.NodeMode) != c.mode {
				t.Errorf("affinity to mode %q, NodeMode %q; want %q", mode, v.NodeMode, c.mode)
			}
			if warnings := strings.Join(v.Warnings, "\n"); !strings.Contains(warnings, c.warning) || (warnings == "") != (c.warning == "") {
				t.Errorf("warnings %q, want %q", warnings, c.warning)
			}
		})
	}
}

func TestWarningsAreFewAndShort(t *testing.T) {
	long := strings.Repeat("n", 63)
	spec := "{name: " + long + ", resources: " + asks(regionDCP12, "1") + "}"
	_, v := translated(t, "containers: ["+spec+strings.Repeat(", "+spec, 20)+"]", table(function("n3o", "region", dcp12, nlb3)), fpga.Options{})
	if len(v.Warnings) != 8 {
		t.Errorf("%d warnings", len(v.Warnings))
	}
	for _, w := range v.Warnings {
		if len(w) > 200 || !strings.Contains(w, "without FPGA_AFU_n, and no FpgaRegion leads to it") {
			t.Errorf("%d bytes: %s", len(w), w)
		}
	}
	for _, m := range []*fpga.Table{ns1(), table(region("a10", dcp12))} {
		if _, v := translated(t, "containers: [{name: c, resources: "+asks(regionDCP12, "1")+"}]", m, fpga.Options{}); len(v.Warnings) > 0 {
			t.Errorf("warned of a region to develop on: %q", v.Warnings)
		}
	}
}
