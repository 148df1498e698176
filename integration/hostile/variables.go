package hostile

import (
	"strings"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

const (
	ruleReserved = "a container sets no reserved variable, but for our own output"
	ruleOutput   = "our own output is pairs 1…n of mapped functions, as many of each interface as regions"
	rulePlain    = "a reserved variable has a plain value"
	ruleKept     = "the container's own variables come through untouched"
)

// variables are cases about what a pod writes into env.
func variables() []Case {
	n3o := gets("main", regionA, "1", [2]string{ifaceA, nlb3})
	return []Case{
		{
			Name: "a function without an FPGA", Rule: ruleReserved, In: video,
			Pod: pod(only(env("FPGA_AFU_1", prize))), API: denied("main", "FPGA_AFU_1"), Node: everywhere(bare("main")),
		},
		{
			Name: "a reserved variable without its underscore", Rule: ruleReserved, In: village,
			Pod: pod(only(env("FPGA_REGION", ifaceA), env("FPGA_AFUX", prize))), API: denied("main", "FPGA_REGION"), Node: everywhere(bare("main")),
		},
		{
			Name: "reserved names in small letters", Rule: "reserved names are in capitals, as the node reads them", In: video,
			Pod: pod(only(ask(alias+"n3o", 1), env("fpga_afu_1", prize), env("Fpga_Region_1", ifaceA))), API: translated(n3o), Node: nowhere(),
		},
		{
			Name: "a space before a reserved name", Rule: "the node knows no such name", In: video,
			Pod: pod(only(ask(regionA, 1), env(" FPGA_AFU_1", prize), env(" FPGA_REGION_1", ifaceA))), API: untouched(),
			Node: onRegions(these(refused("main", regionNeedsOne)), these(refused("main", noRegion(video)))),
		},
		{
			Name: "reserved names with wide digits", Rule: ruleReserved, In: video,
			Pod: pod(only(ask(alias+"n3o", 1), env("FPGA_AFU_\uff11", prize))), API: denied("main", "FPGA_AFU_"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "an equals sign in a reserved name", Rule: ruleReserved, In: video,
			Pod: pod(only(ask(regionA, 1), env("FPGA_AFU_1="+prize, ""), env("FPGA_REGION_1="+ifaceA, ""))),
			API: denied("main", "FPGA_AFU_1"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "a reserved name behind a line feed", Rule: ruleKept, In: video,
			Pod: pod(only(ask(alias+"n3o", 1), env("A=1\nFPGA_AFU_1", prize))),
			API: rejected("Invalid value"), Direct: direct(translated(n3o)), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "an own function beside a name", Rule: ruleReserved, In: video,
			Pod: pod(only(ask(alias+"n3o", 1), pair(1, ifaceA, prize))), API: denied("main", "FPGA_AFU_1"), Node: nowhere(),
		},
		{
			Name: "one more function beside a name", Rule: ruleReserved, In: video,
			Pod: pod(only(ask(alias+"n3o", 1), pair(2, ifaceA, prize))), API: denied("main", "FPGA_AFU_2"), Node: nowhere(),
		},
		{
			Name: "the very function of the name beside it", Rule: ruleReserved, In: video,
			Pod: pod(only(ask(alias+"n3o", 1), pair(1, ifaceA, nlb3))), API: denied("main", "FPGA_AFU_1"), Node: nowhere(),
		},
		{
			Name: "our own output again", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, nlb3))), API: untouched(),
			Node: onRegions(these(reads("main", nlb3)), these(refused("main", develTakesNone))),
		},
		{
			Name: "the prize in a region that is mapped", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, prize))), API: denied("main"),
			Node: onRegions(these(refused("main", noMapping(video, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "another namespace's function in a region that is mapped", Rule: ruleOutput, In: audio,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, nlb3))), API: denied("main"),
			Node: onRegions(these(refused("main", noMapping(audio, v2.ModeRegion, nlb3))), these(refused("main", develTakesNone))),
		},
		{
			Name: "a function that is mapped in mode af, to be programmed", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, nlb0))), API: denied("main"),
			Node: onRegions(
				these(refused("main", noMapping(video, v2.ModeRegion, nlb0), "it has one of mode af")), these(refused("main", develTakesNone)),
			),
		},
		{
			Name: "the prize for a whole card", Rule: ruleOutput, In: lab,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, prize))), API: denied("main"),
			Node: onRegions(these(refused("main", noMapping(lab, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "one pair too many", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, nlb3), pair(2, ifaceA, nlb3))), API: denied("main"),
			Node: onRegions(these(refused("main", "2 functions asked for, 1 devices allocated")), these(refused("main", develTakesNone))),
		},
		{
			Name: "a good pair and the prize", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 2), pair(1, ifaceA, nlb3), pair(2, ifaceA, prize))), API: denied("main"),
			Node: onRegionAlone(refused("main", noMapping(video, v2.ModeRegion, prize))),
		},
		{
			Name: "two pairs of one interface for two interfaces", Rule: ruleOutput, In: studio,
			Pod: pod(only(ask(regionA, 1), ask(regionB, 1), pair(1, ifaceA, nlb3), pair(2, ifaceA, nlb0))), API: denied("main"),
			Node: onRegionAlone(refused("main", "2 functions asked for, 1 devices allocated")),
		},
		{
			Name: "a pair for each of two interfaces", Rule: ruleOutput, In: studio,
			Pod: pod(only(ask(regionA, 1), ask(regionB, 1), pair(1, ifaceB, nlb3), pair(2, ifaceA, nlb0))), API: untouched(),
			Node: onRegionAlone(reads("main", nlb0, nlb3)),
		},
		{
			Name: "the ids of a pair swapped", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), env("FPGA_AFU_1", ifaceA), env("FPGA_REGION_1", nlb3))), API: denied("main"),
			Node: onRegions(these(refused("main", "namespace video has no AcceleratorFunction")), these(refused("main", develTakesNone))),
		},
		{
			Name: "half a pair", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), env("FPGA_REGION_1", ifaceA))), API: denied("main", "FPGA_AFU_1"),
			Node: onRegions(these(refused("main", "FPGA_AFU_n")), these(refused("main", "FPGA_AFU_n"))),
		},
		{
			Name: "a pair that begins with 2", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), pair(2, ifaceA, nlb3))), API: denied("main"),
			Node: onRegions(these(reads("main", nlb3)), these(refused("main", develTakesNone))),
		},
		{
			Name: "a number with a nought", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), env("FPGA_AFU_01", nlb3), env("FPGA_REGION_01", ifaceA))), API: denied("main", "FPGA_AFU_01"),
			Node: onRegions(these(reads("main", nlb3)), these(refused("main", develTakesNone))),
		},
		{
			Name: "a number that wraps to 1", Rule: ruleOutput, In: video,
			Pod: pod(only(
				ask(regionA, 1), pair(1, ifaceA, nlb3), env("FPGA_AFU_18446744073709551617", prize), env("FPGA_REGION_18446744073709551617", ifaceA),
			)),
			API:  denied("main", "FPGA_AFU_18446744073709551617"),
			Node: onRegions(these(refused("main", noMapping(video, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "a good pair and an unnumbered one", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, nlb3), env("FPGA_AFU", prize))), API: denied("main", "FPGA_AFU"),
			Node: onRegions(these(reads("main", nlb3)), these(refused("main", develTakesNone))),
		},
		{
			Name: "a function twice, the prize last", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, nlb3), env("FPGA_AFU_1", prize))), API: denied("main", "FPGA_AFU_1"),
			Node: onRegions(these(refused("main", noMapping(video, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "a function twice, the prize first", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), env("FPGA_AFU_1", prize), pair(1, ifaceA, nlb3))), API: denied("main", "FPGA_AFU_1"),
			Node: onRegions(these(reads("main", nlb3)), these(refused("main", develTakesNone))),
		},
		{
			Name: "a function as people write it", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, " F7DF405C-BD7A-CF72-22F1-44B0B93ACD18"))), API: denied("main"),
			Node: onRegions(these(reads("main", nlb3)), these(refused("main", develTakesNone))),
		},
		{
			Name: "a path as a function", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, "../"+ifaceA+"/"+prize))), API: denied("main"),
			Node: onRegions(these(refused("main", "FPGA_AFU_1: function id")), these(refused("main", "FPGA_AFU_1: function id"))),
		},
		{
			Name: "JSON in a function", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, nlb3+`"},{"name":"FPGA_AFU_1","value":"`+prize))), API: denied("main"),
			Node: onRegions(these(refused("main", "FPGA_AFU_1: function id")), these(refused("main", "FPGA_AFU_1: function id"))),
		},
		{
			Name: "two lines in a function", Rule: ruleOutput, In: video,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, nlb3+"\nFPGA_AFU_1="+prize))), API: denied("main"),
			Node: onRegions(these(refused("main", "FPGA_AFU_1: function id")), these(refused("main", "FPGA_AFU_1: function id"))),
		},
		{
			Name: "a reference to the prize", Rule: rulePlain, In: video,
			Pod: pod(only(ask(regionA, 1), env("P", prize), env("FPGA_AFU_1", "$(P)"), env("FPGA_REGION_1", ifaceA))), API: denied("main", "FPGA_AFU_1"),
			Node: onRegions(these(refused("main", noMapping(video, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "an id put together from references", Rule: rulePlain, In: video,
			Pod: pod(only(
				ask(regionA, 1), env("P", prize[:16]), env("Q", prize[16:]), env("FPGA_AFU_1", "$(P)$(Q)"), env("FPGA_REGION_1", ifaceA),
			)),
			API:  denied("main", "FPGA_AFU_1"),
			Node: onRegions(these(refused("main", noMapping(video, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "an escaped reference", Rule: rulePlain, In: video,
			Pod: pod(only(ask(regionA, 1), env("P", prize), pair(1, ifaceA, "$$(P)"))), API: denied("main"),
			Node: onRegions(these(refused("main", "FPGA_AFU_1: function id")), these(refused("main", "FPGA_AFU_1: function id"))),
		},
		{
			Name: "a function from a ConfigMap's key", Rule: rulePlain, In: video, Outside: Outside{Config: map[string]string{"fn": prize}},
			Pod:  pod(only(ask(regionA, 1), envRef("FPGA_AFU_1", "configMapKeyRef", "fn"), env("FPGA_REGION_1", ifaceA))),
			API:  denied("main", "FPGA_AFU_1"),
			Node: onRegions(these(refused("main", noMapping(video, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "a function from a Secret's key", Rule: rulePlain, In: video, Outside: Outside{Config: map[string]string{"fn": prize}},
			Pod:  pod(only(ask(regionA, 1), envRef("FPGA_AFU_1", "secretKeyRef", "fn"), env("FPGA_REGION_1", ifaceA))),
			API:  denied("main", "FPGA_AFU_1"),
			Node: onRegions(these(refused("main", noMapping(video, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "a function from the pod's annotation", Rule: rulePlain, In: video,
			Pod: pod(annotation("fn", prize), only(
				ask(regionA, 1), envRef("FPGA_AFU_1", "fieldRef", "metadata.annotations['fn']"), env("FPGA_REGION_1", ifaceA),
			)),
			API:  denied("main", "FPGA_AFU_1"),
			Node: onRegions(these(refused("main", noMapping(video, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "the mapped function from a ConfigMap's key", Rule: rulePlain, In: video, Outside: Outside{Config: map[string]string{"fn": nlb3}},
			Pod: pod(only(ask(regionA, 1), envRef("FPGA_AFU_1", "configMapKeyRef", "fn"), env("FPGA_REGION_1", ifaceA))),
			API: denied("main", "FPGA_AFU_1"), Node: onRegions(these(reads("main", nlb3)), these(refused("main", develTakesNone))),
		},
		{
			Name: "variables beside a port that is named for its function", Rule: ruleReserved, In: video,
			Pod: pod(only(ask(af(nlb0), 1), pair(1, ifaceA, prize))), API: denied("main", "FPGA_AFU_1"), Node: onAF(reads("main", nlb0)),
		},
		{
			Name: "JSON in a value", Rule: ruleKept, In: video,
			Pod: pod(only(ask(alias+"n3o", 1), env("Z", `x"},{"name":"FPGA_AFU_1","value":"`+prize))), API: translated(n3o), Node: nowhere(),
		},
		{
			Name: "all that JSON escapes in a value", Rule: ruleKept, In: video,
			Pod: pod(only(ask(alias+"n3o", 1), env("Z", "\"\\\n\r\t\b\f\x01\x7f</script>\u2028\u2029&'"))), API: translated(n3o), Node: nowhere(),
		},
		{
			Name: "letters of many tongues in a value", Rule: ruleKept, In: video,
			Pod: pod(only(ask(alias+"n3o", 1), env("Z", "ключ 鍵 🔑 e\u0301 \u202eafu\ufffd"))), API: translated(n3o), Node: nowhere(),
		},
		{
			Name: "variables twice, references and sources", Rule: ruleKept, In: video, Outside: Outside{Config: map[string]string{"k": "v"}},
			Pod: pod(only(
				ask(alias+"n3o", 1), env("B", "$(FPGA_AFU_1)"), env("A", "1"), env("A", "$(A)2"), envRef("C", "configMapKeyRef", "k"),
				envRef("D", "fieldRef", "metadata.name"), env("A", "3"), env("E", ""), envFrom("configMapRef", "X_"),
			)),
			API: translated(n3o), Node: nowhere(),
		},
		{
			Name: "5,000 variables", Rule: ruleKept, In: video,
			Pod: pod(only(ask(alias+"n3o", 1), many(5000, "value"))), API: translated(n3o), Node: nowhere(),
		},
		{
			Name: "a value of 100 KiB, all of it quotes", Rule: ruleKept, In: video,
			Pod: pod(only(ask(alias+"n3o", 1), env("Z", strings.Repeat(`"`, 100<<10)))), API: translated(n3o), Node: nowhere(),
		},
		{
			Name: "a reserved variable behind 5,000 others", Rule: ruleReserved, In: video,
			Pod: pod(only(ask(regionA, 1), many(5000, "v"), pair(1, ifaceA, prize))), API: denied("main"),
			Node: onRegions(these(refused("main", noMapping(video, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "1,000 reserved variables", Rule: "a message has a bound", In: video,
			Pod: pod(only(func(o Object) {
				for n := range 500 {
					pair(n+1, ifaceA, prize)(o)
				}
			})),
			API: denied("main", "FPGA_AFU_"), Node: everywhere(bare("main")),
		},
	}
}
