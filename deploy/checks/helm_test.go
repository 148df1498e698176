package checks

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// sameAs are the values by which the chart gives what an overlay gives.
var sameAs = map[string]string{
	"af":               "",
	"region":           "mode: region",
	"regiondevel":      "mode: regiondevel",
	"sgx":              "families: [fpga, sgx]",
	"webhook":          "node: {enabled: false}",
	"crio-hooks":       `{mode: region, nri: {mode: "off"}}`,
	"preinstalled-nri": "{mode: region, nri: {mode: preinstalled}}",
	"all":              "{mode: region, families: [auto]}",
	"cert-manager":     "{mode: region, webhook: {certificates: cert-manager}}",
}

// helmsOwn are labels and annotations that say that helm put an object there.
var helmsOwn = []string{
	"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart", "helm.sh/resource-policy",
}

// plain takes out what differs by design, and orders what has no order.
func plain(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, element := range v {
			if !slices.Contains(helmsOwn, k) {
				out[k] = plain(element)
			}
		}
		for _, k := range []string{"labels", "annotations"} {
			if m, ok := out[k].(map[string]any); ok && len(m) == 0 {
				delete(out, k)
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, element := range v {
			out = append(out, plain(element))
		}
		if key := sortKey(out); key != "" {
			slices.SortStableFunc(out, func(a, b any) int {
				return cmp.Compare(fmt.Sprint(a.(map[string]any)[key]), fmt.Sprint(b.(map[string]any)[key]))
			})
		}
		return out
	}
	return value
}

// sortKey is the field by which Kubernetes tells the elements of a list apart whose order means nothing.
func sortKey(list []any) string {
	for _, key := range []string{"mountPath", "hostPath", "name"} {
		all := len(list) > 0
		for _, element := range list {
			m, ok := element.(map[string]any)
			if !ok || m[key] == nil || m["args"] != nil || m["command"] != nil { // containers have an order
				all = false
				break
			}
		}
		if all {
			return key
		}
	}
	return ""
}

func byID(objects []*unstructured.Unstructured) map[string]any {
	found := map[string]any{}
	for _, o := range objects {
		found[id(o)] = plain(o.Object)
	}
	return found
}

func TestChartAndOverlaysGiveTheSameObjects(t *testing.T) {
	if diff := gocmp.Diff(overlays(t), slices.Sorted(maps.Keys(sameAs))); diff != "" {
		t.Errorf("an overlay that the chart has no values for, or the other way round (-overlays +values):\n%s", diff)
	}
	for overlay, values := range sameAs {
		t.Run(overlay, func(t *testing.T) {
			want, got := byID(kustomized(t, "overlays/"+overlay)), byID(usual.objects(t, values))
			delete(want, "Namespace/inlay-system") // helm install --create-namespace makes the release's namespace
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("(-overlay +chart):\n%s", diff)
			}
		})
	}
}

func TestPriorityQuotasAreTheSame(t *testing.T) {
	want := byID(file(t, "components/priority-quota/quota.yaml"))
	got := byID(usual.objects(t, "priorityQuota: {enabled: true}"))
	for name, quota := range want {
		if diff := gocmp.Diff(quota, got[name]); diff != "" {
			t.Errorf("%s (-kustomize +chart):\n%s", name, diff)
		}
	}
}

// A release by another name has objects of other names, and the webhook is told of them.
func TestNamesFollowTheRelease(t *testing.T) {
	for _, tt := range []struct {
		release
		values, prefix string
	}{
		{usual, "", "inlay"},
		{release{"prod", "inlay-system"}, "", "prod-inlay"},
		{release{"my-inlay", "x"}, "", "my-inlay"},
		{release{"prod", "x"}, "nameOverride: fpga", "prod-fpga"},
		{release{"prod", "x"}, "fullnameOverride: accelerators", "accelerators"},
	} {
		var names []string
		for _, o := range tt.objects(t, tt.values) {
			switch o.GetKind() {
			case "DaemonSet":
				names = append(names, o.GetName())
			case "Deployment":
				names = append(names, o.GetName())
				p, _ := podOf(t, "chart", o)
				args := p.spec.Containers[0].Args
				told := slices.Contains(args, "--service="+tt.prefix+"-webhook") && slices.Contains(args, "--configuration="+tt.prefix+"-webhook") &&
					slices.Contains(args, "--secret="+tt.prefix+"-webhook-certs")
				if told != (tt.prefix != "inlay") { // inlay-webhook is what it takes by itself
					t.Errorf("%+v: the webhook's arguments are %q", tt, args)
				}
			case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
				hooks, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
				service, _, _ := unstructured.NestedMap(hooks[0].(map[string]any), "clientConfig", "service")
				if got := fmt.Sprint(service["namespace"], "/", service["name"]); o.GetName() != tt.prefix+"-webhook" || got != tt.namespace+"/"+tt.prefix+"-webhook" {
					t.Errorf("%+v: %s calls %s", tt, id(o), got)
				}
			}
		}
		slices.Sort(names)
		if diff := gocmp.Diff([]string{tt.prefix + "-node", tt.prefix + "-webhook"}, names); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt, diff)
		}
	}
}

