package main

import (
	"strings"
	"testing"
)

const container = `containers: [{name: c, resources: {limits: {fpga.intel.com/n3o: 1}}}]`

func TestExplainFindsThePodsOfEveryKind(t *testing.T) {
	mappings := write(t, "mappings.yaml", samples)
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"Pod", "kind: Pod\napiVersion: v1\nmetadata: {name: p, namespace: ns1}\nspec: {" + container + "}", []string{"pod p in namespace ns1"}},
		{"Pod of generateName", "kind: Pod\nmetadata: {generateName: p-, namespace: ns1}\nspec: {" + container + "}", []string{"pod p- in namespace ns1"}},
		{"Deployment", "kind: Deployment\nmetadata: {name: d, namespace: ns1}\nspec: {template: {spec: {" + container + "}}}", []string{"Deployment d, spec.template"}},
		{"CronJob", "kind: CronJob\nmetadata: {name: j, namespace: ns1}\nspec: {jobTemplate: {spec: {template: {spec: {" + container + "}}}}}", []string{"CronJob j, spec.jobTemplate.spec.template"}},
		{"PodTemplate", "kind: PodTemplate\nmetadata: {name: t, namespace: ns1}\ntemplate: {spec: {" + container + "}}", []string{"PodTemplate t, template"}},
		{"a kind that nobody knows", "kind: Training\nmetadata: {name: t, namespace: ns1}\nspec: {roles: [{template: {spec: {" + container + "}}}]}", []string{"Training t, spec.roles[0].template"}},
		{"List", "kind: List\nitems: [{kind: Pod, metadata: {name: p, namespace: ns1}, spec: {" + container + "}}]", []string{"pod p in namespace ns1"}},
		{"JSON", `{"kind":"Pod","metadata":{"name":"p","namespace":"ns1"},"spec":{"containers":[{"name":"c","resources":{"limits":{"fpga.intel.com/n3o":"1"}}}]}}`, []string{"pod p in namespace ns1"}},
		{"the template's namespace does not count", "kind: Job\nmetadata: {name: j, namespace: ns1}\nspec: {template: {metadata: {namespace: ns9}, spec: {" + container + "}}}", []string{"Job j", "in namespace ns1"}},
		{"JSON, one after the other", `{"kind":"Service","metadata":{"name":"s"}} {"kind":"Pod","metadata":{"name":"p","namespace":"ns1"},"spec":{` +
			`"containers":[{"name":"c","resources":{"limits":{"fpga.intel.com/n3o":1}}}]}}`, []string{"Service s has no pod template", "pod p in namespace ns1"}},
		{"joined files with byte order marks", "\ufeffkind: Service\nmetadata: {name: s}\n---\n\ufeffkind: Pod\nmetadata: {name: p, namespace: ns1}\nspec: {" + container + "}\n", []string{"Service s has no pod template", "pod p in namespace ns1"}},
		{"several documents", "# first\n---\nkind: Service\nmetadata: {name: s}\n---\nkind: Pod\nmetadata: {name: p, namespace: ns1}\nspec: {" + container + "}\n---\n", []string{"Service s has no pod template", "pod p in namespace ns1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, args := range [][]string{{write(t, "pod.yaml", tt.text)}, {"-"}} {
				got := run(t, tt.text, append([]string{"explain", "--mappings", mappings}, args...))
				if got.code != 0 || got.stderr != "" {
					t.Fatalf("%+v", got)
				}
				want := append(tt.want, "AcceleratorFunction n3o", region, "FPGA_REGION_1",
					"container c: its request of fpga.intel.com/n3o is filled from the limit, as the API server does")
				for _, text := range want {
					if !strings.Contains(got.stdout, text) {
						t.Errorf("no %q in:\n%s", text, got.stdout)
					}
				}
			}
		})
	}
}

func TestExplainSaysWhyAPodIsDenied(t *testing.T) {
	mappings := write(t, "mappings.yaml", samples)
	pod := write(t, "pod.yaml", "kind: Pod\nmetadata: {name: p}\nspec: {"+container+"}")
	got := run(t, "", []string{"explain", "--mappings", mappings, pod})
	if got.code != 0 || !strings.Contains(got.stdout, "in namespace default") || !strings.Contains(got.stdout, "DENIED") {
		t.Errorf("%+v", got)
	}
	got = run(t, "", []string{"explain", "--mappings", mappings, "-n", "ns1", pod})
	if got.code != 0 || !strings.Contains(got.stdout, "in namespace ns1") || strings.Contains(got.stdout, "DENIED") {
		t.Errorf("%+v", got)
	}
}

