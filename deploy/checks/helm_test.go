package checks

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
		"webhook: {enabled: false}": {"Deployment.apps", "MutatingWebhookConfiguration", "Secret/"},
		// Nothing is beside the nodes' pods then.
		"{webhook: {enabled: false}, node: {namespace: inlay-system, createNamespace: false}}": {"Deployment.apps", "Namespace/"},
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
