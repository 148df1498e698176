package fpga_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/webhook/fpga"
)

func TestThePatchIsWhatEncodingJSONWouldWrite(t *testing.T) {
	odd := "a~/\"\\\n\u2028\u00e9</\x00"
	v := fpga.Verdict{Patch: []fpga.Operation{
		{Op: "remove", Path: "/a/b~1c"},
		{Op: "add", Path: "/" + odd, Value: odd},
		{Op: "replace", Path: "/x", Value: "2"},
		{Op: "add", Path: "/env", Value: []fpga.Variable{{Name: "A", Value: "1"}, {Name: odd, Value: odd}}},
		{Op: "add", Path: "/env/0", Value: &fpga.Variable{Name: "A", Value: ""}},
		{Op: "add", Path: "/affinity", Value: json.RawMessage(`{"a":[]}`)},
		{Op: "add", Path: "/other", Value: map[string]int{"n": 1}},
	}}
	got, err := v.MarshalPatch()
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(v.Patch)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, a); diff != "" || !bytes.Equal(got, want) {
		t.Errorf("%s\nwant %s\n%s", got, want, diff)
	}
	if got, err := (fpga.Verdict{}).MarshalPatch(); err != nil || string(got) != "null" {
		t.Errorf("no patch is %s, %v", got, err)
	}
	if _, err := (fpga.Verdict{Patch: []fpga.Operation{{Op: "add", Path: "/x", Value: func() {}}}}).MarshalPatch(); err == nil {
		t.Error("a function is no JSON")
	}
}

// Names of a mapping file that no API server has looked at.
func TestNamesAreEscapedInPaths(t *testing.T) {
	for _, name := range []string{"a/b", "a~b", "~1", "~0/~1", `a"b`, "é", "a b"} {
		m := table(function(name, "af", dcp12, nlb0))
		raw, err := json.Marshal(map[string]any{"spec": map[string]any{"containers": []any{map[string]any{
			"resources": map[string]any{"limits": map[string]any{fp + name: "1"}, "requests": map[string]any{fp + name: "1"}},
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		v := fpga.Translate(view(t, raw), "ns1", m, fpga.Options{})
		if v.Denied != "" {
			t.Errorf("%s: %s", name, v.Denied)
			continue
		}
		out := decodePod(t, apply(t, raw, v))
		if list := out.Spec.Containers[0].Resources.Limits; len(list) != 1 || has(list, afNLB0) != 1 {
			t.Errorf("%s: %v", name, list)
		}
	}
}