func TestExplainsExitCodeTellsOfADeniedPodWhereThatIsAskedFor(t *testing.T) {
	mappings := write(t, "mappings.yaml", samples)
	file := func(namespaces ...string) string {
		var docs []string
		for _, ns := range namespaces {
			docs = append(docs, "kind: Pod\nmetadata: {name: p, namespace: "+ns+"}\nspec: {"+container+"}\n")
		}
		return strings.Join(docs, "---\n")
	}
	for _, tt := range []struct {
		name, text string
		args       []string
		code       int
		stderr     string
	}{
		{"all allowed", file("ns1", "ns1"), []string{"--exit-code"}, 0, ""},
		{"one denied", file("ns2", "ns1"), []string{"--exit-code"}, 1, "inlay-webhook: of 2 pods 1 would be denied\n"},
		{"all denied", file("ns2", "ns3"), []string{"--exit-code"}, 1, "inlay-webhook: of 2 pods 2 would be denied\n"},
		{"nobody asked", file("ns2", "ns1"), nil, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, tt.text, append([]string{"explain", "--mappings", mappings, "-"}, tt.args...))
			if got.code != tt.code || got.stderr != tt.stderr || strings.Count(got.stdout, "pod p in namespace") != 2 {
				t.Errorf("%+v, want %d and %q", got, tt.code, tt.stderr)
			}
		})
	}
}

// One file may have both, as for one `kubectl apply`.
func TestExplainTakesPodsFromAFileOfMappings(t *testing.T) {
	both := write(t, "both.yaml", samples+"---\nkind: Pod\napiVersion: v1\nmetadata: {name: p}\nspec: {"+container+"}\n")
	got := run(t, "", []string{"explain", "--mappings", both, "--namespace-default", "ns1", both})
	if got.code != 0 || !strings.Contains(got.stdout, "pod p in namespace ns1") || !strings.Contains(got.stdout, "AcceleratorFunction n3o has no pod template") ||
		strings.Contains(got.stdout, "DENIED") {
		t.Errorf("%+v", got)
	}
}

func TestExplainNamesInitContainersAndSidecarsAsSuch(t *testing.T) {
	const limits = ", resources: {limits: {fpga.intel.com/n3o: 1}}}"
	pod := write(t, "pod.yaml", "kind: Pod\nmetadata: {name: p, namespace: ns1}\nspec: {initContainers: [{name: i"+limits+", {name: s, restartPolicy: Always"+limits+
		"], containers: [{name: c"+limits+"]}")
	got := run(t, "", []string{"explain", "--mappings", write(t, "mappings.yaml", samples), pod})
	for _, title := range []string{"init container i", "sidecar s", "container c"} {
		if !strings.Contains(got.stdout, "\n"+title+": its request of ") && !strings.HasPrefix(got.stdout, title+": its request of ") || !strings.Contains(got.stdout, "\n"+title+"\n") {
			t.Errorf("no %q in:\n%s", title, got.stdout)
		}
	}
}

func TestExplainNamesTheDocumentThatIsWrong(t *testing.T) {
	mappings := write(t, "mappings.yaml", samples)
	for name, tt := range map[string]struct{ text, want string }{
		"no YAML":            {"kind: Pod\n---\nkind: [", "document 2 (line 2): yaml: line 3: "},
		"a JSON key twice":   {`{"kind":"Pod","kind":"Pod"}`, `duplicate field "kind"`},
		"a key twice":        {"kind: Pod\nkind: Pod", `"kind" already set`},
		"no kind":            {"metadata: {name: p}", "it has no kind"},
		"containers a text":  {"kind: Pod\nmetadata: {name: p}\nspec: {containers: all}", "spec.containers"},
		"an item of no kind": {"kind: List\nitems: [1]", "items[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, tt.text, []string{"explain", "--mappings", mappings, "-"})
			if got.code != 1 || !strings.HasPrefix(got.stderr, "inlay-webhook: -: document ") || !strings.Contains(got.stderr, tt.want) {
				t.Errorf("%+v, want %q", got, tt.want)
			}
		})
	}
}

// A file from elsewhere must not write to a person's terminal.
func TestExplainShowsNamesWithoutTheirEscapes(t *testing.T) {
	mappings := write(t, "mappings.yaml", samples)
	const hostile = `a\u001b[2J\r\nallowed: b\u202e`
	const containers = `"containers":[{"name":"` + hostile + `","resources":{"limits":{"fpga.intel.com/` + hostile + `":1}}},{"resources":{"limits":{"fpga.intel.com/n3o":1}}}]`
	for name, text := range map[string]string{
		"a pod":         `{"kind":"Pod","metadata":{"name":"` + hostile + `","namespace":"` + hostile + `"},"spec":{` + containers + `}}`,
		"a template":    `{"kind":"` + hostile + `","metadata":{"name":"` + hostile + `"},"spec":{"` + hostile + `":{"template":{"spec":{` + containers + `}}}}}`,
		"no template":   `{"kind":"` + hostile + `","metadata":{"generateName":"` + hostile + `"}} {"kind":"Pod","spec":{` + containers + `}}`,
		"no pod at all": `{"kind":"Pod","metadata":{"name":"` + hostile + `"},"spec":{"containers":"` + hostile + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, text, []string{"explain", "--mappings", mappings, "-"})
			if all := got.stdout + got.stderr; strings.ContainsAny(all, "\x1b\r\u202e") || strings.Contains(all, "\nallowed: b") {
				t.Errorf("%q", all)
			}
			if got.code == 0 && !strings.Contains(got.stdout, "containers[1]: its request of fpga.intel.com/n3o is filled") {
				t.Errorf("the container without a name is not told by its place:\n%s", got.stdout)
			}
		})
	}
}
