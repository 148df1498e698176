//go:build integration

package admission

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/integration/apiserver"
)

// testCondition shows by a webhook that is away which pods the registrations send to it.
func testCondition(t *testing.T, c *apiserver.Cluster) {
	ns := c.Namespace(t)
	create := func(spec string) string {
		r := c.Admin().Try(t.Context(), manifest("p", spec), "create", "--dry-run=server", "--validate=ignore", "-n", ns, "-f", "-")
		if r.Err == nil {
			return "created"
		}
		return r.Stderr
	}
	main := func(fields string) string { return "{containers: [{name: main, image: i, " + fields + "}]}" }
	first := func(fields string) string {
		return "{initContainers: [{name: first, image: i, " + fields + "}], containers: [{name: main, image: i}]}"
	}
	for name, spec := range map[string]string{
		"limits":                     main("resources: {limits: {fpga.intel.com/n3o: 1}}"),
		"requests alone":             main("resources: {requests: {fpga.intel.com/n3o: 1}}"),
		"a raw name":                 main("resources: {limits: {fpga.intel.com/region-" + iface + ": 1}}"),
		"a variable":                 main("env: [{name: A, value: b}, {name: FPGA_REGION_1, value: x}]"),
		"another beginning":          main("env: [{name: FPGA_AFUX}]"),
		"a prefix":                   main("envFrom: [{prefix: FPGA_REGION, configMapRef: {name: m}}]"),
		"another prefix":             main("envFrom: [{secretRef: {name: m}}, {prefix: FPGA_AFU_, secretRef: {name: m}}]"),
		"an init container":          first("resources: {limits: {fpga.intel.com/n3o: 1}}"),
		"an init container's env":    first("env: [{name: FPGA_AFU_1, value: x}]"),
		"a sidecar":                  first("restartPolicy: Always, resources: {limits: {fpga.intel.com/n3o: 1}}"),
		"the second container":       "{containers: [{name: main, image: i}, {name: second, image: i, env: [{name: FPGA_AFU_1}]}]}",
		"the pod's own resources":    "{resources: {limits: {fpga.intel.com/n3o: 1}}, containers: [{name: main, image: i}]}",
		"the pod's own requests":     "{resources: {requests: {fpga.intel.com/n3o: 1}}, containers: [{name: main, image: i}]}",
		"a variable that is written": `{containers: [{name: main, image: i, env: [{name: "FPGA_REGION_1", value: "$(X)"}]}]}`,
	} {
		if got := create(spec); !strings.Contains(got, `failed calling webhook "fpga.mutator.webhooks.intel.com"`) {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, spec := range map[string]string{
		"a plain pod":           main("env: [{name: A, value: b}], resources: {limits: {cpu: 1}}"),
		"null fields":           main("env: null, envFrom: null, resources: null"),
		"null limits":           main("resources: {limits: null, requests: null}"),
		"FPGA_ alone":           main("env: [{name: FPGA_, value: b}, {name: FPGA_REGIO, value: b}, {name: FPGA_af, value: b}]"),
		"the name in a value":   main("env: [{name: A, value: FPGA_REGION_1}]"),
		"the name further on":   main("env: [{name: MY_FPGA_REGION, value: b}]"),
		"another domain":        main("resources: {limits: {my.fpga.intel.com/n3o: 1, fpga.intel.community/n3o: 1}}"),
		"variables as they are": main("envFrom: [{configMapRef: {name: m}}, {prefix: FPGA_, secretRef: {name: m}}]"),
	} {
		if got := create(spec); got != "created" {
			t.Errorf("%s: %s", name, got)
		}
	}
	// Refused by the API server's own rules, in its own words.
	for name, spec := range map[string]string{"no containers": "{}", "null containers": "{containers: null}"} {
		if got := create(spec); !strings.Contains(got, "spec.containers: Required value") {
			t.Errorf("%s: %s", name, got)
		}
	}
	type variable struct {
		Name string `json:"name"`
	}
	var many []variable
	for i := range 20000 {
		many = append(many, variable{fmt.Sprintf("SERVICE_%05d_PORT_ADDRESS", i)})
	}
	env, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	if got := create(main("env: " + string(env))); got != "created" {
		t.Errorf("20,000 variables: %.500s", got)
	}
}

func testOneCondition(t *testing.T, c *apiserver.Cluster) {
	both := c.Kubectl(t, "get", "mutatingwebhookconfigurations/inlay-webhook", "validatingwebhookconfigurations/inlay-webhook",
		"-o", `jsonpath={range .items[*]}{.webhooks[0].matchConditions}{"\n"}{end}`)
	mutating, validating, _ := strings.Cut(strings.TrimSpace(both), "\n")
	if mutating == "" || mutating != validating {
		t.Errorf("the mutating webhook's:\n%s\nthe validating webhook's:\n%s", mutating, validating)
	}
}
