//go:build integration

package admission

import (
	"fmt"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/integration/apiserver"
)

// eventSays waits for an event on an object, kind/name, with the reason and a message that holds the text.
func (s *System) eventSays(t *testing.T, ns, object, reason, text string) {
	t.Helper()
	apiserver.Eventually(t, leaseLimit, "event "+reason+" on "+object, func() error {
		r := s.Admin().Try(t.Context(), "", "events", "-n", ns, "--for", object, "--no-headers")
		for line := range strings.Lines(r.Stdout) {
			if strings.Contains(line, reason) && strings.Contains(line, text) {
				return nil
			}
		}
		return fmt.Errorf("none says %q: %s%s", text, r.Stdout, r.Stderr)
	})
}

func TestDenialsAreExplained(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ns := s.namespace(t, usual()+function("odd", nlb3, other, "region"))
	bare := s.Namespace(t)
	for _, special := range []string{"kube-system", Namespace} { // they have no default account yet
		if err := s.MakeNamespace(t.Context(), special); err != nil {
			t.Fatal(err)
		}
	}
	one := func(name string) string {
		return "{containers: [{name: main, image: i, resources: {limits: {fpga.intel.com/" + name + ": 1}}}]}"
	}
	env := func(asks, env string) string {
		return "{containers: [{name: main, image: i, resources: {limits: {" + asks + "}}, env: [" + env + "]}]}"
	}
	const pair = "{name: FPGA_REGION_1, value: " + iface + "}, {name: FPGA_AFU_1, value: " + nlb3 + "}"
	for name, c := range map[string]struct {
		ns, spec string
		says     []string
	}{
		"an unknown name":                                 {ns, one("alien"), []string{"main", "alien", ns}},
		"a mapping of another namespace":                  {bare, one("n3o"), []string{"main", "n3o", bare}},
		"no namespace is excluded":                        {"kube-system", one("n3o"), []string{"main", "n3o", "kube-system"}},
		"nor is the webhook's own":                        {Namespace, one("region-" + iface), []string{"main", "region-" + iface, Namespace}},
		"a resource that no mapping leads to":             {bare, one("region-" + iface), []string{"main", "region-" + iface, bare}},
		"a function in a card's place":                    {ns, one("af-695.f7d.aVKNtusxV3qMNmj5-qCB93301AUcz3JyJPRLCToy0Rg"), []string{"main"}},
		"two modes in a container":                        {ns, "{containers: [{name: main, image: i, resources: {limits: {fpga.intel.com/n3o: 1, fpga.intel.com/n0p: 1}}}]}", []string{"main", "mode"}},
		"more than a container can have":                  {ns, env("fpga.intel.com/n3o: 1000000000", ""), []string{"main", "n3o", "256"}},
		"a variable that chooses the function":            {ns, env("fpga.intel.com/n3o: 1", "{name: FPGA_AFU_1, value: "+nlb0+"}"), []string{"main", "FPGA_AFU_1"}},
		"a variable with a reserved beginning":            {ns, env("fpga.intel.com/n3o: 1", "{name: FPGA_REGIONAL, value: x}"), []string{"main", "FPGA_REGIONAL"}},
		"a reserved variable and no FPGA":                 {ns, env("", "{name: FPGA_AFU_1, value: "+nlb0+"}"), []string{"main", "FPGA_AFU_1"}},
		"a reserved variable in a namespace of none":      {bare, env("", "{name: FPGA_AFU_1, value: "+nlb0+"}"), []string{"main", "FPGA_AFU_1"}},
		"a function that no mapping gives":                {ns, env(region+": 1", "{name: FPGA_REGION_1, value: "+iface+"}, {name: FPGA_AFU_1, value: "+aocx+"}"), []string{"main", "FPGA_AFU_1"}},
		"a pair too many":                                 {ns, env(region+": 1", pair+", {name: FPGA_REGION_2, value: "+iface+"}, {name: FPGA_AFU_2, value: "+nlb3+"}"), []string{"main", "_2"}},
		"a pair too few":                                  {ns, env(region+": 2", pair), []string{"main", "FPGA_"}},
		"variables beside a mapping's name":               {ns, env("fpga.intel.com/n3o: 1", pair), []string{"main", "FPGA_"}},
		"a reserved variable from elsewhere":              {ns, env(region+": 1", "{name: FPGA_REGION_1, value: "+iface+"}, {name: FPGA_AFU_1, valueFrom: {configMapKeyRef: {name: m, key: k}}}"), []string{"main", "FPGA_AFU_1"}},
		"reserved variables by a prefix":                  {ns, "{containers: [{name: main, image: i, envFrom: [{prefix: FPGA_AFU, configMapRef: {name: m}}]}]}", []string{"main", "FPGA_AFU"}},
		"a reserved variable in an init container":        {ns, "{initContainers: [{name: first, image: i, env: [{name: FPGA_AFU_1, value: x}]}], containers: [{name: main, image: i}]}", []string{"first", "FPGA_AFU_1"}},
		"a reserved variable in a sidecar":                {ns, "{initContainers: [{name: side, image: i, restartPolicy: Always, env: [{name: FPGA_REGION_1, value: x}]}], containers: [{name: main, image: i}]}", []string{"side", "FPGA_REGION_1"}},
		"a raw name in an init container":                 {bare, "{initContainers: [{name: first, image: i, resources: {limits: {" + region + ": 1}}}], containers: [{name: main, image: i}]}", []string{"first", region}},
		"several reasons, of which the first is in whole": {ns, "{containers: [{name: main, image: i, resources: {limits: {fpga.intel.com/alien: 1}}}, {name: second, image: i, env: [{name: FPGA_AFU_1, value: x}]}]}", []string{"main", "alien", "1 more"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.Admin().Try(t.Context(), manifest("p", c.spec), "create", "-n", c.ns, "-f", "-")
			if r.Err == nil {
				t.Fatal("the pod was admitted")
			}
			t.Log(strings.TrimSpace(r.Stderr))
			for _, text := range append(c.says, `Error from server (Forbidden)`, `admission webhook "fpga.mutator.webhooks.intel.com" denied the request: `) {
				if !strings.Contains(r.Stderr, text) {
					t.Errorf("the message does not say %q: %s", text, r.Stderr)
				}
			}
			if strings.Count(r.Stderr, "\n") > 1 {
				t.Errorf("the message has several lines:\n%s", r.Stderr)
			}
		})
	}
}
