//go:build integration

package deploy

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	chartcommon "helm.sh/helm/v4/pkg/chart/common"
	chartutil "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"

	"github.com/inlay-project/inlay/integration/apiserver"
)

// tree is the top of the source tree, as go test runs here.
const tree = "../.."

// limit bounds the wait for a controller.
const limit = 30 * time.Second

// start starts an API server with two Nodes of which one is no place for Inlay, and with the controllers that make pods.
func start(t *testing.T) *apiserver.Cluster {
	t.Helper()
	c := apiserver.Start(t, apiserver.Options{Controllers: []string{
		"daemonset-controller", "deployment-controller", "replicaset-controller", "job-controller", "namespace-controller", "serviceaccount-controller",
		"garbage-collector-controller",
	}})
	for node, arch := range map[string]string{"fpga": "amd64", "mainframe": "s390x"} {
		c.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: Node, metadata: {name: %s, labels: {kubernetes.io/os: linux, kubernetes.io/arch: %s}}}", node, arch))
	}
	return c
}

// accept applies and fails the test if the API server has anything to say.
func accept(t *testing.T, c *apiserver.Cluster, yaml string, args ...string) {
	t.Helper()
	r := c.Admin().Try(t.Context(), yaml, args...)
	if r.Err != nil {
		t.Errorf("%q: %v", args, r.Err)
	} else if r.Stderr != "" {
		t.Errorf("%q warns: %s", args, r.Stderr)
	}
}

// pods waits until a namespace has so many pods by a selector. None of them is ever ready, so a Deployment that changes has
// those of before too, and the first of the new ones.
func pods(t *testing.T, c *apiserver.Cluster, namespace, selector string, want int) {
	t.Helper()
	apiserver.Eventually(t, limit, fmt.Sprintf("pods %s in %s: %d", selector, namespace, want), func() error {
		names := strings.Fields(c.Kubectl(t, "get", "pods", "-n", namespace, "-l", selector, "-o", "jsonpath={.items[*].metadata.name}"))
		if len(names) < want || strings.Contains(selector, "node") && len(names) != want {
			return fmt.Errorf("there are %q; events: %s", names,
				c.Kubectl(t, "get", "events", "-n", namespace, "-o", "jsonpath={.items[*].message}"))
		}
		return nil
	})
}

// certManager are cert-manager's kinds, as far as an API server needs them to store an object.
const certManager = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]ss.cert-manager.io}
spec:
  group: cert-manager.io
  names: {plural: %[1]ss, singular: %[1]s, kind: %[2]s}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
