package checks

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/inlay-project/inlay/deviceplugins/config"
)

func TestTheSchemaRefusesWrongValues(t *testing.T) {
	for values, says := range map[string]string{
		"mod: region":      "mod",
		"mode: regions":    "/mode",
		"families: fpga":   "/families",
		"families: []":     "/families",
		"families: [fgpa]": "/families/0",
		"commonLabels: {app.kubernetes.io/name: mine}":                             "commonLabels: app.kubernetes.io/name is the chart's own label",
		"node: {podLabels: {app.kubernetes.io/instance: mine}}":                    "node.podLabels: app.kubernetes.io/instance is the chart's own label",
		"webhook: {podLabels: {app.kubernetes.io/part-of: mine}}":                  "webhook.podLabels: app.kubernetes.io/part-of is",
		"podMonitor: {labels: {helm.sh/chart: mine}}":                              "podMonitor.labels: helm.sh/chart is",
		"families: ['fpga,gpu']":                                                   "/families/0",
		"nri: {mode: maybe}":                                                       "/nri/mode",
		"node: {image: {digest: abc}}":                                             "/node/image/digest",
		"node: {image: {repository: ''}}":                                          "/node/image/repository",
		"node: {image: {repository: 'a@sha256:b'}}":                                "/node/image/repository",
		"node: {image: {pullPolicy: Sometimes}}":                                   "/node/image/pullPolicy",
		"node: {extraArgs: log-format=json}":                                       "/node/extraArgs",
		"node: {extraArgs: [log-format=json]}":                                     "/node/extraArgs/0",
		"node: {updateStrategy: {type: Recreate}}":                                 "/node/updateStrategy/type",
		"webhook: {updateStrategy: {type: OnDelete}}":                              "/webhook/updateStrategy/type",
		"nri: {mode: on}":                                                          "/nri/mode",
		"node: {resources: {nri: {limits: {memory: lots}}}}":                       "limits.memory lots",
		"webhook: {resources: {limits: {memory: 64m}}}":                            "limits.memory 64m",
		"node: {updateStrategy: {rollingUpdate: {maxUnavailable: 0}}}":             "/node/updateStrategy/rollingUpdate/maxUnavailable",
		"node: {updateStrategy: {rollingUpdate: {maxUnavailable: 0%}}}":            "/node/updateStrategy/rollingUpdate/maxUnavailable",
		"node: {updateStrategy: {rollingUpdate: {maxSurge: 1}}}":                   "/node/updateStrategy/rollingUpdate",
		"node: {securityContext: {privileged: true}}":                              "node.securityContext.privileged: no container of Inlay",
		"node: {podSecurityContext: {privileged: true}}":                           "node.podSecurityContext.privileged",
		"node: {securityContext: {allowPrivilegeEscalation: true}}":                "node.securityContext.allowPrivilegeEscalation: no container",
		"node: {securityContext: {allowPrivilegeEscalation: null}}":                "node.securityContext.allowPrivilegeEscalation: it is to be false",
		"node: {securityContext: null}":                                            "/node",
		"webhook: {securityContext: {privileged: true}}":                           "webhook.securityContext.privileged",
		"webhook: {securityContext: {allowPrivilegeEscalation: true}}":             "webhook.securityContext.allowPrivilegeEscalation: no container",
		"{nri: {mode: preinstalled}, node: {nriExtraArgs: [--insecure]}}":          "node.nriExtraArgs: --insecure: with nri.mode=preinstalled",
		"{nri: {mode: preinstalled}, node: {nriExtraArgs: [--a=b, --hook-debug]}}": "write --FLAG=VALUE",
		"node: {namespace: ''}":                                                    "/node/namespace",
		"node: {namespace: Inlay_Node}":                                            "/node/namespace",
		"node: {paths: {kubelet: var/lib/kubelet}}":                                "/node/paths/kubelet",
		"node: {paths: {kubelet: /var/lib/kubelet/}}":                              "/node/paths/kubelet",
		"node: {tolerations: {operator: Exists}}":                                  "/node/tolerations",
		"node: {podLabels: {a: 1}}":                                                "/node/podLabels/a",
		"webhook: {replicas: 0}":                                                   "/webhook/replicas",
		"webhook: {replicas: two}":                                                 "/webhook/replicas",
		"webhook: {certificates: none}":                                            "/webhook/certificates",
		"webhook: {podDisruptionBudget: {min: 1}}":                                 "/webhook/podDisruptionBudget",
		"networkPolicy: {apiServerCIDRs: [10.0.0.1]}":                              "/networkPolicy/apiServerCIDRs/0",
		"networkPolicy: {metricsNamespaceLabels: [a]}":                             "/networkPolicy/metricsNamespaceLabels",
		"podMonitor: {interval: often}":                                            "/podMonitor/interval",
		"imagePullSecrets: [registry]":                                             "/imagePullSecrets/0",
		"{webhook: {enabled: false}, node: {namespace: inlay-system}}":             "set node.createNamespace=false",
		"node: {namespace: inlay-system}":                                          "node.namespace is that of the webhook",
		"node: {serviceAccount: {create: false}}":                                  "node.serviceAccount.name",
		"webhook: {serviceAccount: {create: false}}":                               "webhook.serviceAccount.name",
		"qat: {bind: true}":                                                        "the family qat, which is not among families",
		"{families: [gpu], qat: {health: true}}":                                   "the family qat, which is not among families",
		"{families: [qat], gpu: {health: xpumd}}":                                  "the family gpu, which is not among families",
		"gpu: {health: nvml}":                                                      "/gpu/health",
		"config: 'version: v1'":                                                    "/config",
	} {
		_, err := usual.render(t, values)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v; want an error about %s", values, err, says)
		}
	}
}

