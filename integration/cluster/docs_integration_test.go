//go:build integration

package cluster

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/integration"
)

// docs/install.md from the images to the last step of the uninstallation, each command as it is written there.
func TestInstallAndUninstallAsTheDocumentationSays(t *testing.T) {
	c := kit.Start(t, Options{})
	if tag, err := c.ImageTag(t.Context()); err != nil || tag != ImageVersion {
		t.Skipf("the page's commands name images of the tag %s; those of INLAY_IMAGES have %s (%v)", ImageVersion, tag, err)
	}
	// What make cluster has done, as the page says.
	c.StoreBitstream(integration.NLB0)
	c.must(c.ImportImages(t.Context(), c.tools.Images))
	page, err := os.ReadFile(filepath.Join(c.tools.Tree, "docs", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	install := section(t, string(page), "## On a cluster", "### Images of your own")
	uninstall := section(t, string(page), "### Uninstall", twoRounds)

	if before := c.ofInlay(t); len(before) > 0 {
		t.Fatalf("on a fresh node: %v", before)
	}
	wait, see, found := strings.Cut(install, "\n4. ")
	if !found {
		t.Fatal("the page has no step 4")
	}
	ran := c.follow(t, wait)
	c.WaitAllocatable(region, 1) // pods are ready before the kubelet has told the API server of the devices
	ran += c.follow(t, see)
	for _, want := range []string{"FPGA_AFU_1=" + integration.NLB0, "/dev/dfl-port.0", region} {
		if !strings.Contains(ran, want) {
			t.Errorf("following the page did not show %q:\n%s", want, ran)
		}
	}
	if during := c.ofInlay(t); len(during) < 5 {
		t.Errorf("an installed node has only %v of ours: what is looked for is wrong", during)
	}
	ran = c.follow(t, uninstall)
	if left := c.ofInlay(t); len(left) > 0 {
		t.Errorf("left on the node: %v\n%s", left, ran)
	}
	if _, err := os.Stat(c.BitstreamFile(integration.Interface, integration.NLB0)); err != nil {
		t.Errorf("bitstreams stay, says the page: %v", err)
	}
	c.nothingOfInlay(t)
}

// nothingOfInlay looks for what the API server may still have after the uninstallation.
func (c *Test) nothingOfInlay(t *testing.T) {
	t.Helper()
	for _, kind := range []string{
		"namespaces", "crds", "clusterroles", "clusterrolebindings", "mutatingwebhookconfigurations",
		"validatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
	} {
		for line := range strings.Lines(c.Kubectl("get", kind, "-o", "name")) {
			if strings.Contains(line, "inlay") || strings.Contains(line, "fpga.intel.com") {
				t.Errorf("left in the cluster: %s", line)
			}
		}
	}
}

// ofInlay are the files on the node that are there because of Inlay.
func (c *Test) ofInlay(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{
		"opt/inlay", "run/inlay", "var/lib/inlay", "run/cdi/*", "opt/nri/plugins/*", "etc/nri/conf.d/*", "usr/share/containers/oci/hooks.d/*",
		"var/lib/kubelet/device-plugins/*",
	} {
		files, err := filepath.Glob(c.HostPath(pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			// These two are the kubelet's own.
			if name := filepath.Base(f); name != "kubelet.sock" && name != "kubelet_internal_checkpoint" && name != "DEPRECATION" {
				all = append(all, strings.TrimPrefix(f, c.HostRoot))
			}
		}
	}
	return all
}

func section(t *testing.T, page, from, to string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n"+from+"\n")
	text, _, ends := strings.Cut(rest, "\n"+to+"\n")
	if !found || !ends {
		t.Fatalf("the page has no section %q that ends at %q", from, to)
	}
	return text
}

var (
	fenced = regexp.MustCompile("(?ms)^ *```(?:sh)?\n(.*?)^ *```$")
	// doneAlready are commands that make cluster has done, as the page says beside them.
	doneAlready = regexp.MustCompile(`(?m)^ *(make images |ctr |fpga_tool |skopeo )`)
	// instead stands on the page in the place of the demo's first command, for make cluster.
	instead = regexp.MustCompile(`(?m)^ *(sed .*deploy/demo/region\.yaml \| kubectl apply -f -)$`)
	demo    = regexp.MustCompile(`(?m)^ *kubectl apply -f deploy/demo/region\.yaml$`)
)

// follow runs the blocks of a section and returns all that they print.
func (c *Test) follow(t *testing.T, text string) string {
	t.Helper()
	replacement := instead.FindStringSubmatch(text)
	var out strings.Builder
	for _, block := range fenced.FindAllStringSubmatch(text, -1) {
		commands := block[1]
		if doneAlready.MatchString(commands) || instead.MatchString(commands) {
			continue
		}
		if demo.MatchString(commands) {
			if replacement == nil {
				t.Fatal("the page does not say how the demo runs without a registry")
			}
			commands = demo.ReplaceAllLiteralString(commands, replacement[1])
		}
		printed, err := c.Script(t.Context(), commands)
		if err != nil && demo.MatchString(block[1]) && strings.Contains(err.Error(), "denied the request") {
			// An API server that is busy has not told the webhook of the demo's mapping in time.
			t.Logf("once more: %v", err)
			printed, err = c.Script(t.Context(), commands)
		}
		out.WriteString("$ " + strings.TrimSpace(commands) + "\n" + printed)
		if err != nil {
			t.Fatalf("%v\nbefore that:\n%s", err, out.String())
		}
	}
	return out.String()
}
