package critest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Outcome is what became of one spec.
type Outcome struct {
	// State is ginkgo's word: passed, failed, skipped, timedout, panicked, interrupted…
	State string
	// Attempts is how often the spec was tried; 0 if not at all.
	Attempts int
	Took     time.Duration
	// Why is the begin of what went wrong, in one line, or why the spec skipped itself.
	Why string
}

// Passed says whether the spec passed, at whatever attempt.
func (o Outcome) Passed() bool { return o.State == "passed" }

// Report is one run of critest: each spec that was chosen, by its whole name.
type Report struct {
	Specs map[string]Outcome
	// Took is the whole run's time.
	Took time.Duration
}

// Passes are the names of the specs that passed, sorted.
func (r Report) Passes() []string { return r.names(Outcome.Passed) }

// Failures are the names of the specs that ran and did not pass, sorted.
func (r Report) Failures() []string {
	return r.names(func(o Outcome) bool { return !o.Passed() && o.State != "skipped" })
}

func (r Report) names(which func(Outcome) bool) []string {
	var names []string
	for name, o := range r.Specs {
		if which(o) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ginkgoReport is the part of ginkgo's JSON report (types.Report of ginkgo 2) that is
// read here. Times are in nanoseconds.
type ginkgoReport struct {
	RunTime     time.Duration
	SpecReports []struct {
		ContainerHierarchyTexts    []string
		LeafNodeType, LeafNodeText string
		State                      string
		NumAttempts                int
		RunTime                    time.Duration
		Failure                    struct{ Message string }
	}
}

// ParseReport reads the file that critest writes with -ginkgo.json-report. Specs that
// flags have left out are not in the Report; those that skipped themselves are.
func ParseReport(data []byte) (Report, error) {
	var suites []ginkgoReport
	if err := json.Unmarshal(data, &suites); err != nil {
		return Report{}, fmt.Errorf("critest's report: %w", err)
	}
	if len(suites) != 1 {
		return Report{}, fmt.Errorf("critest's report: %d suites, not one", len(suites))
	}
	r := Report{Specs: map[string]Outcome{}, Took: suites[0].RunTime}
	for _, s := range suites[0].SpecReports {
		name := strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
		o := Outcome{State: s.State, Attempts: s.NumAttempts, Took: s.RunTime, Why: oneLine(s.Failure.Message)}
		if s.LeafNodeType != "It" {
			if s.State != "passed" {
				return r, fmt.Errorf("critest: %s: %s: %s", s.LeafNodeType, s.State, o.Why)
			}
			continue
		}
		if s.State == "skipped" && s.NumAttempts == 0 && o.Why == "" || s.State == "pending" {
			continue
		}
		if _, twice := r.Specs[name]; twice {
			return r, fmt.Errorf("critest's report: two specs are called %q", name)
		}
		r.Specs[name] = o
	}
	if len(r.Specs) == 0 {
		return r, fmt.Errorf("critest ran no spec")
	}
	return r, nil
}

// oneLine is the begin of a text of several lines.
func oneLine(text string) string {
	const most = 240
	words := []rune(strings.Join(strings.Fields(text), " "))
	if len(words) > most {
		return string(words[:most]) + "…"
	}
	return string(words)
}
