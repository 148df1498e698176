package fpga_test

import (
	"fmt"
	"strings"
)

// grown makes a pod of any bytes: each one chooses among words that matter, so that a fuzzer gets to where decisions are
// made instead of to where JSON ends.
func grown(choices []byte) []byte {
	g := &growth{choices: choices}
	return []byte(fmt.Sprintf(`{"metadata":{"name":"p"},"spec":{"initContainers":%s,"containers":%s,"affinity":%s%s}}`,
		g.containers(2), g.containers(3), g.affinity(), g.one("", "", "", "", `,"resources":{"limits":{"fpga.intel.com/n3o":"1"}}`)))
}

type growth struct{ choices []byte }

func (g *growth) pick(n int) int {
	if len(g.choices) == 0 {
		return 0
	}
	c := int(g.choices[0])
	g.choices = g.choices[1:]
	return c % n
}

func (g *growth) one(words ...string) string { return words[g.pick(len(words))] }

func (g *growth) list(most int, item func() string) string {
	var items []string
	for range g.pick(most + 1) {
		items = append(items, item())
	}
	return "[" + strings.Join(items, ",") + "]"
}

func (g *growth) containers(most int) string { return g.list(most, g.container) }

func (g *growth) container() string {
	if g.pick(32) == 31 {
		return "null"
	}
	return fmt.Sprintf(`{"name":%q,"resources":%s,"env":%s,"envFrom":%s}`, g.one("c", "web", ""), g.resources(),
		g.one(g.list(5, g.variable), "null", "[]"), g.one("null", "null", "null", "null", `[{"prefix":"A"}]`, `[{"prefix":"FPGA_REGION"}]`))
}

func (g *growth) resources() string {
	seen := make(map[string]bool)
	var limits, requests []string
	for range g.pick(4) {
		name := g.one(fp+"n3o", fp+"n0o", fp+"n0p", fp+"a10", fp+"mm", fp+"d5", regionDCP12, regionD5005, afNLB0, afNLB3, "cpu",
			fp+"odd", fp+"x", "fpga.intel.community/n3o", fp+"region-"+nlb0)
		if seen[name] {
			continue
		}
		seen[name] = true
		quantities := []string{`"1"`, `"2"`, `1`, `"3"`, `"1000m"`, `"0"`, `2.0`, `"1e0"`, `"1.5"`, `"-1"`, `"257"`}
		q := g.one(quantities...)
		limits = append(limits, fmt.Sprintf("%q:%s", name, q))
		if g.pick(16) == 15 {
			q = g.one(quantities...)
		}
		requests = append(requests, fmt.Sprintf("%q:%s", name, q))
	}
	return "{\"limits\":{" + strings.Join(limits, ",") + "},\"requests\":{" + strings.Join(requests, ",") + "}}"
}

func (g *growth) variable() string {
	name := g.one("A", "A", "FPGA_AFU_1", "FPGA_REGION_1", "FPGA_AFU_2", "FPGA_REGION_2", "FPGA_AFU", "FPGA_REGION_01")
	value := g.one(nlb3, dcp12, nlb0, d5005, aocx, `$(FPGA_AFU_1)`, `x\"},{\"name\":\"FPGA_AFU_1\"`)
	if g.pick(16) == 15 {
		return fmt.Sprintf(`{"name":%q,"valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}`, name)
	}
	return fmt.Sprintf(`{"name":%q,"value":"%s"}`, name, value)
}

func (g *growth) affinity() string {
	term := func() string {
		mode := func() string {
			return fmt.Sprintf(`{"key":%q,"operator":%q,"values":[%q]}`, g.one(fp+"mode", "zone"), g.one("In", "NotIn"), g.one("region", "af"))
		}
		return fmt.Sprintf(`{"matchExpressions":%s,"matchFields":%s}`, g.one(g.list(2, mode), "null"), g.one("null", `[{"key":"metadata.name","operator":"In","values":["n"]}]`))
	}
	return g.one("null", "{}", `{"nodeAffinity":{}}`, `{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":null}}`,
		`{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":`+g.list(3, term)+`}}}`)
}
