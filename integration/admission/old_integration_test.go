//go:build integration

package admission

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/integration/apiserver"
	"github.com/inlay-project/inlay/integration/process"
)

const oldNamespace = "old"

// storeOldMappings makes the cluster one in which the old system has been in use.
func storeOldMappings(ctx context.Context, c *apiserver.Cluster) error {
	if err := c.MakeNamespace(ctx, oldNamespace); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "-f", "testdata/old-crds.yaml"},
		{"wait", "--for=condition=Established", "--timeout=30s", "crd/acceleratorfunctions.fpga.intel.com", "crd/fpgaregions.fpga.intel.com"},
	} {
		if r := c.Admin().Try(ctx, "", args...); r.Err != nil {
			return r.Err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, waiting)
	defer cancel()
	return process.Poll(ctx, func() error {
		err := c.Admin().Try(ctx, "", "apply", "-n", oldNamespace, "-f", "testdata/old-good.yaml", "-f", "testdata/old-bad.yaml").Err
		if err != nil && !strings.Contains(err.Error(), "no matches for kind") { // a kind may be served a moment after it is Established
			err = process.Permanent(err)
		}
		return err
	})
}

func TestMappingsOfTheOldSystemLive(t *testing.T) {
	t.Parallel()
	s := shared(t)
	s.inStep(t, oldNamespace)
	got := s.Kubectl(t, "get", "af,fpga", "-n", oldNamespace,
		"-o", `jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].reason} {.status.resource}{"\n"}{end}`)
	for name, want := range map[string]string{
		"arria10.dcp1.2-nlb0-orchestrated":  "True LeadsToResource " + region,
		"arria10.dcp1.2-nlb0-preprogrammed": "True LeadsToResource " + nlb0AF,
		"d5005-matrix-mult-orchestrated":    "True LeadsToResource " + otherR,
		"arria10.dcp1.2":                    "True LeadsToResource " + region,
		"mode-afoo":                         "False InvalidMode ",
		"mode-xregion":                      "False InvalidMode ",
		"long-afu":                          "False InvalidAfuId ",
		"short-interface":                   "False InvalidInterfaceId ",
		"odd-region":                        "False InvalidInterfaceId ",
		"a-name-of-more-than-sixty-three-characters-which-no-resource-can-have": "False InvalidName ",
		"region-" + other: "False InvalidName ",
	} {
		if !strings.Contains("\n"+got, "\n"+name+" "+want+"\n") {
			t.Errorf("%s: want %q", name, want)
		}
	}
	if t.Failed() {
		t.Logf("kubectl get:\n%s", got)
	}

	t.Run("the same files apply again, and elsewhere", func(t *testing.T) {
		r := s.Admin().Try(t.Context(), "", "apply", "-n", oldNamespace, "-f", "testdata/old-good.yaml", "-f", "testdata/old-bad.yaml")
		if r.Err != nil || strings.Count(r.Stdout, "unchanged") != 11 {
			t.Errorf("apply where they are stored: %v\n%s", r.Err, r.Stdout)
		}
		s.Kubectl(t, "apply", "-n", s.Namespace(t), "-f", "testdata/old-good.yaml")
	})
	t.Run("stored ones that lead nowhere can be labelled and deleted", func(t *testing.T) {
		s.Kubectl(t, "label", "af/mode-xregion", "-n", oldNamespace, "seen=yes")
		s.Kubectl(t, "delete", "af/mode-xregion", "-n", oldNamespace)
	})
	t.Run("what leads nowhere is refused with its reason", func(t *testing.T) {
		for name, want := range map[string]string{
			"mode-afoo": "mode", "long-afu": "32", "short-interface": "interfaceId", "odd-region": "interfaceId",
		} {
			spec := "{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/" + name + ": 1}}}]}"
			r := s.Admin().Try(t.Context(), manifest("p", spec), "create", "-n", oldNamespace, "-f", "-")
			if r.Err == nil || !strings.Contains(r.Stderr, name) || !strings.Contains(r.Stderr, want) {
				t.Errorf("a pod that asks for %s: %v, want a refusal that says %q", name, r.Err, want)
			}
		}
	})
	t.Run("the new CRD does not accept more of them", func(t *testing.T) {
		bad, err := os.ReadFile("testdata/old-bad.yaml")
		if err != nil {
			t.Fatal(err)
		}
		ns := s.Namespace(t)
		for _, doc := range strings.Split(string(bad), "---\n") {
			if r := s.Admin().Try(t.Context(), doc, "create", "-n", ns, "-f", "-"); r.Err == nil {
				t.Errorf("created: %s", r.Stdout)
			}
		}
	})
}
