package fpga_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/fpga"
)

// A pod is denied for want of mappings alone, or not only for that. In the first case the same pod is allowed by a table
// that has them too.
func TestWhatAPodLacksIsToldIfItLacksNothingElse(t *testing.T) {
	const pair = "FPGA_REGION_%[1]d, value: " + dcp12 + "}, {name: FPGA_AFU_%[1]d, value: "
	one := func(asks, env string) string {
		return "{containers: [{name: c, resources: {limits: {" + asks + "}, requests: {" + asks + "}}, env: [" + env + "]}]}"
	}
	both := one(regionDCP12+": 2", "{name: "+fmt.Sprintf(pair, 1)+nlb0+"}, {name: "+fmt.Sprintf(pair, 2)+nlb3+"}")
	name := func(n string) fpga.Sought { return fpga.Sought{Name: n} }
	n3o, n0o, n3p, a10 := function("n3o", "region", dcp12, nlb3), function("n0o", "region", dcp12, nlb0),
		function("n3p", "af", dcp12, nlb3), region("a10", dcp12)
	var nine []string
	for i := range fpga.MaxSought + 1 {
		nine = append(nine, fmt.Sprintf("fpga.intel.com/n%d: 1", i))
	}
	for _, tt := range []struct {
		name  string
		check bool
		spec  string
		has   []v2.Object // of the table
		want  []fpga.Sought
		late  []v2.Object
	}{
		{"a name", false, one("fpga.intel.com/n3o: 1", ""), nil, []fpga.Sought{name("n3o")}, []v2.Object{n3o}},
		{"one of two names", false, one("fpga.intel.com/n0o: 1, fpga.intel.com/n3o: 1", ""), []v2.Object{n0o}, []fpga.Sought{name("n3o")}, []v2.Object{n3o}},
		{
			"names of two containers, one of them twice", false,
			"{containers: [{name: a, resources: {limits: {fpga.intel.com/n3o: 1}, requests: {fpga.intel.com/n3o: 1}}}, " +
				"{name: b, resources: {limits: {fpga.intel.com/n3o: 1, fpga.intel.com/n0o: 1}, requests: {fpga.intel.com/n3o: 1, fpga.intel.com/n0o: 1}}}]}",
			nil,
			[]fpga.Sought{name("n3o"), name("n0o")},
			[]v2.Object{n3o, n0o},
		},
		{"a region", false, one(regionDCP12+": 1", ""), nil, []fpga.Sought{{Interface: dcp12}}, []v2.Object{a10}},
		{"a region, checked", true, one(regionDCP12+": 1", ""), nil, []fpga.Sought{{Interface: dcp12}}, []v2.Object{a10}},
		{"a function of mode af, checked", true, one(afNLB3+": 1", ""), []v2.Object{a10}, []fpga.Sought{{Interface: dcp12, Function: nlb3}}, []v2.Object{n3p}},
		{
			"functions of a region, checked", true, both, nil,
			[]fpga.Sought{{Interface: dcp12, Function: nlb0}, {Interface: dcp12, Function: nlb3}},
			[]v2.Object{n0o, n3o},
		},
		{"one function of a known region, checked", true, both, []v2.Object{n0o, a10}, []fpga.Sought{{Interface: dcp12, Function: nlb3}}, []v2.Object{n3o}},

		{"nothing", false, one("fpga.intel.com/n3o: 1", ""), []v2.Object{n3o}, nil, nil},
		{"a name, checked: it would be denied all the same", true, one("fpga.intel.com/n3o: 1", ""), nil, nil, nil},
		{"a mapping that is there and leads nowhere", false, one("fpga.intel.com/odd: 1", ""), []v2.Object{function("odd", "afoo", dcp12, nlb0)}, nil, nil},
		{"a name, and a variable of its own", false, one("fpga.intel.com/n3o: 1", "{name: FPGA_AFU_1, value: x}"), nil, nil, nil},
		{"a name, and a number that cannot be", false, one("fpga.intel.com/n3o: 1.5", ""), nil, nil, nil},
		{"more names than one pod has", false, one(strings.Join(nine, ", "), ""), nil, nil, nil},
		{"a pair of a region that it does not ask for", true, one(regionD5005+": 1", "{name: "+fmt.Sprintf(pair, 1)+nlb0+"}"), nil, nil, nil},
		{"a pair without its half", true, one(regionDCP12+": 2", "{name: "+fmt.Sprintf(pair, 1)+nlb0+"}, {name: FPGA_AFU_2, value: "+nlb0+"}"), nil, nil, nil},
		{"a pair without a function", true, one(regionDCP12+": 1", "{name: "+fmt.Sprintf(pair, 1)+`""}`), nil, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := view(t, pod(t, tt.spec))
			judge := func(table *fpga.Table) fpga.Verdict {
				if tt.check {
					return fpga.Check(p, "ns1", table)
				}
				return fpga.Translate(p, "ns1", table, fpga.Options{})
			}
			known := table(tt.has...)
			v := judge(known)
			if diff := cmp.Diff(tt.want, v.Sought); diff != "" {
				t.Errorf("denied %q, sought (-want +got):\n%s", v.Denied, diff)
			}
			if tt.want == nil {
				return
			}
			var late []fpga.Entry
			for _, o := range tt.late {
				late = append(late, fpga.EntryOf(o))
			}
			got, whole := judge(known.With(late)), judge(table(slices.Concat(tt.has, tt.late)...))
			if got.Denied != "" || len(got.Sought) > 0 {
				t.Errorf("with what it lacked: %q", got.Denied)
			}
			if diff := cmp.Diff(whole, got); diff != "" {
				t.Errorf("with what it lacked and from the beginning (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsSoughtOutlivesThePod(t *testing.T) {
	raw := pod(t, "{containers: [{name: c, resources: {limits: {fpga.intel.com/n3o: 1, "+afNLB0+": 1}, requests: {fpga.intel.com/n3o: 1, "+afNLB0+": 1}}}]}")
	got := fpga.Translate(view(t, raw), "ns1", nil, fpga.Options{}).Sought
	clear(raw)
	if diff := cmp.Diff([]fpga.Sought{{Interface: dcp12, Function: nlb0}, {Name: "n3o"}}, got); diff != "" {
		t.Errorf("sought (-want +got):\n%s", diff)
	}
}

func TestWhatATableHasIsNotReplacedByWhatWasFound(t *testing.T) {
	known := table(function("n", "region", dcp12, nlb0))
	if known.With(nil) != known {
		t.Error("nothing makes another table")
	}
	var none *fpga.Table
	found := []fpga.Entry{fpga.EntryOf(function("n", "region", dcp12, nlb3)), fpga.EntryOf(region("a10", dcp12))}
	for _, tt := range []struct {
		table *fpga.Table
		want  string
	}{{known, nlb0}, {none, nlb3}} {
		p := view(t, pod(t, "{containers: [{name: c, resources: {limits: {fpga.intel.com/n: 1}, requests: {fpga.intel.com/n: 1}}}]}"))
		v := fpga.Translate(p, "ns1", tt.table.With(found), fpga.Options{})
		if len(v.Containers) == 0 || len(v.Containers[0].Sets) == 0 || v.Containers[0].Sets[0].Value != tt.want {
			t.Errorf("%+v; want the function %s", v, tt.want)
		}
		if ok, _, _, _ := tt.table.With(found).Ready(v2.KindFpgaRegion, "a10"); !ok {
			t.Error("what was found is not there")
		}
	}
}