`

func TestEveryOverlayIsAcceptedAfterEveryOther(t *testing.T) {
	c := start(t)
	for plural, kind := range map[string]string{"issuer": "Issuer", "certificate": "Certificate"} {
		c.Apply(t, fmt.Sprintf(certManager, plural, kind))
		c.Kubectl(t, "wait", "--for=condition=Established", "--timeout=30s", "crd/"+plural+"s.cert-manager.io")
	}
	folders, err := filepath.Glob(filepath.Join(tree, "deploy/overlays/*"))
	if err != nil || len(folders) < 7 {
		t.Fatalf("overlays %q, %v", folders, err)
	}
	for _, folder := range folders {
		accept(t, c, "", "apply", "--validate=strict", "-k", folder)
		accept(t, c, "", "apply", "--validate=strict", "--dry-run=server", "-k", folder)
		if filepath.Base(folder) == "webhook" {
			continue
		}
		pods(t, c, "inlay-node", "app.kubernetes.io/name=inlay-node", 1)
		pods(t, c, "inlay-node", "app=intel-fpga-plugin", 1) // what scripts for the plugin that came before look for
		pods(t, c, "inlay-system", "app.kubernetes.io/name=inlay-webhook", 2)
	}
	if got := c.Kubectl(t, "get", "daemonset", "inlay-node", "-n", "inlay-node", "-o", "jsonpath={.status.desiredNumberScheduled}"); got != "1" {
		t.Errorf("the DaemonSet is for %s nodes", got)
	}
	accept(t, c, "", "apply", "--validate=strict", "-f", filepath.Join(tree, "deploy/components/priority-quota/quota.yaml"))
	for _, ns := range []string{"inlay-node", "inlay-system"} {
		c.Kubectl(t, "delete", "resourcequota", "--all", "-n", ns)
	}
	for _, ns := range []string{"default", "other"} {
		if ns != "default" {
			c.Kubectl(t, "create", "namespace", ns)
		}
		accept(t, c, "", "apply", "--validate=strict", "-n", ns, "-f", filepath.Join(tree, "deploy/mappings-collection.yaml"))
		if got := strings.Fields(c.Kubectl(t, "get", "af,fpga", "-n", ns, "-o", "name")); len(got) != 21 {
			t.Errorf("%s has %d mappings", ns, len(got))
		}
	}
	t.Run("nothing is left of an overlay", func(t *testing.T) { gone(t, c) })
}

// gone takes the last overlay away.
func gone(t *testing.T, c *apiserver.Cluster) {
	for _, overlay := range []string{"cert-manager", "region"} {
		c.Kubectl(t, "delete", "--ignore-not-found", "--wait=false", "-k", filepath.Join(tree, "deploy/overlays", overlay))
	}
	apiserver.Eventually(t, limit, "the namespaces are gone", func() error {
		left := c.Kubectl(t, "get", "namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,"+
			"mutatingwebhookconfigurations,validatingwebhookconfigurations,crds", "-o", "name")
		for line := range strings.Lines(left) {
			if strings.Contains(line, "inlay") || strings.Contains(line, "fpga") {
				return errors.New(left)
			}
		}
		return nil
	})
}

func TestTheChartIsAcceptedInEachOfItsModes(t *testing.T) {
	c := start(t)
	c.Kubectl(t, "create", "namespace", "inlay-system")
	c.Kubectl(t, "label", "namespace", "inlay-system", "pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted")
	for _, values := range []map[string]any{
		{},
		{"mode": "region"},
		{"mode": "region", "nri": map[string]any{"mode": "off"}},
		{"mode": "region", "nri": map[string]any{"mode": "preinstalled"}},
		{"mode": "regiondevel", "networkPolicy": map[string]any{"apiServerCIDRs": []any{"10.0.0.0/29", "fd00::/64"}}},
	} {
		accept(t, c, rendered(t, values), "apply", "--validate=strict", "-f", "-")
		pods(t, c, "inlay-node", "app.kubernetes.io/name=inlay-node", 1)
		pods(t, c, "inlay-system", "app.kubernetes.io/name=inlay-webhook", 2)
	}
}

// rendered is the chart as helm sends it.
func rendered(t *testing.T, values map[string]any) string {
	t.Helper()
	chart, err := loader.Load(filepath.Join(tree, "deploy/helm/inlay"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.ToRenderValues(chart, values, chartcommon.ReleaseOptions{Name: "inlay", Namespace: "inlay-system", IsInstall: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(files, func(name, _ string) bool { return !strings.HasSuffix(name, ".yaml") })
	_, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, m := range manifests {
		text.WriteString("---\n" + m.Content + "\n")
	}
	return text.String()
}

// The level of a namespace is what keeps a pod with folders of the host from the webhook's.
func TestThePodsOfTheNodesAreRefusedBesideTheWebhook(t *testing.T) {
	c := start(t)
	accept(t, c, "", "apply", "--validate=strict", "-k", filepath.Join(tree, "deploy/overlays/region"))
	job, err := os.ReadFile(filepath.Join(tree, "deploy/uninstall/job.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	uninstall := strings.ReplaceAll(string(job), "nodeName: NODE", "nodeName: fpga")
	accept(t, c, uninstall, "create", "--validate=strict", "-f", "-")
	pods(t, c, "inlay-node", "app.kubernetes.io/name=inlay-uninstall", 1)
	misplaced := strings.ReplaceAll(uninstall, "namespace: inlay-node", "namespace: inlay-system")
	r := c.Admin().Try(t.Context(), misplaced, "create", "--dry-run=server", "-f", "-")
	if r.Err != nil || !strings.Contains(r.Stderr, `would violate PodSecurity "restricted:latest"`) {
		t.Errorf("the answer is %q, %v", r.Stderr, r.Err)
	}
}