// A family that is misspelt is refused before the cluster has pods that cannot start.
func TestTheSchemaKnowsTheFamiliesOfTheProgram(t *testing.T) {
	for _, family := range append([]string{config.Auto}, config.Known()...) {
		if _, err := usual.render(t, "families: ["+family+"]"); err != nil {
			t.Errorf("%s: %v", family, err)
		}
	}
}

// Who has labels of their own on all objects and others on pods gets each once, and the one that is nearer.
func TestLabelsOfTheValuesAreThereOnce(t *testing.T) {
	values := "{commonLabels: {team: all, app: mine}, node: {podLabels: {team: nodes}}, webhook: {podLabels: {team: web}}, podMonitor: {enabled: true, labels: {team: watch}}}"
	want := map[string]string{"DaemonSet": "all", "DaemonSet's pods": "nodes", "Deployment": "all", "Deployment's pods": "web", "PodMonitor": "watch"}
	for _, o := range usual.objects(t, values) {
		sets := map[string]map[string]string{o.GetKind(): o.GetLabels()}
		if p, ok := podOf(t, "chart", o); ok {
			sets[o.GetKind()+"'s pods"] = p.meta.Labels
		}
		for of, labels := range sets {
			if team, ok := want[of]; ok && (labels["team"] != team || labels["app"] != "mine") {
				t.Errorf("%s: team %q, app %q; want %q, mine", of, labels["team"], labels["app"], team)
			}
		}
	}
	rendered, err := usual.render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range rendered {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for document := range strings.SplitSeq(text, "\n---") {
			if err := yaml.UnmarshalStrict([]byte(document), &map[string]any{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Nothing can be set that is not described, and nothing is described that cannot be set.
func TestSchemaValuesAndReadmeNameTheSameValues(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(tree, "deploy/helm/inlay", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var values, schema map[string]any
	for name, into := range map[string]*map[string]any{"values.yaml": &values, "values.schema.json": &schema} {
		if err := yaml.UnmarshalStrict(read(name), into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	fromSchema := slices.DeleteFunc(schemaNames("", schema), func(n string) bool { return n == "global" || strings.Contains(n, ".claims") })
	fromValues := valueNames("", values, fromSchema)
	if diff := gocmp.Diff(fromSchema, fromValues); diff != "" {
		t.Errorf("(-schema +values.yaml):\n%s", diff)
	}
	readme := map[string]bool{}
	_, table, _ := strings.Cut(string(read("README.md")), "## Values\n")
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			for name := range strings.SplitSeq(cells[1], ",") {
				readme[strings.Trim(name, " `")] = true
			}
		}
	}
	for _, name := range fromValues {
		if !readme[name] {
			t.Errorf("README.md has no line for %s", name)
		}
		delete(readme, name)
	}
	for name := range readme {
		t.Errorf("README.md has a line for %s, which is no value", name)
	}
}

// schemaNames are the leaves of a schema: an object with any keys is one.
func schemaNames(prefix string, schema map[string]any) []string {
	properties, _ := schema["properties"].(map[string]any)
	if len(properties) == 0 {
		return []string{strings.TrimPrefix(prefix, ".")}
	}
	var names []string
	for _, k := range slices.Sorted(maps.Keys(properties)) {
		if k == "requests" || k == "limits" || k == "claims" { // resources are one value
			return []string{strings.TrimPrefix(prefix, ".")}
		}
		names = append(names, schemaNames(prefix+"."+k, properties[k].(map[string]any))...)
	}
	return names
}

// valueNames are the leaves of the values, as far down as leaves says.
func valueNames(prefix string, value any, leaves []string) []string {
	name := strings.TrimPrefix(prefix, ".")
	m, ok := value.(map[string]any)
	if !ok || slices.Contains(leaves, name) {
		return []string{name}
	}
	var names []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		names = append(names, valueNames(prefix+"."+k, m[k], leaves)...)
	}
	return names
}