// The policy that holds the nodes' account names it: one that names another holds nobody.
func TestThePolicyNamesTheAccountOfTheNodes(t *testing.T) {
	for source, objects := range everything(t) {
		account := ""
		for _, o := range objects {
			if p, ok := podOf(t, source, o); ok && o.GetKind() == "DaemonSet" {
				account = "'system:serviceaccount:" + p.namespace + ":" + p.spec.ServiceAccountName + "'"
			}
		}
		for _, o := range objects {
			if o.GetKind() != "ValidatingAdmissionPolicy" {
				continue
			}
			conditions, _, _ := unstructured.NestedSlice(o.Object, "spec", "matchConditions")
			expression, _, _ := unstructured.NestedString(conditions[0].(map[string]any), "expression")
			if account == "" || expression != "request.userInfo.username == "+account {
				t.Errorf("%s: %s holds %q, the pods are %s", source, id(o), expression, account)
			}
		}
	}
}

func TestOfAChartOnlyThePartsAskedForAreThere(t *testing.T) {
	for values, absent := range map[string][]string{
		"webhook: {enabled: false}":                        {"Deployment.apps", "MutatingWebhookConfiguration", "Secret/"},
		"node: {enabled: false}":                           {"DaemonSet.apps", "ValidatingAdmissionPolicy", "inlay-node"},
		"node: {admissionPolicy: false}":                   {"ValidatingAdmissionPolicy"},
		"node: {createNamespace: false}":                   {"Namespace/"},
		"crds: {install: false}":                           {"CustomResourceDefinition"},
		"networkPolicy: {enabled: false}":                  {"NetworkPolicy"},
		"webhook: {podDisruptionBudget: {enabled: false}}": {"PodDisruptionBudget"},
		"webhook: {certificates: cert-manager}":            {"Secret/", "inlay-webhook-certs"},
		"":                                                 {"PodMonitor", "ResourceQuota", "cert-manager.io"},
	} {
		all := byID(usual.objects(t, ""))
		for name := range byID(usual.objects(t, values)) {
			for _, word := range absent {
				if strings.Contains(name, word) {
					t.Errorf("%s: %s is there all the same", values, name)
				}
			}
			delete(all, name)
		}
		if values != "" && len(all) == 0 {
			t.Errorf("%s takes nothing away", values)
		}
	}
}

func TestTheChartKeepsTheKindsUnlessToldOtherwise(t *testing.T) {
	for values, want := range map[string]string{"": "keep", "crds: {keep: false}": ""} {
		n := 0
		for _, o := range usual.objects(t, values) {
			if o.GetKind() == "CustomResourceDefinition" {
				n++
				if got := o.GetAnnotations()["helm.sh/resource-policy"]; got != want {
					t.Errorf("%q: %s: resource-policy %q, want %q", values, o.GetName(), got, want)
				}
			}
		}
		if n != 2 {
			t.Errorf("%q: %d kinds", values, n)
		}
	}
}

func TestImagesAreNamedByTagOrDigest(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for values, want := range map[string]string{
		"":                   "docker.io/inlay/inlay-node:devel",
		"{image: {tag: v1}}": "docker.io/inlay/inlay-node:v1",
		"{image: {digest: '" + digest + "', tag: v1}}": "docker.io/inlay/inlay-node@" + digest,
		"{image: {repository: 'r.example:5000/a/b'}}":  "r.example:5000/a/b:devel",
	} {
		if values != "" {
			values = "node: " + values
		}
		for _, o := range usual.objects(t, values) {
			if o.GetKind() != "DaemonSet" {
				continue
			}
			p, _ := podOf(t, "chart", o)
			for _, c := range p.containers() {
				if c.Image != want {
					t.Errorf("%s: %s has image %s, want %s", values, c.Name, c.Image, want)
				}
			}
		}
	}
}

func TestTheSchemaRefusesWrongValues(t *testing.T) {
	for values, says := range map[string]string{
		"mod: region":                                                              "mod",
		"mode: regions":                                                            "/mode",
		"families: fpga":                                                           "/families",
		"families: []":                                                             "/families",
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
