package hostile

import v2 "github.com/inlay-project/inlay/webhook/api/v2"

// ruleWish is why what no webhook sees does no harm: it is asked for, not granted.
const ruleWish = "the environment is a wish: the node grants what a mapping of the namespace gives"

// outside are cases in which the variables come from where no webhook looks: the image, a ConfigMap, a Secret, Services.
func outside() []Case {
	n3o := gets("main", regionA, "1", [2]string{ifaceA, nlb3})
	refusedPrize := onRegions(these(refused("main", noMapping(video, v2.ModeRegion, prize))), these(refused("main", develTakesNone)))
	own := pod(only(ask(regionA, 1), pair(1, ifaceA, nlb3)))
	return []Case{
		{
			Name: "ENV of the image, a raw region", Rule: ruleWish, In: video,
			Outside: Outside{Image: map[string][]string{"main": pairENV(1, ifaceA, prize)}},
			Pod:     pod(only(ask(regionA, 1))), API: untouched(), Node: refusedPrize,
		},
		{
			Name: "ENV of the image, a raw region without a mapping", Rule: ruleRawNames, In: village,
			Outside: Outside{Image: map[string][]string{"main": pairENV(1, ifaceA, nlb3)}},
			Pod:     pod(only(ask(regionA, 1))), API: denied("main"),
			Node: onRegions(these(refused("main", noMapping(village, v2.ModeRegion, nlb3))), these(refused("main", develTakesNone))),
		},
		{
			Name: "ENV of the image adds a pair to our output", Rule: ruleWish, In: video,
			Outside: Outside{Image: map[string][]string{"main": pairENV(2, ifaceA, prize)}},
			Pod:     own, API: untouched(), Node: refusedPrize,
		},
		{
			Name: "ENV of the image adds a pair that the namespace may have", Rule: "as many pairs of an interface as regions of it", In: video,
			Outside: Outside{Image: map[string][]string{"main": pairENV(2, ifaceA, nlb3)}},
			Pod:     own, API: untouched(),
			Node: onRegions(these(refused("main", "2 functions asked for, 1 devices allocated")), these(refused("main", develTakesNone))),
		},
		{
			Name: "ENV of the image under our output", Rule: "the pod's variables come over the image's", In: video,
			Outside: Outside{Image: map[string][]string{"main": pairENV(1, ifaceB, prize)}},
			Pod:     own, API: untouched(), Node: onRegions(these(reads("main", nlb3)), these(refused("main", develTakesNone))),
		},
		{
			Name: "ENV of the image with half a pair more", Rule: ruleWish, In: video,
			Outside: Outside{Image: map[string][]string{"main": {"FPGA_REGION_7=" + ifaceA}}},
			Pod:     own, API: untouched(),
			Node: onRegions(these(refused("main", "FPGA_REGION_7 is set, FPGA_AFU_7 is not")), these(refused("main", "FPGA_REGION_7 is set, FPGA_AFU_7 is not"))),
		},
		{
			Name: "half a pair from the image, half from the pod", Rule: ruleReserved, In: video,
			Outside: Outside{Image: map[string][]string{"main": {"FPGA_REGION_1=" + ifaceA}}},
			Pod:     pod(only(ask(regionA, 1), env("FPGA_AFU_1", prize))), API: denied("main", "FPGA_AFU_1"), Node: refusedPrize,
		},
		{
			Name: "ENV of an init container's image", Rule: ruleWish, In: video,
			Outside: Outside{Image: map[string][]string{"first": pairENV(1, ifaceA, prize)}},
			Pod:     pod(initContainer("first", ask(regionA, 1)), only()), API: untouched(),
			Node: onRegions(these(refused("first", noMapping(video, v2.ModeRegion, prize))), these(refused("first", develTakesNone))),
		},
		{
			Name: "ENV of the image for a port that is named for its function", Rule: "a port's name says its function, and no variable", In: video,
			Outside: Outside{Image: map[string][]string{"main": pairENV(1, ifaceA, prize)}},
			Pod:     pod(only(ask(af(nlb0), 1))), API: untouched(), Node: onAF(reads("main", nlb0)),
		},
		{
			Name: "ENV of the image asks for the function that is mapped", Rule: ruleWish, In: video,
			Outside: Outside{Image: map[string][]string{"main": pairENV(1, ifaceA, nlb3)}},
			Pod:     pod(only(ask(regionA, 1))), API: untouched(), Node: onRegions(these(reads("main", nlb3)), these(refused("main", develTakesNone))),
		},
		{
			Name: "ENV of the image for a whole card", Rule: "a node that programs nothing takes no function", In: lab,
			Outside: Outside{Image: map[string][]string{"main": pairENV(1, ifaceA, prize)}},
			Pod:     pod(only(ask(regionA, 1))), API: untouched(),
			Node: onRegions(these(refused("main", noMapping(lab, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "ENV of the image without an FPGA", Rule: ruleWish, In: video,
			Outside: Outside{Image: map[string][]string{"main": pairENV(1, ifaceA, prize)}},
			Pod:     pod(only()), API: untouched(), Node: everywhere(bare("main")),
		},
		{
			Name: "ENV of the image beside a name", Rule: "the pod's variables come over the image's", In: video,
			Outside: Outside{Image: map[string][]string{"main": pairENV(1, ifaceA, prize)}},
			Pod:     pod(only(ask(alias+"n3o", 1))), API: translated(n3o), Node: nowhere(),
		},
		{
			Name: "a whole ConfigMap, a raw region", Rule: ruleWish, In: video, Outside: Outside{Config: prizeData(1)},
			Pod: pod(only(ask(regionA, 1), envFrom("configMapRef", ""))), API: untouched(), Node: refusedPrize,
		},
		{
			Name: "a whole Secret, a raw region", Rule: ruleWish, In: video, Outside: Outside{Config: prizeData(1)},
			Pod: pod(only(ask(regionA, 1), envFrom("secretRef", ""))), API: untouched(), Node: refusedPrize,
		},
		{
			Name: "a whole ConfigMap beside a name", Rule: "env comes over envFrom", In: video, Outside: Outside{Config: prizeData(1)},
			Pod: pod(only(ask(alias+"n3o", 1), envFrom("configMapRef", ""))), API: translated(n3o), Node: nowhere(),
		},
		{
			Name: "a whole ConfigMap under our output", Rule: "env comes over envFrom", In: video, Outside: Outside{Config: prizeData(1)},
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, nlb3), envFrom("configMapRef", ""))), API: untouched(),
			Node: onRegions(these(reads("main", nlb3)), these(refused("main", develTakesNone))),
		},
		{
			Name: "a whole ConfigMap adds a pair to our output", Rule: ruleWish, In: video, Outside: Outside{Config: prizeData(2)},
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, nlb3), envFrom("configMapRef", ""))), API: untouched(), Node: refusedPrize,
		},
		{
			Name: "a ConfigMap with a reserved prefix", Rule: ruleReserved, In: video, Outside: Outside{Config: map[string]string{"1": prize}},
			Pod: pod(only(ask(regionA, 1), envFrom("configMapRef", "FPGA_AFU_"), env("R", ifaceA))), API: denied("main", "FPGA_AFU_"),
			Node: onRegions(these(refused("main", "FPGA_REGION_n")), these(refused("main", "FPGA_REGION_n"))),
		},
		{
			Name: "two reserved prefixes", Rule: ruleReserved, In: video, Outside: Outside{Config: map[string]string{"1": ifaceA}},
			Pod:  pod(only(ask(regionA, 1), envFrom("configMapRef", "FPGA_AFU_"), envFrom("configMapRef", "FPGA_REGION_"))),
			API:  denied("main", "FPGA_AFU_"),
			Node: onRegions(these(refused("main", "has no AcceleratorFunction of mode region")), these(refused("main", develTakesNone))),
		},
		{
			Name: "a reserved prefix without an FPGA", Rule: ruleReserved, In: village, Outside: Outside{Config: map[string]string{"1": prize}},
			Pod: pod(only(envFrom("secretRef", "FPGA_AFU_"))), API: denied("main", "FPGA_AFU_"), Node: everywhere(bare("main")),
		},
		{
			Name: "a prefix that a key makes reserved", Rule: ruleWish, In: video,
			Outside: Outside{Config: map[string]string{"AFU_1": prize, "REGION_1": ifaceA}},
			Pod:     pod(only(ask(regionA, 1), envFrom("configMapRef", "FPGA_"))), API: untouched(), Node: refusedPrize,
		},
		{
			Name: "a reserved variable that refers to a ConfigMap's", Rule: rulePlain, In: video, Outside: Outside{Config: map[string]string{"P": prize}},
			Pod: pod(only(ask(regionA, 1), envFrom("configMapRef", ""), env("FPGA_AFU_1", "$(P)"), env("FPGA_REGION_1", ifaceA))),
			API: denied("main", "FPGA_AFU_1"), Node: refusedPrize,
		},
		{
			Name: "a Service named fpga-region-1", Rule: "a variable that is no pair is refused, not guessed at", In: video,
			Outside: Outside{Services: map[string]string{"FPGA_REGION_1_SERVICE_HOST": "10.0.0.1", "FPGA_REGION_1_PORT": "tcp://10.0.0.1:80"}},
			Pod:     own, API: untouched(), Node: onRegions(these(refused("main", "FPGA_REGION_1_", "is set")), these(refused("main", "FPGA_REGION_1_", "is set"))),
		},
		{
			Name: "Services named for both halves of a pair", Rule: "a variable that is no pair is refused, not guessed at", In: video,
			Outside: Outside{Services: map[string]string{"FPGA_REGION_1_SERVICE_HOST": "10.0.0.1", "FPGA_AFU_1_SERVICE_HOST": "10.0.0.2"}},
			Pod:     own, API: untouched(), Node: onRegions(these(refused("main", "interface id")), these(refused("main", "interface id"))),
		},
	}
}
