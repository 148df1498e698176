package critest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// canned is a report of ginkgo: its parts that are read, around specs.
func canned(specs string) string {
	return `[{"SuiteSucceeded":false,"RunTime":5000000000,"SpecReports":[
	{"ContainerHierarchyTexts":null,"LeafNodeType":"BeforeSuite","LeafNodeText":"","State":"passed","NumAttempts":1},` + specs + `]}]`
}

const (
	execSpec = `{"ContainerHierarchyTexts":["[k8s.io] Container","when it runs"],"LeafNodeType":"It","LeafNodeText":"should exec",
		"State":"passed","NumAttempts":1,"RunTime":2000000000}`
	mountSpec = `{"ContainerHierarchyTexts":["[k8s.io] Container"],"LeafNodeType":"It","LeafNodeText":"should mount",
		"State":"passed","NumAttempts":2,"RunTime":1000000000}`
	mountFails = `{"ContainerHierarchyTexts":["[k8s.io] Container"],"LeafNodeType":"It","LeafNodeText":"should mount",
		"State":"failed","NumAttempts":2,"RunTime":3000000000,"Failure":{"Message":"refused by a plugin\nmore"}}`
	skipsItself = `{"ContainerHierarchyTexts":["[k8s.io] SELinux"],"LeafNodeType":"It","LeafNodeText":"should label",
		"State":"skipped","NumAttempts":1,"Failure":{"Message":"no SELinux"}}`
	leftOut = `{"ContainerHierarchyTexts":["benchmark"],"LeafNodeType":"It","LeafNodeText":"fast","State":"skipped","NumAttempts":0}`
)

func parse(t *testing.T, specs ...string) Report {
	t.Helper()
	r, err := ParseReport([]byte(canned(strings.Join(specs, ","))))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAReportHasTheSpecsThatWereChosen(t *testing.T) {
	want := Report{Took: 5 * time.Second, Specs: map[string]Outcome{
		"[k8s.io] Container when it runs should exec": {State: "passed", Attempts: 1, Took: 2 * time.Second},
		"[k8s.io] Container should mount":             {State: "failed", Attempts: 2, Took: 3 * time.Second, Why: "refused by a plugin more"},
		"[k8s.io] SELinux should label":               {State: "skipped", Attempts: 1, Why: "no SELinux"},
	}}
	got := parse(t, execSpec, mountFails, skipsItself, leftOut)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"[k8s.io] Container should mount"}, got.Failures()); diff != "" {
		t.Error(diff)
	}
}

func TestAReportThatSaysNothingIsAnError(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"no JSON":              {"", "critest's report"},
		"no suite":             {"[]", "0 suites"},
		"every spec left out":  {canned(leftOut), "no spec"},
		"a spec twice":         {canned(execSpec + "," + execSpec), "two specs"},
		"the suite's own part": {strings.Replace(canned(execSpec), `"passed"`, `"failed"`, 1), "BeforeSuite"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseReport([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
}

func TestADifferenceIsReportedEitherWay(t *testing.T) {
	both, broken, missing := parse(t, execSpec, mountSpec), parse(t, execSpec, mountFails), parse(t, execSpec)
	for name, tt := range map[string]struct {
		without, with Report
		want          string // "" = none
	}{
		"the same":                 {both, both, ""},
		"fails with us":            {both, broken, "should mount: without inlay-nri passed, with it failed (refused by a plugin more)"},
		"passes only with us":      {broken, both, "should mount: without inlay-nri failed (refused by a plugin more), with it passed"},
		"not run with us":          {both, missing, "should mount: without inlay-nri passed, with it not run"},
		"fails both ways":          {broken, broken, ""},
		"failed there, not run so": {broken, missing, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Compare(tt.without, tt.with)
			if tt.want == "" && len(got) == 0 {
				return
			}
			if len(got) != 1 || !strings.HasSuffix(got[0].String(), tt.want) {
				t.Errorf("got %v, want %q", got, tt.want)
			}
		})
	}
}

func TestFewerPassesThanRecordedAreWrong(t *testing.T) {
	round := Round{Without: parse(t, execSpec, mountFails), With: parse(t, execSpec, mountFails)}
	if wrong := (Result{Rounds: []Round{round}, Floor: 1}).Wrong(); len(wrong) != 0 {
		t.Errorf("one pass is enough, and it says %v", wrong)
	}
	wrong := Result{Rounds: []Round{round}, Floor: 2}.Wrong()
	if len(wrong) != 2 || !strings.Contains(wrong[0], "1 specs pass with") || !strings.Contains(wrong[0], "should mount") {
		t.Errorf("got %v, want both runs with what fails now", wrong)
	}
}

func TestTimesAreThoseOfWhatPassesBothWays(t *testing.T) {
	result := Result{Runtime: "runtime 1", Rounds: []Round{
		{Without: parse(t, execSpec, mountSpec), With: parse(t, execSpec, mountFails)},
		{Without: parse(t, execSpec, mountSpec), With: parse(t, execSpec, mountSpec)},
	}}
	if without, with := result.Times(); without != 5*time.Second || with != 5*time.Second {
		t.Errorf("got %v and %v", without, with)
	}
	var text bytes.Buffer
	result.Write(&text, time.Now())
	for _, want := range []string{
		"| runtime 1 | 2 | 2 | 1 | 0 | 1 | 5.0 s | 5.0 s | 1.000 |", "Round 1, DIFFERENCE: [k8s.io] Container should mount",
		"Round 2, with: only at attempt 2: [k8s.io] Container should mount",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the document lacks %q:\n%s", want, text.String())
		}
	}
}

// The document in the tree is one that the next run can write to, and it keeps what is of the other runtime.
func TestTheResultInTheTreeKeepsItsSections(t *testing.T) {
	data, err := os.ReadFile("../../docs/results/critest.md")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "critest.md")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	round := Round{Without: parse(t, execSpec), With: parse(t, execSpec)}
	if err := (Result{Runtime: "cri-o 9.9", Rounds: []Round{round}}).WriteFile(file, time.Now()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(data), "\n## cri-o\n")
	text, rest, _ := strings.Cut(string(got), "\n## cri-o\n")
	if text != before || !strings.Contains(text, "needs AppArmor") || !strings.Contains(rest, "| cri-o 9.9 | 1 | 1 | 1 |") || strings.Contains(rest, "\n## ") {
		t.Errorf("from\n%s\nto\n%s", data, got)
	}
}
