package critest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Difference is a spec that does not end alike with and without inlay-nri.
type Difference struct {
	Spec          string
	Without, With Outcome
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: without inlay-nri %s, with it %s", d.Spec, d.Without.words(), d.With.words())
}

func (o Outcome) words() string {
	switch {
	case o.State == "":
		return "not run"
	case o.Passed() || o.Why == "":
		return o.State
	}
	return o.State + " (" + o.Why + ")"
}

// Compare gives the specs that pass in one of the two reports and not in the other,
// sorted by name.
func Compare(without, with Report) []Difference {
	names := append(without.Passes(), with.Passes()...)
	slices.Sort(names)
	var all []Difference
	for _, name := range slices.Compact(names) {
		d := Difference{Spec: name, Without: without.Specs[name], With: with.Specs[name]}
		if d.Without.Passed() != d.With.Passed() {
			all = append(all, d)
		}
	}
	return all
}

// Round is one run without inlay-nri and one with it, on runtimes of the same
// configuration and with the specs in the same order.
type Round struct{ Without, With Report }

// Result is all rounds on one runtime.
type Result struct {
	// Runtime is its name and version.
	Runtime string
	Rounds  []Round
	// Floor is the number of passes that no run may fall below.
	Floor int
}

// Wrong is what the rounds say against inlay-nri or against the runs themselves, a
// sentence each; none if all is well.
func (r Result) Wrong() []string {
	var wrong []string
	for n, round := range r.Rounds {
		for _, d := range Compare(round.Without, round.With) {
			wrong = append(wrong, fmt.Sprintf("%s, round %d: %v", r.Runtime, n+1, d))
		}
		for what, report := range map[string]Report{"without": round.Without, "with": round.With} {
			if passes := len(report.Passes()); passes < r.Floor {
				wrong = append(wrong, fmt.Sprintf("%s, round %d: %d specs pass %s inlay-nri, %d did when this test was made; now failing: %s",
					r.Runtime, n+1, passes, what, r.Floor, strings.Join(report.Failures(), "; ")))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// Times are the sums over all rounds, of the specs that pass both ways alone: the time
// that a failing spec waits says nothing.
func (r Result) Times() (without, with time.Duration) {
	for _, round := range r.Rounds {
		for name, o := range round.Without.Specs {
			if other := round.With.Specs[name]; o.Passed() && other.Passed() {
				without, with = without+o.Took, with+other.Took
			}
		}
	}
	return without, with
}
