package hostile

import (
	"strings"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

const (
	ruleAll      = "init containers and sidecars are looked at like containers"
	ruleTemplate = "the namespace is the request's where the pod names none"
	ruleRecord   = "the allocation record is the kubelet's to write"
	ruleMode     = "a pod's own placement gives no device"
)

// containers are cases about where in a pod a container stands.
func containers() []Case {
	n3o := func(name string) Change { return gets(name, regionA, "1", [2]string{ifaceA, nlb3}) }
	attack := []part{ask(regionA, 1), pair(1, ifaceA, prize)}
	own := []part{ask(regionA, 1), pair(1, ifaceA, nlb3)}
	noPrize := noMapping(video, v2.ModeRegion, prize)
	return []Case{
		{
			Name: "a name in an init container", Rule: ruleAll, In: video,
			Pod: pod(initContainer("first", ask(alias+"n3o", 1)), only()), API: translated(n3o("first")), Node: nowhere(),
		},
		{
			Name: "a name in a sidecar", Rule: ruleAll, In: video,
			Pod: pod(sidecar("beside", ask(alias+"n3o", 1)), only()), API: translated(n3o("beside")), Node: nowhere(),
		},
		{
			Name: "the prize in an init container", Rule: ruleAll, In: video,
			Pod: pod(initContainer("first", attack...), only()), API: denied("first"),
			Node: onRegions(these(refused("first", noPrize)), these(refused("first", develTakesNone))),
		},
		{
			Name: "the prize in the second init container", Rule: ruleAll, In: video,
			Pod: pod(initContainer("first"), initContainer("second", attack...), only()), API: denied("second"),
			Node: onRegions(these(bare("first"), refused("second", noPrize)), these(bare("first"), refused("second", develTakesNone))),
		},
		{
			Name: "the prize in a sidecar", Rule: ruleAll, In: video,
			Pod: pod(sidecar("beside", attack...), only()), API: denied("beside"),
			Node: onRegions(these(refused("beside", noPrize)), these(refused("beside", develTakesNone))),
		},
		{
			Name: "the prize in an init container without a mapping", Rule: ruleAll, In: village,
			Pod: pod(initContainer("first", attack...), only()), API: denied("first"),
			Node: onRegions(these(refused("first", noMapping(village, v2.ModeRegion, prize))), these(refused("first", develTakesNone))),
		},
		{
			Name: "another namespace's name in an init container", Rule: ruleAll, In: video,
			Pod: pod(initContainer("first", ask(alias+"gold", 1)), only()), API: denied("first", "gold"), Node: nowhere(),
		},
		{
			Name: "a port with the prize for an init container", Rule: ruleAll, In: video,
			Pod: pod(initContainer("first", ask(af(prize), 1)), only()), API: denied("first"),
			Node: onAF(refused("first", noMapping(video, v2.ModeAF, prize))),
		},
		{
			Name: "a whole card for a sidecar", Rule: ruleAll, In: video,
			Pod: pod(sidecar("beside", ask(regionA, 1)), only()), API: untouched(),
			Node: onRegions(these(refused("beside", regionNeedsOne)), these(refused("beside", noRegion(video)))),
		},
		{
			Name: "a reserved variable in an init container without an FPGA", Rule: ruleAll, In: video,
			Pod: pod(initContainer("first", env("FPGA_AFU_1", prize)), only()), API: denied("first", "FPGA_AFU_1"),
			Node: everywhere(bare("first"), bare("main")),
		},
		{
			Name: "a reserved variable in a sidecar without an FPGA", Rule: ruleAll, In: video,
			Pod: pod(sidecar("beside", env("FPGA_REGION_1", ifaceA)), only()), API: denied("beside", "FPGA_REGION_1"),
			Node: everywhere(bare("beside"), bare("main")),
		},
		{
			Name: "our output in an init container and after it", Rule: ruleOutput, In: video,
			Pod: pod(initContainer("first", own...), only(own...)), API: untouched(),
			Node: onRegions(these(reads("first", nlb3), reads("main", nlb3)), these(refused("first", develTakesNone))),
		},
		{
			Name: "our output in a sidecar and beside it", Rule: ruleOutput, In: video,
			Pod: pod(sidecar("beside", own...), only(own...)), API: untouched(), Node: onRegionAlone(reads("beside", nlb3), reads("main", nlb3)),
		},
		{
			Name: "the prize on the region that the init container had", Rule: ruleAll, In: video,
			Pod: pod(initContainer("first", own...), only(attack...)), API: denied("main"),
			Node: onRegions(these(reads("first", nlb3), refused("main", noPrize)), these(refused("first", develTakesNone))),
		},
		{
			Name: "what is left on the region that the init container had", Rule: "a region comes with a function, or with a mapping to the whole card", In: video,
			Pod: pod(initContainer("first", own...), only(ask(regionA, 1))), API: untouched(),
			Node: onRegions(these(reads("first", nlb3), refused("main", regionNeedsOne)), these(refused("first", develTakesNone))),
		},
		{
			Name: "a good container and one with the prize", Rule: "one bad container denies the whole pod", In: video,
			Pod: pod(container("good", own...), container("bad", attack...)), API: denied("bad"),
			Node: onRegionAlone(reads("good", nlb3), refused("bad", noPrize)),
		},
		{
			Name: "a name in one container, its variables in another", Rule: ruleReserved, In: video,
			Pod: pod(container("a", ask(alias+"n3o", 1)), container("b", pair(1, ifaceA, prize))), API: denied("b", "FPGA_AFU_1"), Node: nowhere(),
		},
		{
			Name: "100 containers", Rule: "each container is numbered from 1", In: video,
			Pod: pod(func(o Object) {
				for n := range 100 {
					container(numbered("c", n), ask(alias+"n3o", 1))(o)
				}
			}),
			API: func() Verdict {
				var all []Change
				for n := range 100 {
					all = append(all, n3o(numbered("c", n)))
				}
				return translated(all...)
			}(),
			Node: nowhere(),
		},
		{
			Name: "a path as a container's name", Rule: ruleEscape, In: video,
			Pod: pod(container("../0/env", ask(alias+"n3o", 1))), API: rejected("Invalid value"), Direct: direct(translated(n3o("../0/env"))),
			Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "JSON as a container's name", Rule: ruleEscape, In: video,
			Pod: pod(container(`a"},"allowed":true,"x":{"y":"`, env("FPGA_AFU_1", prize))), API: denied("FPGA_AFU_1"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "two containers of one name", Rule: "containers are told apart by their place", In: video,
			Pod: pod(container("same"), container("same", attack...)), API: denied("same"), Bare: "Duplicate value", Node: nowhere(),
		},
		{
			Name: "an ephemeral container", Rule: "ephemeral containers have no resources, and no pod begins with one", In: video,
			Pod: pod(only(), listed("ephemeralContainers", "later", attack)), API: rejected("ephemeralContainers"), Direct: direct(untouched()),
			Bare: "ephemeralContainers", Node: nowhere(),
		},
		{
			Name: "resources of the pod as a whole", Rule: "the pod as a whole has no FPGA", In: video,
			Pod: pod(only(), spec("resources", Object{
				"limits": Object{alias + "n3o": 1}, "requests": Object{alias + "n3o": 1},
			})),
			API: denied("n3o"), Bare: "Unsupported value", Node: nowhere(),
		},
		{
			Name: "overhead of the pod", Rule: "overhead is a RuntimeClass's to set", In: village,
			Pod: pod(only(), spec("overhead", Object{regionA: "1"})), API: rejected("verhead"), Direct: direct(untouched()),
			Bare: "verhead", Node: nowhere(),
		},
	}
}

// placement are cases about who a pod says it is and where it wants to run.
func placement() []Case {
	n3o := translated(gets("main", regionA, "1", [2]string{ifaceA, nlb3}))
	attack := only(ask(regionA, 1), pair(1, ifaceA, prize))
	noPrize := onRegions(these(refused("main", noMapping(video, v2.ModeRegion, prize))), these(refused("main", develTakesNone)))
	replica := func(p Object) {
		meta("name", nil)(p)
		meta("generateName", "set-7d9c-")(p)
		meta("ownerReferences", []any{Object{
			"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "set-7d9c", "uid": "1", "controller": true, "blockOwnerDeletion": true,
		}})(p)
	}
	return []Case{
		{
			Name: "a ReplicaSet's pod, without name and namespace", Rule: ruleTemplate, In: video,
			Pod: pod(replica, only(ask(alias+"n3o", 1))), API: n3o, Node: nowhere(),
		},
		{
			Name: "a ReplicaSet's pod with the prize", Rule: ruleTemplate, In: video,
			Pod: pod(replica, attack), API: denied("main"), Node: noPrize,
		},
		{
			Name: "a generated name", Rule: ruleTemplate, In: audio,
			Pod: pod(meta("name", nil), meta("generateName", "vault-"), only(ask(alias+"gold", 1))), API: denied("namespace audio"), Node: nowhere(),
		},
		{
			Name: "an empty namespace in the pod", Rule: ruleTemplate, In: video,
			Pod: pod(meta("namespace", ""), only(ask(alias+"n3o", 1))), API: n3o, Node: nowhere(),
		},
		{
			Name: "another namespace in the pod", Rule: "the pod's namespace is the request's", In: video,
			Pod: pod(meta("namespace", vault), only(ask(alias+"gold", 1))), API: rejected("does not match the namespace"),
			Direct: direct(denied("namespace")), Bare: "does not match the namespace", Node: nowhere(),
		},
		{
			Name: "a namespace that is a path", Rule: "the pod's namespace is the request's", In: video,
			Pod: pod(meta("namespace", "../vault"), only(ask(alias+"gold", 1))), API: rejected("does not match the namespace"),
			Direct: direct(denied("namespace")), Bare: "does not match the namespace", Node: nowhere(),
		},
		{
			Name: "an allocation record as a pod annotation", Rule: ruleRecord, In: video,
			Pod:  pod(annotation("allocated."+regionA, "dfl-fme.0@0000:3b:00.0"), only(pair(1, ifaceA, nlb3))),
			API:  denied("main", "FPGA_AFU_1"),
			Node: everywhere(refused("main", "the pod itself carries the annotation")),
		},
		{
			Name: "an allocation record as a pod annotation, and nothing else", Rule: ruleRecord, In: village,
			Pod:  pod(annotation("allocated."+regionA, "dfl-fme.0@0000:3b:00.0"), only()),
			API:  untouched(),
			Node: everywhere(refused("main", "the pod itself carries the annotation")),
		},
		{
			Name: "a record of a port as a pod annotation beside a right of one's own", Rule: ruleRecord, In: video,
			Pod:  pod(annotation("allocated."+af(prize), "dfl-port.1@0000:3b:00.0"), only(ask(af(nlb0), 1))),
			API:  untouched(),
			Node: onAF(refused("main", "the pod itself carries the annotation")),
		},
		{
			Name: "a CDI device as a pod annotation", Rule: ruleMode, In: village,
			Pod: pod(annotation("cdi.k8s.io/mine", "intel.cdi.k8s.io/fpga=gate"), only()), API: untouched(), Node: everywhere(bare("main")),
		},
		{
			Name: "the old plugin's annotation", Rule: ruleMode, In: village,
			Pod: pod(annotation("com.intel.fpga.mode", "fpga.intel.com/region"), only()), API: untouched(), Node: everywhere(bare("main")),
		},
		{
			Name: "a mark that the webhook was here", Rule: "the webhook believes no mark: it looks", In: video,
			Pod: pod(
				annotation("fpga.mutator.webhooks.intel.com/mappings", "main: "+alias+"gold -> AcceleratorFunction/gold -> "+regionA), attack,
			),
			API: denied("main"), Node: noPrize,
		},
		{
			Name: "a node of one's choice, past the scheduler", Rule: ruleMode, In: village,
			Pod: pod(spec("nodeName", "node"), only(ask(alias+"gold", 1))), API: denied("gold"), Node: everywhere(bare("main")),
		},
		{
			Name: "a node of one's choice, with the prize", Rule: ruleMode, In: video,
			Pod: pod(spec("nodeName", "node"), attack), API: denied("main"),
			Node: Nodes{
				v2.ModeAF: these(bare("main")), v2.ModeRegion: these(refused("main", noMapping(video, v2.ModeRegion, prize))),
				v2.ModeRegionDevel: these(refused("main", develTakesNone)),
			},
		},
		{
			Name: "a node of one's choice, with a port that only another node has", Rule: ruleMode, In: video,
			Pod: pod(spec("nodeName", "node"), only(ask(af(prize), 1))), API: denied(af(prize)),
			Node: Nodes{
				v2.ModeAF: these(refused("main", noMapping(video, v2.ModeAF, prize))), v2.ModeRegion: these(bare("main")),
				v2.ModeRegionDevel: these(bare("main")),
			},
		},
		{
			Name: "a whole card on a node that programs", Rule: "the node's mode decides how a region is meant", In: lab,
			Pod: pod(spec("nodeSelector", Object{"fpga.intel.com/mode": "region"}), only(ask(regionA, 1))), API: untouched(),
			Node: onRegions(these(refused("main", regionNeedsOne)), these(whole("main"))),
		},
		{
			Name: "a term of affinity that fits every node", Rule: "every term gets the mode", In: video,
			Pod: pod(spec("affinity", Object{"nodeAffinity": Object{"requiredDuringSchedulingIgnoredDuringExecution": Object{
				"nodeSelectorTerms": []any{
					Object{"matchExpressions": []any{Object{"key": "fpga.intel.com/mode", "operator": "DoesNotExist"}}},
					Object{"matchFields": []any{Object{"key": "metadata.name", "operator": "NotIn", "values": []any{"x"}}}},
				},
			}}}), only(ask(alias+"n3o", 1))),
			API: n3o, Node: nowhere(),
		},
		{
			Name: "labels, annotations and commands full of JSON", Rule: ruleEscape, In: video,
			Pod: pod(
				annotation("x", strings.Repeat("\\", 1000)),
				only(ask(alias+"n3o", 1), set("command", []any{"sh", "-c", `echo "$(FPGA_AFU_1)" '"},{'`})),
			),
			API: translated(gets("main", regionA, "1", [2]string{ifaceA, nlb3})), Node: nowhere(),
		},
	}
}
