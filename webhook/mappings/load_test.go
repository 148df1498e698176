package mappings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

const (
	good      = v2.ReasonLeadsToResource
	functionF = "apiVersion: fpga.intel.com/v2\nkind: AcceleratorFunction\nmetadata: {name: f}\nspec: {mode: af, interfaceId: " + iface + ", afuId: " + nlb0 + "}\n"
	regionR   = "apiVersion: fpga.intel.com/v2\nkind: FpgaRegion\nmetadata: {name: r, namespace: b}\nspec: {interfaceId: " + iface + "}\n"
	jsonR     = `{"apiVersion":"fpga.intel.com/v2","kind":"FpgaRegion","metadata":{"name":"r","namespace":"b"},"spec":{"interfaceId":"` + iface + `"}}`
)

func files(t *testing.T, texts ...string) []string {
	t.Helper()
	var names []string
	for _, text := range texts {
		name := filepath.Join(t.TempDir(), "m.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func TestFilesAreRead(t *testing.T) {
	both := map[string]string{"AcceleratorFunction home/f": good, "FpgaRegion b/r": good}
	indent := func(s string) string { return "- " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ") + "\n" }
	for name, c := range map[string]struct {
		texts []string
		want  map[string]string
	}{
		"nothing":                         {[]string{""}, map[string]string{}},
		"no file":                         {nil, map[string]string{}},
		"only comments":                   {[]string{"# one\n---\n# two\n---\n\n"}, map[string]string{}},
		"two documents":                   {[]string{functionF + "---\n" + regionR}, both},
		"two files":                       {[]string{functionF, regionR}, both},
		"markers with comments":           {[]string{"%YAML 1.1\n--- # first\n" + functionF + "...\n# between\n---\t# second\n" + regionR + "---\n"}, both},
		"windows line ends":               {[]string{strings.ReplaceAll(functionF+"---\n"+regionR, "\n", "\r\n")}, both},
		"byte order mark":                 {[]string{"\ufeff" + functionF + "---\n" + regionR}, both},
		"byte order mark behind a marker": {[]string{functionF + "---\n\ufeff" + regionR}, both},
		"byte order mark before a marker": {[]string{functionF + "\ufeff---\n" + regionR}, both},
		"byte order mark between JSON":    {[]string{functionF, jsonR + "\n\ufeff" + strings.Replace(jsonR, `"r"`, `"s"`, 1)}, map[string]string{"AcceleratorFunction home/f": good, "FpgaRegion b/r": good, "FpgaRegion b/s": good}},
		"a value that looks like a marker": {
			[]string{strings.Replace(functionF, "{name: f}", "{name: f, annotations: {a: \"x\n  --- y\"}}", 1) + "---\n" + regionR}, both,
		},
		"flow style behind a marker": {[]string{functionF + "--- {apiVersion: fpga.intel.com/v2, kind: FpgaRegion, metadata: {name: r, namespace: b}, spec: {interfaceId: " + iface + "}}\n"}, both},
		"JSON, one after the other":  {[]string{functionF, jsonR + "\n" + strings.Replace(jsonR, `"r"`, `"s"`, 1)}, map[string]string{"AcceleratorFunction home/f": good, "FpgaRegion b/r": good, "FpgaRegion b/s": good}},
		"List":                       {[]string{"apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n" + indent(functionF) + indent(regionR)}, both},
		"typed lists": {[]string{
			"apiVersion: fpga.intel.com/v2\nkind: AcceleratorFunctionList\nitems:\n" + indent(functionF),
			"apiVersion: fpga.intel.com/v2\nkind: FpgaRegionList\nitems:\n- metadata: {name: r, namespace: b}\n  spec: {interfaceId: " + iface + "}\n",
		}, both},
		"as kubectl get -o yaml writes it": {
			[]string{regionR + "status: {resource: x, conditions: [{type: Ready, status: 'False', reason: r, message: m, lastTransitionTime: '2026-01-01T00:00:00Z'}]}\n", functionF}, both,
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := NewIndex()
			_, problems, err := x.Load(files(t, c.texts...), "home")
			if err != nil || len(problems) > 0 {
				t.Fatalf("%v, problems %v", err, problems)
			}
			if diff := cmp.Diff(c.want, readiness(x)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if missing := x.Missing(); len(missing) > 0 {
				t.Errorf("missing %v", missing)
			}
		})
	}
}

func TestAFileThatIsNotOfMappingsIsAnError(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"another kind":        {functionF + "---\napiVersion: fpga.intel.com/v2\nkind: ConfigMap\nmetadata: {name: c}\n", `m.yaml: document 2 (line 5): kind "ConfigMap" of apiVersion "fpga.intel.com/v2" is no mapping`},
		"another version":     {strings.Replace(functionF, "/v2", "/v1", 1), `document 1 (line 1): kind "AcceleratorFunction" of apiVersion "fpga.intel.com/v1" is no mapping`},
		"no version":          {strings.Replace(functionF, "/v2", "", 1), `kind "AcceleratorFunction" of apiVersion "fpga.intel.com" is no mapping`},
		"in a list":           {"apiVersion: v1\nkind: List\nitems: [{apiVersion: fpga.intel.com/v2, kind: Pod}]\n", `item 1: kind "Pod"`},
		"a list of text":      {"apiVersion: v1\nkind: List\nitems: text\n", "no list of Kubernetes"},
		"no YAML":             {"# c\n\na: [\n", "document 1 (line 3): "},
		"in a later document": {functionF + "---\n# c\n\na: 1\nb: [\n", "document 2 (line 5): yaml: line 9: "},
		"behind a directive":  {"%YAML 1.1\n---\na: [\n", "document 1 (line 2): yaml: line 3: "},
		"a key twice, where": {functionF + "--- # c\n" + functionF + "spec: {}\n", `document 2 (line 5): yaml: unmarshal errors:
  line 10: key "spec" already set`},
		"joined, no marker": {functionF + "\ufeff" + functionF, `line 5: key "apiVersion" already set`},
		"joined within a line": {
			strings.TrimSuffix(functionF, "\n") + "\ufeff---\n" + functionF, "there is a byte order mark within line 4: was another file joined on there?",
		},
		"no object":           {"just text\n", "no object of Kubernetes"},
		"a key twice":         {functionF + "spec: {}\n", "already set"},
		"a JSON key twice":    {strings.Replace(jsonR, `"spec"`, `"spec":{},"spec"`, 1), "duplicate field"},
		"a number for a name": {strings.Replace(functionF, "name: f", "name: 7", 1), "AcceleratorFunction: metadata.name cannot be of type number"},
		"no name":             {strings.Replace(functionF, "name: f", "labels: {}", 1), "without metadata.name"},
		"an odd namespace":    {strings.Replace(functionF, "name: f", "name: f, namespace: a.b", 1), `metadata.namespace "a.b"`},
		"an empty document":   {"{}\n", `kind "" of apiVersion ""`},
	} {
		t.Run(name, func(t *testing.T) {
			x := NewIndex()
			_, problems, err := x.Load(files(t, c.text), "home")
			if err == nil || !strings.Contains(err.Error(), c.want) || len(problems) > 0 {
				t.Fatalf("%v, problems %v, want %s", err, problems, c.want)
			}
			if len(x.Missing()) == 0 || len(readiness(x)) > 0 {
				t.Error("it was taken all the same")
			}
		})
	}
	if _, _, err := NewIndex().Load([]string{"/nonexistent/m.yaml"}, "home"); err == nil || !strings.Contains(err.Error(), "/nonexistent/m.yaml") {
		t.Errorf("no such file: %v", err)
	}
}

func TestMappingsThatLeadNowhereAreProblems(t *testing.T) {
	x := NewIndex()
	_, problems, err := x.Load(files(t,
		strings.Replace(functionF, "mode: af", "mode: afoo", 1),
		strings.Replace(regionR, "name: r, namespace: b", "name: f", 1)+"---\n"+regionR+"---\n"+regionR,
		strings.Replace(functionF, "name: f", "name: f, namespace: c", 1)+"---\n"+strings.Replace(regionR, "name: r, namespace: b", "name: f, namespace: c", 1),
	), "home")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"AcceleratorFunction home/f": v2.ReasonInvalidMode, "FpgaRegion home/f": good, "FpgaRegion b/r": good,
		"AcceleratorFunction c/f": v2.ReasonNameConflict, "FpgaRegion c/f": v2.ReasonNameConflict,
	}
	if diff := cmp.Diff(want, readiness(x)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	texts := []string{
		"document 3 (line 10): FpgaRegion b/r is in ", "AcceleratorFunction home/f leads nowhere: mode \"afoo\"",
		"AcceleratorFunction c/f leads nowhere: ", "FpgaRegion c/f leads nowhere: ",
	}
	if len(problems) != len(texts) {
		t.Fatalf("problems %v", problems)
	}
	for i, text := range texts {
		if !strings.Contains(problems[i].Error(), text) {
			t.Errorf("problem %d: %v, want %s", i, problems[i], text)
		}
	}
}

// One mapping that an API server would refuse, or a file with other objects in it, says nothing about the others.
func TestWhatIsWrongWithOneObjectIsAProblemAndTheOthersCount(t *testing.T) {
	other := map[string]string{"FpgaRegion b/r": good}
	with := func(name, reason string) map[string]string {
		return map[string]string{"FpgaRegion b/r": good, name: reason}
	}
	for name, c := range map[string]struct {
		text     string
		want     map[string]string
		problems []string
	}{
		"another object": {
			"apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\nitems: {}\n", other,
			[]string{`document 1 (line 1): kind "Namespace" of apiVersion "v1" is no mapping and is passed over`},
		},
		"of another group": {
			"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n", other, []string{`kind "Deployment" of apiVersion "apps/v1"`},
		},
		"in a list": {
			"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod}, " + jsonR + "]\n", other,
			[]string{`item 1: kind "Pod" of apiVersion "v1"`, "FpgaRegion b/r is in "},
		},
		"an unknown field": {
			strings.Replace(functionF, "spec: {", "spec: {note: x, ", 1), with("AcceleratorFunction home/f", good),
			[]string{`document 1 (line 1): AcceleratorFunction home/f: unknown field "spec.note", which does not count`},
		},
		"a misspelt field": {
			strings.Replace(functionF, "interfaceId", "interfaceID", 1), with("AcceleratorFunction home/f", v2.ReasonInvalidInterfaceID),
			[]string{`unknown field "spec.interfaceID"`, "AcceleratorFunction home/f leads nowhere: interfaceId"},
		},
		"a number for an id": {
			strings.Replace(functionF, nlb0, "12345678", 1), with("AcceleratorFunction home/f", v2.ReasonInvalidAfuID),
			[]string{"AcceleratorFunction home/f leads nowhere: spec.afuId cannot be of type number"},
		},
		"a number for a label": {
			strings.Replace(functionF, "name: f", "name: f, labels: {a: 1}", 1), with("AcceleratorFunction home/f", v2.ReasonInvalidName),
			[]string{"AcceleratorFunction home/f leads nowhere: metadata.labels cannot be of type number"},
		},
		"no time": {
			strings.Replace(functionF, "name: f", "name: f, creationTimestamp: soon", 1), with("AcceleratorFunction home/f", v2.ReasonInvalidMode),
			[]string{`AcceleratorFunction home/f leads nowhere: parsing time "soon"`},
		},
		"a text for a spec": {
			strings.NewReplacer("namespace: b", "namespace: c", "{interfaceId: "+iface+"}", "x").Replace(regionR),
			with("FpgaRegion c/r", v2.ReasonInvalidInterfaceID),
			[]string{"FpgaRegion c/r leads nowhere: spec cannot be of type string"},
		},
		"an odd name": {
			strings.Replace(functionF, "name: f", "name: F/x", 1), with("AcceleratorFunction home/F/x", v2.ReasonInvalidName),
			[]string{`AcceleratorFunction home/"F/x" leads nowhere: metadata.name: a lowercase RFC 1123 subdomain`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := NewIndex()
			_, problems, err := x.Load(files(t, c.text, regionR), "home")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, readiness(x)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if len(problems) != len(c.problems) {
				t.Fatalf("problems %v", problems)
			}
			for i, text := range c.problems {
				if !strings.Contains(problems[i].Error(), text) {
					t.Errorf("problem %d: %v, want %s", i, problems[i], text)
				}
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range []string{functionF + "---\n" + regionR, jsonR + jsonR, "--- {}\n...\n%\n", "%\n", "\ufeff", "a: [\n\ufeff---\nb: ]\ufeff", "...", "---", "apiVersion: v1\nkind: List\nitems: [null, 1]\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "m")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		x := NewIndex()
		if _, _, err := x.Load([]string{file}, "default"); err == nil && len(x.Missing()) > 0 {
			t.Error("neither an error nor loaded")
		}
	})
}
