package hostile

import (
	"fmt"
	"strconv"
)

// Pods are built from parts, each of which changes an object: pod(only(ask(…), env(…))).
type part func(Object)

func pod(parts ...part) Object {
	o := Object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": Object{"name": "pod"},
		"spec":     Object{},
	}
	for _, p := range parts {
		p(o)
	}
	return o
}

// field gives the object at a key, which it makes if need be.
func field(o Object, key string) Object {
	if v, ok := o[key].(Object); ok {
		return v
	}
	v := Object{}
	o[key] = v
	return v
}

func add(o Object, key string, v any) {
	list, _ := o[key].([]any)
	o[key] = append(list, v)
}

func listed(list, name string, parts []part) part {
	return func(o Object) {
		c := Object{"name": name, "image": "inlay.test/workload:1"}
		for _, p := range parts {
			p(c)
		}
		add(field(o, "spec"), list, c)
	}
}

func container(name string, parts ...part) part { return listed("containers", name, parts) }

// only is the container that most cases have alone; its name is main.
func only(parts ...part) part { return container("main", parts...) }

func initContainer(name string, parts ...part) part { return listed("initContainers", name, parts) }

func sidecar(name string, parts ...part) part {
	return listed("initContainers", name, append(parts, set("restartPolicy", "Always")))
}

// set puts any value at a key of the pod or container.
func set(key string, v any) part { return func(o Object) { o[key] = v } }

// spec puts any value at a key of the pod's spec.
func spec(key string, v any) part { return func(o Object) { field(o, "spec")[key] = v } }

// meta puts any value at a key of the pod's metadata; nil takes it away.
func meta(key string, v any) part {
	return func(o Object) {
		if v == nil {
			delete(field(o, "metadata"), key)
			return
		}
		field(o, "metadata")[key] = v
	}
}

func annotation(key, value string) part {
	return func(o Object) { field(field(o, "metadata"), "annotations")[key] = value }
}

// ask is a quantity of a resource in limits and requests.
func ask(resource string, quantity any) part {
	return func(o Object) {
		limit(resource, quantity)(o)
		request(resource, quantity)(o)
	}
}

func limit(resource string, quantity any) part {
	return func(o Object) { field(field(o, "resources"), "limits")[resource] = quantity }
}

func request(resource string, quantity any) part {
	return func(o Object) { field(field(o, "resources"), "requests")[resource] = quantity }
}

func env(name, value string) part {
	return func(o Object) { add(o, "env", Object{"name": name, "value": value}) }
}

// envRef is a variable from elsewhere: a key of the ConfigMap or Secret "config", or a field of the pod.
func envRef(name, source, key string) part {
	ref := Object{"name": "config", "key": key}
	if source == "fieldRef" {
		ref = Object{"fieldPath": key}
	}
	return func(o Object) { add(o, "env", Object{"name": name, "valueFrom": Object{source: ref}}) }
}

// envFrom takes all of the ConfigMap or Secret "config" (configMapRef, secretRef).
func envFrom(source, prefix string) part {
	return func(o Object) {
		e := Object{source: Object{"name": "config"}}
		if prefix != "" {
			e["prefix"] = prefix
		}
		add(o, "envFrom", e)
	}
}

// pair is the two variables of a function, as the webhook writes them.
func pair(n int, iface, afu string) part {
	return func(o Object) {
		env(numbered("FPGA_AFU_", n), afu)(o)
		env(numbered("FPGA_REGION_", n), iface)(o)
	}
}

func numbered(prefix string, n int) string { return prefix + strconv.Itoa(n) }

// many are n variables of no meaning.
func many(n int, value string) part {
	return func(o Object) {
		for i := range n {
			env(fmt.Sprintf("V%d", i), value)(o)
		}
	}
}

// prizeData is the two variables of the prize on interface A as data of a ConfigMap.
func prizeData(n int) map[string]string {
	return map[string]string{numbered("FPGA_REGION_", n): ifaceA, numbered("FPGA_AFU_", n): prize}
}

// pairENV is the two variables of a function as ENV of an image.
func pairENV(n int, iface, afu string) []string {
	return []string{numbered("FPGA_REGION_", n) + "=" + iface, numbered("FPGA_AFU_", n) + "=" + afu}
}
