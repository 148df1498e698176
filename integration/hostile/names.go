package hostile

import (
	"strings"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Rules that many cases test.
const (
	ruleOwnNamespace = "a name counts only if a mapping of the pod's own namespace has it"
	ruleRawNames     = "a raw name needs a mapping of the namespace that leads to it"
	rulePrefix       = "only the exact prefix fpga.intel.com/ is ours"
	ruleEscape       = "a name is data, in messages and in the paths of the patch"
	ruleOneMode      = "all that a container asks for is of one mode"
	ruleConflict     = "the older of two mappings has the name; one that leads nowhere gives nothing"
)

// names are cases about what a pod may ask for.
func names() []Case {
	return []Case{
		{
			Name: "another namespace's mapping", Rule: ruleOwnNamespace, In: video,
			Pod: pod(only(ask(alias+"gold", 1))),
			API: denied("namespace video has no AcceleratorFunction or FpgaRegion named gold"), Node: nowhere(),
		},
		{
			Name: "a mapping's name with its namespace", Rule: ruleOwnNamespace, In: video,
			Pod: pod(only(ask(alias+"vault.gold", 1))), API: denied("vault.gold"), Node: nowhere(),
		},
		{
			Name: "a namespace without mappings", Rule: ruleOwnNamespace, In: village,
			Pod: pod(only(ask(alias+"n3o", 1))), API: denied("namespace village", "n3o"), Node: nowhere(),
		},
		{
			Name: "a raw region without a mapping", Rule: ruleRawNames, In: village,
			Pod: pod(only(ask(regionA, 1))), API: denied("main", regionA, "village"),
			Node: onRegions(these(refused("main", regionNeedsOne)), these(refused("main", noRegion(village)))),
		},
		{
			Name: "a raw region with the prize's variables, without a mapping", Rule: ruleRawNames, In: village,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, prize))), API: denied("main"),
			Node: onRegions(these(refused("main", noMapping(village, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "a raw region of another interface than the namespace's", Rule: ruleRawNames, In: video,
			Pod: pod(only(ask(regionB, 1))), API: denied("main", regionB),
			Node: onRegionAlone(refused("main", regionNeedsOne)),
		},
		{
			Name: "a raw region of another interface, with the namespace's function", Rule: ruleRawNames, In: video,
			Pod: pod(only(ask(regionB, 1), pair(1, ifaceB, nlb3))), API: denied("main"),
			Node: onRegionAlone(refused("main", "namespace video has no AcceleratorFunction of mode region for interface "+ifaceB)),
		},
		{
			Name: "a raw af name without a mapping", Rule: ruleRawNames, In: video,
			Pod: pod(only(ask(af(prize), 1))), API: denied("main", af(prize)),
			Node: onAF(refused("main", noMapping(video, v2.ModeAF, prize))),
		},
		{
			Name: "a raw af name of a function that is mapped in mode region", Rule: ruleRawNames, In: audio,
			Pod: pod(only(ask(af(nlb0), 1))), API: denied("main", af(nlb0)),
			Node: onAF(refused("main", noMapping(audio, v2.ModeAF, nlb0), "it has one of mode region")),
		},
		{
			Name: "a raw af name that is mapped", Rule: "a raw name that a mapping leads to is granted as it stands", In: video,
			Pod: pod(only(ask(af(nlb0), 1))), API: untouched(), Node: onAF(reads("main", nlb0)),
		},
		{
			Name: "a raw region that only a function's mapping leads to, without variables",
			Rule: "a region comes with a function, or with a mapping to the whole card", In: video,
			Pod: pod(only(ask(regionA, 1))), API: untouched("without FPGA_AFU_n, and no FpgaRegion leads to it"),
			Node: onRegions(these(refused("main", regionNeedsOne)), these(refused("main", noRegion(video)))),
		},
		{
			Name: "a raw region that is mapped whole", Rule: "a raw name that a mapping leads to is granted as it stands", In: lab,
			Pod: pod(only(ask(regionA, 1))), API: untouched(),
			Node: onRegions(these(refused("main", regionNeedsOne)), these(whole("main"))),
		},
		{
			Name: "a raw af name where only the whole card is mapped", Rule: ruleRawNames, In: lab,
			Pod: pod(only(ask(af(prize), 1))), API: denied("main", af(prize)),
			Node: onAF(refused("main", noMapping(lab, v2.ModeAF, prize))),
		},
		{
			Name: "an af name whose digits for the reader are others", Rule: "a raw name has one spelling", In: video,
			Pod: pod(only(ask(strings.Replace(af(nlb0), "af-695.d84.", "af-000.000.", 1), 1))), API: denied("main"), Node: nowhere(),
		},
		{
			Name: "a raw region in capitals", Rule: "a raw name has one spelling", In: video,
			Pod: pod(only(ask(alias+"region-"+strings.ToUpper(ifaceA), 1))), API: denied("main"), Node: nowhere(),
		},
		{
			Name: "a raw region with dashes", Rule: "a raw name has one spelling", In: video,
			Pod: pod(only(ask(alias+"region-69528db6-eb31-577a-8c36-68f9faa081f6", 1))), API: denied("main"), Node: nowhere(),
		},
		{
			Name: "a raw region without its id", Rule: "a raw name has one spelling", In: video,
			Pod: pod(only(ask(alias+"region-", 1))), API: denied("main"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "a name in capitals", Rule: ruleOwnNamespace, In: video,
			Pod: pod(only(ask(alias+"N3O", 1))), API: denied("N3O"), Node: nowhere(),
		},
		{
			Name: "a longer domain", Rule: rulePrefix, In: video,
			Pod: pod(only(ask("fpga.intel.community/n3o", 1))), API: untouched(), Node: nowhere(),
		},
		{
			Name: "a domain below ours", Rule: rulePrefix, In: video,
			Pod: pod(only(ask("x.fpga.intel.com/n3o", 1))), API: untouched(), Node: nowhere(),
		},
		{
			Name: "a domain in capitals", Rule: rulePrefix, In: video,
			Pod: pod(only(ask("FPGA.intel.com/n3o", 1))), API: rejected("FPGA.intel.com"), Direct: direct(untouched()),
			Bare: "FPGA.intel.com", Node: nowhere(),
		},
		{
			Name: "a quota's name of our resource", Rule: rulePrefix, In: video,
			Pod: pod(only(ask("requests.fpga.intel.com/n3o", 1))), API: rejected("requests.fpga.intel.com/n3o"), Direct: direct(untouched()),
			Bare: "requests.fpga.intel.com/n3o", Node: nowhere(),
		},
		{
			Name: "the prefix alone", Rule: ruleOwnNamespace, In: video,
			Pod: pod(only(ask(alias, 1))), API: denied("main"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "a slash in the name", Rule: ruleEscape, In: video,
			Pod: pod(only(ask(alias+"n3o/limits/cpu", 1))), API: denied("main"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "a tilde in the name", Rule: ruleEscape, In: video,
			Pod: pod(only(ask(alias+"n3~o", 1))), API: denied("main"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "a JSON pointer's escape in the name", Rule: ruleEscape, In: video,
			Pod: pod(only(ask(alias+"n3o~1..~1..~0", 1))), API: denied("main"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "JSON in the name", Rule: ruleEscape, In: video,
			Pod: pod(only(ask(alias+`n3o":"1"},"x":{"y`, 1))), API: denied("main"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "a newline in the name", Rule: ruleEscape, In: video,
			Pod: pod(only(ask(alias+"n3o\nnamespace vault", 1))), API: denied("main"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "a letter that looks like another", Rule: ruleOwnNamespace, In: video,
			Pod: pod(only(ask(alias+"n3\u043e", 1))), API: denied("main"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "a letter with nothing to see", Rule: ruleOwnNamespace, In: video,
			Pod: pod(only(ask(alias+"n3o\u200b", 1))), API: denied("main"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "a space behind the name", Rule: ruleOwnNamespace, In: video,
			Pod: pod(only(ask(alias+"n3o ", 1))), API: denied("main"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "a name of 100,000 characters", Rule: "a message has a bound", In: video,
			Pod: pod(only(ask(alias+strings.Repeat("n", 100_000), 1))), API: denied("main"), Bare: "Invalid value", Node: nowhere(),
		},
		{
			Name: "functions of two modes in one container", Rule: ruleOneMode, In: video,
			Pod: pod(only(ask(alias+"n3o", 1), ask(alias+"n0p", 1))), API: denied("main", "mode"), Node: nowhere(),
		},
		{
			Name: "a function and a whole card in one container", Rule: ruleOneMode, In: studio,
			Pod: pod(only(ask(alias+"n3o", 1), ask(alias+"a10", 1))), API: denied("main", "mode"), Node: nowhere(),
		},
		{
			Name: "a function by name and one more region", Rule: "a raw region beside a function would have no function of its own", In: studio,
			Pod: pod(only(ask(alias+"n3o", 1), ask(regionA, 1))), API: denied("main"), Node: nowhere(),
		},
		{
			Name: "af and region by their raw names", Rule: ruleOneMode, In: video,
			Pod: pod(only(ask(af(nlb0), 1), ask(regionA, 1), pair(1, ifaceA, nlb3))), API: denied("main"), Node: nowhere(),
		},
		{
			Name: "a good name beside an unknown one", Rule: "one bad name denies the whole pod", In: video,
			Pod: pod(only(ask(alias+"n3o", 1), ask(alias+"gold", 1))), API: denied("gold"), Node: nowhere(),
		},
		{
			Name: "a raw name beside an unknown one", Rule: "one bad name denies the whole pod", In: video,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, nlb3), ask(alias+"gold", 1))), API: denied("main"), Node: nowhere(),
		},
		{
			Name: "two modes in two containers", Rule: "containers are looked at one by one", In: video,
			Pod: pod(container("a", ask(alias+"n3o", 1)), container("b", ask(alias+"n0p", 1))),
			API: translated(gets("a", regionA, "1", [2]string{ifaceA, nlb3}), gets("b", af(nlb0), "1")), Node: nowhere(),
		},
		{
			Name: "a whole card by both of its names", Rule: "names of one resource are added up", In: lab,
			Pod: pod(only(ask(alias+"a10", 1), ask(regionA, "1"))), API: translated(gets("main", regionA, "2")), Node: nowhere(),
		},
		{
			Name: "two functions of one region", Rule: "each function gets its number, in the order of the names", In: studio,
			Pod: pod(only(ask(alias+"n3o", 1), ask(alias+"n0o", 1))),
			API: translated(gets("main", regionA, "2", [2]string{ifaceA, nlb0}, [2]string{ifaceA, nlb3})), Node: nowhere(),
		},
		{
			Name: "the name that a younger mapping wants too", Rule: ruleConflict, In: attic,
			Pod: pod(only(ask(alias+"twin", 1))), API: translated(gets("main", regionA, "1", [2]string{ifaceA, nlb3})), Node: nowhere(),
		},
		{
			Name: "a mapping of mode afoo", Rule: ruleConflict, In: attic,
			Pod: pod(only(ask(alias+"oddmode", 1))), API: denied("main", "oddmode"), Node: nowhere(),
		},
		{
			Name: "a mapping with half an id", Rule: ruleConflict, In: attic,
			Pod: pod(only(ask(alias+"oddid", 1))), API: denied("main", "oddid"), Node: nowhere(),
		},
		{
			Name: "a mapping whose function is a path", Rule: ruleConflict, In: attic,
			Pod: pod(only(ask(alias+"climber", 1))), API: denied("main", "climber"), Node: nowhere(),
		},
		{
			Name: "what a mapping that leads nowhere says of the prize", Rule: ruleConflict, In: attic,
			Pod: pod(only(ask(regionA, 1), pair(1, ifaceA, prize))), API: denied("main"),
			Node: onRegions(these(refused("main", noMapping(attic, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
	}
}
