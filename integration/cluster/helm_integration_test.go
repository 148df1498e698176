//go:build integration

package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/integration"
)

// The chart by helm itself, from its installation to its end, with the commands of docs/install.md.
func TestHelmInstallsUpgradesAndUninstalls(t *testing.T) {
	t.Parallel()
	c := kit.Start(t, Options{})
	if tag, err := c.ImageTag(t.Context()); err != nil || tag != ImageVersion {
		t.Skipf("the chart's images have the tag %s; those of INLAY_IMAGES have %s (%v)", ImageVersion, tag, err)
	}
	c.must(c.tools.ensure(t.Context(), "helm"))
	c.StoreBitstream(integration.NLB3)
	c.must(c.ImportImages(t.Context(), c.tools.Images))
	text, err := os.ReadFile(filepath.Join(c.tools.Tree, "docs", "install.md"))
	c.must(err)
	page := string(text)
	blocks := fenced.FindAllStringSubmatch(section(t, page, "## With Helm", "## All families of devices"), -1)
	if len(blocks) != 2 {
		t.Fatalf("the page has %d blocks with helm, want one to install and one to uninstall", len(blocks))
	}
	install, uninstall := blocks[0][1], blocks[1][1]

	c.helm("helm lint --strict deploy/helm/inlay")
	if notes := c.helm(install); !strings.Contains(notes, "daemonset/"+NodeDaemonSet) {
		t.Errorf("the notes do not name the DaemonSet:\n%s", notes)
	}
	c.must(c.AwaitInstalled(t.Context()))
	c.WaitAllocatable(region, 1)
	c.readsNLB3()

	// A release as it is published: one file, which has the kinds in it.
	running := PodSpec{Name: "goes-on", Resources: map[string]int64{"fpga.intel.com/nlb3": 1}}
	c.RunPod(running)
	packaged := t.TempDir()
	c.helm("helm package deploy/helm/inlay --destination " + packaged)
	c.helm("helm upgrade inlay " + packaged + "/inlay-*.tgz --namespace inlay-system --reset-then-reuse-values --wait --timeout 3m " +
		"--set node.resources.deviceplugin.limits.memory=192Mi --set webhook.replicas=1")
	c.must(c.AwaitInstalled(t.Context()))
	if got := c.Kubectl("get", "daemonset", "-n", NodeNamespace, NodeDaemonSet, "-o",
		`jsonpath={.spec.template.spec.containers[0].env[?(@.name=="GOMEMLIMIT")].value}`); got != "160MiB" {
		t.Errorf("after the upgrade GOMEMLIMIT is %q", got)
	}
	if got := c.Kubectl("get", "deployment", "-n", SystemNamespace, WebhookName, "-o", "jsonpath={.status.replicas}"); got != "1" {
		t.Errorf("after the upgrade the webhook has %s replicas", got)
	}
	c.WaitPod(running, Running)
	c.Delete(running)
	c.WaitAllocatable(region, 1)
	c.readsNLB3()

	c.Kubectl("delete", "daemonset", "-n", NodeNamespace, NodeDaemonSet, "--cascade=foreground")
	jobs, _, _ := strings.Cut(section(t, page, "### Uninstall", "## With Helm"), "\n#### ")
	for _, block := range fenced.FindAllStringSubmatch(jobs, -1) {
		if strings.Contains(block[1], "deploy/uninstall") || strings.Contains(block[1], "condition=Complete") {
			c.helm(block[1])
		}
	}
	c.helm(uninstall)
	if left := c.ofInlay(t); len(left) > 0 {
		t.Errorf("left on the node: %v", left)
	}
	for _, kind := range []string{
		"namespaces", "clusterroles", "clusterrolebindings", "mutatingwebhookconfigurations",
		"validatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
	} {
		if left := c.Kubectl("get", kind, "-o", "name"); strings.Contains(left, "inlay") {
			t.Errorf("left in the cluster:\n%s", left)
		}
	}
	if left := strings.TrimSpace(c.helm("helm list --all-namespaces --short")); left != "" {
		t.Errorf("releases that are left: %s", left)
	}
	c.Kubectl("get", "acceleratorfunction", "nlb3") // the kinds stay, and with them the mappings
}

// helm runs commands with helm in the PATH.
func (c *Test) helm(commands string) string {
	c.t.Helper()
	out, err := c.Script(c.t.Context(), "PATH="+filepath.Dir(c.tools.Path("helm"))+":$PATH\n"+commands)
	c.must(err)
	return out
}
