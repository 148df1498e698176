package hostile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// value is what an object is as JSON values: numbers as json.Number, lists as []any.
func value(o any) any {
	d := json.NewDecoder(strings.NewReader(string(asJSON(o))))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		panic(err) // asJSON has just written it
	}
	return v
}

// Changed is the pod as the verdict wants it, with everything else as it was.
func (v Verdict) Changed(pod any) any {
	out := value(pod)
	for _, c := range v.Changes {
		for _, ctr := range everyContainer(out) {
			if ctr["name"] == c.Container {
				c.apply(ctr)
			}
		}
	}
	return out
}

func (c Change) apply(ctr Object) {
	resources := field(ctr, "resources")
	for _, list := range []string{"limits", "requests"} {
		amounts := field(resources, list)
		for name := range amounts {
			if strings.HasPrefix(name, v2.Prefix) {
				delete(amounts, name)
			}
		}
		for name, n := range c.Resources {
			amounts[name] = n
		}
	}
	if len(c.Env) == 0 {
		return
	}
	var all []any
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		all = append(all, Object{"name": name, "value": value})
	}
	own, _ := ctr["env"].([]any)
	ctr["env"] = append(all, own...)
}

// everyContainer is the init containers and containers of a pod of JSON values.
func everyContainer(pod any) []Object {
	var all []Object
	o, _ := pod.(Object)
	spec, _ := o["spec"].(Object)
	for _, list := range []string{"initContainers", "containers"} {
		items, _ := spec[list].([]any)
		for _, item := range items {
			if c, ok := item.(Object); ok {
				all = append(all, c)
			}
		}
	}
	return all
}

// Entitled says what a pod that was admitted to a namespace has that no mapping of the namespace gives; nothing is what
// every admitted pod must have. It shares no code with the webhook.
func Entitled(namespace string, pod any) []string {
	var faults []string
	r := Rights{namespace}
	for _, c := range everyContainer(value(pod)) {
		name := c["name"]
		resources, _ := c["resources"].(Object)
		regions := map[string]bool{}
		for _, list := range []string{"limits", "requests"} {
			amounts, _ := resources[list].(Object)
			for resource := range amounts {
				if !strings.HasPrefix(resource, v2.Prefix) {
					continue
				}
				if !r.Resource(resource) {
					faults = append(faults, fmt.Sprintf("container %v has %s", name, resource))
				}
				if iface, ok := strings.CutPrefix(resource, v2.Prefix+"region-"); ok {
					regions[iface] = true
				}
			}
		}
		faults = append(faults, unentitledPairs(r, c, regions)...)
	}
	return faults
}

// unentitledPairs judges the reserved variables of a container.
func unentitledPairs(r Rights, c Object, regions map[string]bool) []string {
	var faults []string
	ifaces, afus := map[string]string{}, map[string]string{}
	list, _ := c["env"].([]any)
	for _, item := range list {
		e, _ := item.(Object)
		name, _ := e["name"].(string)
		if !strings.HasPrefix(name, "FPGA_REGION") && !strings.HasPrefix(name, "FPGA_AFU") {
			continue
		}
		value, plain := e["value"].(string)
		n, isRegion := strings.CutPrefix(name, "FPGA_REGION_")
		k, isAFU := strings.CutPrefix(name, "FPGA_AFU_")
		switch {
		case !plain || strings.Contains(value, "$"):
			faults = append(faults, fmt.Sprintf("container %v has %s from elsewhere", c["name"], name))
		case isRegion && ifaces[n] == "":
			ifaces[n] = value
		case isAFU && afus[k] == "":
			afus[k] = value
		default:
			faults = append(faults, fmt.Sprintf("container %v has %s, or has it twice", c["name"], name))
		}
	}
	for _, n := range slices.Collect(keys(ifaces, afus)) {
		if !regions[ifaces[n]] || !r.Function(v2.ModeRegion, ifaces[n], afus[n]) {
			faults = append(faults, fmt.Sprintf("container %v has pair %s: %s/%s", c["name"], n, ifaces[n], afus[n]))
		}
	}
	return faults
}

// keys are the keys of two maps, each once.
func keys(a, b map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range a {
			if !yield(k) {
				return
			}
		}
		for k := range b {
			if _, both := a[k]; !both && !yield(k) {
				return
			}
		}
	}
}
