package hostile

import (
	"strings"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

const (
	ruleBounded = "a quantity is whole, at least 0, and at most 256 a container and 1,024 a pod"
	ruleEqual   = "limits and requests are equal as numbers"
)

// quantities are cases about how much a pod asks for.
func quantities() []Case {
	granted := translated(gets("main", regionA, "1", [2]string{ifaceA, nlb3}))
	return []Case{
		{
			Name: "1e9 functions", Rule: ruleBounded, In: video,
			Pod: pod(only(ask(alias+"n3o", 1_000_000_000))), API: denied("main", "n3o", "256"), Node: nowhere(),
		},
		{
			Name: "1e9 regions by their raw name", Rule: ruleBounded, In: video,
			Pod: pod(only(ask(regionA, "1e9"), pair(1, ifaceA, nlb3))), API: denied("main"), Node: nowhere(),
		},
		{
			Name: "257 functions", Rule: ruleBounded, In: video,
			Pod: pod(only(ask(alias+"n3o", 257))), API: denied("main", "257", "256"), Node: nowhere(),
		},
		{
			Name: "5 times 256 functions", Rule: ruleBounded, In: video,
			Pod: pod(
				container("a", ask(alias+"n3o", 256)), container("b", ask(alias+"n3o", 256)), container("c", ask(alias+"n3o", 256)),
				initContainer("d", ask(alias+"n3o", 256)), container("e", ask(alias+"n3o", 256)),
			),
			API: denied("1024"), Node: nowhere(),
		},
		{
			Name: "256 of each of two names", Rule: ruleBounded, In: studio,
			Pod: pod(only(ask(alias+"n3o", 256), ask(alias+"n0o", 256))), API: denied("main", "256"), Node: nowhere(),
		},
		{
			Name: "more than 64 bits", Rule: ruleBounded, In: video,
			Pod: pod(only(ask(alias+"n3o", "18446744073709551617"))), API: denied("main", "n3o"), Node: nowhere(),
		},
		{
			Name: "an exponent that means 1e18", Rule: ruleBounded, In: video,
			Pod: pod(only(ask(alias+"n3o", "1E"))), API: denied("main", "n3o"), Node: nowhere(),
		},
		{
			Name: "1Ki", Rule: ruleBounded, In: video,
			Pod: pod(only(ask(alias+"n3o", "1Ki"))), API: denied("main", "256"), Node: nowhere(),
		},
		{
			Name: "less than none", Rule: ruleBounded, In: video,
			Pod: pod(only(ask(alias+"n3o", "-1"))), API: denied("main", "n3o"), Bare: "greater than or equal to 0", Node: nowhere(),
		},
		{
			Name: "less than none of a raw name", Rule: ruleBounded, In: video,
			Pod: pod(only(ask(regionA, -1), pair(1, ifaceA, nlb3))),
			API: denied("main"), Bare: "greater than or equal to 0", Node: nowhere(),
		},
		{
			Name: "one and a half", Rule: ruleBounded, In: video,
			Pod: pod(only(ask(alias+"n3o", "1.5"))), API: denied("main", "n3o"), Bare: "must be an integer", Node: nowhere(),
		},
		{
			Name: "1500m", Rule: ruleBounded, In: video,
			Pod: pod(only(ask(alias+"n3o", "1500m"))), API: denied("main", "n3o"), Bare: "must be an integer", Node: nowhere(),
		},
		{
			Name: "a milliardth", Rule: ruleBounded, In: video,
			Pod: pod(only(ask(alias+"n3o", "1n"))), API: denied("main", "n3o"), Bare: "must be an integer", Node: nowhere(),
		},
		{
			Name: "1000m", Rule: "quantities are compared as numbers, not as they are written", In: video,
			Pod: pod(only(ask(alias+"n3o", "1000m"))), API: granted, Node: nowhere(),
		},
		{
			Name: "an exponent that means 1", Rule: "quantities are compared as numbers, not as they are written", In: video,
			Pod: pod(only(limit(alias+"n3o", "0.1e1"), request(alias+"n3o", 1))), API: granted, Node: nowhere(),
		},
		{
			Name: "1 and 1000m", Rule: ruleEqual, In: video,
			Pod: pod(only(limit(alias+"n3o", 1), request(alias+"n3o", "1000m"))), API: granted, Node: nowhere(),
		},
		{
			Name: "a sign and noughts", Rule: "quantities are compared as numbers, not as they are written", In: video,
			Pod: pod(only(limit(alias+"n3o", "+0001.000"), request(alias+"n3o", "1"))), API: granted, Node: nowhere(),
		},
		{
			Name: "none of a name", Rule: "none is a number too: no variables", In: video,
			Pod: pod(only(ask(alias+"n3o", 0))), API: translated(gets("main", regionA, "0")), Node: everywhere(bare("main")),
		},
		{
			Name: "none of another namespace's name", Rule: ruleOwnNamespace, In: village,
			Pod: pod(only(ask(alias+"gold", 0))), API: denied("main", "gold"), Node: everywhere(bare("main")),
		},
		{
			Name: "none of a card's name beside the prize", Rule: "variables go with raw names alone, whatever their number", In: studio,
			Pod: pod(only(ask(alias+"a10", 0), ask(regionA, 1), pair(1, ifaceA, prize))), API: denied("main", "FPGA_AFU_1"),
			Node: onRegions(these(refused("main", noMapping(studio, v2.ModeRegion, prize))), these(refused("main", develTakesNone))),
		},
		{
			Name: "none of a function's name beside a function of another mode", Rule: ruleOneMode, In: video,
			Pod: pod(only(ask(alias+"n3o", 0), ask(alias+"n0p", 1))), API: denied("main", "mode"), Node: nowhere(),
		},
		{
			Name: "none of another namespace's port beside our output", Rule: ruleRawNames, In: video,
			Pod: pod(only(ask(af(prize), 0), ask(regionA, 1), pair(1, ifaceA, nlb3))), API: denied("main", af(prize)),
			Node: onRegions(these(reads("main", nlb3)), these(refused("main", develTakesNone))),
		},
		{
			Name: "none of a raw region, and variables", Rule: "variables need a region to choose for", In: video,
			Pod: pod(only(ask(regionA, "0"), pair(1, ifaceA, prize))), API: denied("main", "FPGA_AFU_1"),
			Node: everywhere(bare("main")),
		},
		{
			Name: "none of a raw region without a mapping", Rule: ruleRawNames, In: village,
			Pod: pod(only(ask(regionA, "0"))), API: denied("main", "village"),
			Node: everywhere(bare("main")),
		},
		{
			Name: "limits alone", Rule: "an API server fills requests from limits; a review without it is refused", In: video,
			Pod: pod(only(limit(alias+"n3o", 1))), API: granted, Direct: direct(denied("main", "n3o", "requests")), Node: nowhere(),
		},
		{
			Name: "requests alone", Rule: ruleEqual, In: video,
			Pod: pod(only(request(alias+"n3o", 1))), API: denied("main", "n3o", "limits"), Bare: "Limit must be set", Node: nowhere(),
		},
		{
			Name: "requests of a raw region alone", Rule: ruleEqual, In: video,
			Pod: pod(only(request(regionA, 1), pair(1, ifaceA, nlb3))), API: denied("main"), Bare: "Limit must be set", Node: nowhere(),
		},
		{
			Name: "less in limits than in requests", Rule: ruleEqual, In: video,
			Pod: pod(only(limit(alias+"n3o", 1), request(alias+"n3o", 2))), API: denied("main", "n3o"), Bare: "equal to", Node: nowhere(),
		},
		{
			Name: "a name in limits, its region in requests", Rule: ruleEqual, In: video,
			Pod: pod(only(limit(alias+"n3o", 1), request(regionA, 1))),
			API: denied("main"), Bare: "Limit must be set", Node: nowhere(),
		},
		{
			Name: "a number that is none", Rule: "a quantity is one", In: video,
			Pod: pod(only(ask(alias+"n3o", "many"))), API: rejected("quantities must match"), Direct: direct(denied("n3o")),
			Bare: "quantities must match", Node: nowhere(),
		},
		{
			Name: "an empty number", Rule: "a quantity is one", In: video,
			Pod: pod(only(ask(alias+"n3o", ""))), API: rejected("quantities must match"), Direct: direct(denied("n3o")),
			Bare: "quantities must match", Node: nowhere(),
		},
		{
			Name: "a number of 100,000 digits", Rule: "a quantity has at most 64 characters", In: video,
			Pod: pod(only(ask(alias+"n3o", "1."+strings.Repeat("0", 100_000)))), API: granted,
			Direct: direct(denied("main", "n3o")), Node: nowhere(),
		},
		{
			Name: "more regions than were given functions", Rule: "as many pairs of an interface as regions of it", In: video,
			Pod: pod(only(ask(regionA, 2), pair(1, ifaceA, nlb3))), API: denied("main"),
			Node: onRegionAlone(refused("main", "1 functions asked for, 2 devices allocated")),
		},
		{
			Name: "all regions of the node for one namespace's function", Rule: "as many pairs of an interface as regions of it", In: video,
			Pod: pod(only(ask(regionA, 2), pair(1, ifaceA, nlb3), pair(2, ifaceA, nlb3))),
			API: untouched(), Node: onRegionAlone(reads("main", nlb3, nlb3)),
		},
		{
			Name: "two whole cards of which the node has one", Rule: ruleRawNames, In: lab,
			Pod: pod(only(ask(regionA, 2))), API: untouched(), Node: onRegionAlone(refused("main", regionNeedsOne)),
		},
		{
			Name: "both ports, of which one is mapped", Rule: ruleRawNames, In: video,
			Pod: pod(only(ask(af(nlb0), 1), ask(af(prize), 1))), API: denied("main", af(prize)),
			Node: onAF(refused("main", noMapping(video, v2.ModeAF, prize))),
		},
	}
}
