package docs

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The page's messages are those of the programs, and each is one that a test meets: this
// test reads the code of both. Where a test's case is a fault of integration/faultlist…,
// that test holds the whole row against what the runtime's user saw as well.
func TestEachMessageIsWhatAProgramSaysAndATestProduces(t *testing.T) {
	faults, err := Faults()
	if err != nil {
		t.Fatal(err)
	}
	c := newCheck(t)
	messages := 0
	for _, f := range faults {
		messages += len(f.Messages)
		for _, wrong := range c.row(f) {
			t.Errorf("diagnose.md:%d: %s", f.Line, wrong)
		}
	}
	t.Logf("%d faults, %d messages", len(faults), messages)
	if len(faults) < 25 {
		t.Errorf("%d faults, at least 25 are promised", len(faults))
	}
}

// Every fault that the integration tests inject is on the page; they compare the messages.
func TestEachInjectedFaultIsOnThePage(t *testing.T) {
	faults, err := Faults()
	if err != nil {
		t.Fatal(err)
	}
	c, err := readCode("../integration")
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	for _, list := range c.decls["faults"] {
		ast.Inspect(list, func(n ast.Node) bool {
			field, ok := n.(*ast.KeyValueExpr)
			if !ok || fmt.Sprint(field.Key) != "name" {
				return true
			}
			name, _ := joined(field.Value)
			names++
			test := Test{Package: "integration", Function: "TestFaults", Case: name}
			if !slices.ContainsFunc(faults, func(f Fault) bool { return slices.Contains(f.Tests, test) }) {
				t.Errorf("diagnose.md does not name %s", test)
			}
			return true
		})
	}
	if names < 25 {
		t.Errorf("%d faults are injected, at least 25 are promised", names)
	}
}

// What the first test is for: a row that has drifted from the code is found.
func TestARowThatIsNotSoIsFound(t *testing.T) {
	c := newCheck(t)
	const test = "oci-hook TestWhatTheCardRefusesIsTold"
	for name, tt := range map[string]struct{ message, by, want string }{
		"as it is":                      {"read back <function>, expected <function>", test, ""},
		"nobody says it":                {"partial reconfiguration on Sundays: <why>", test, "no program says"},
		"no such package":               {"read back <function>, expected <function>", "oci-hooks TestX", "no such test"},
		"no such test":                  {"read back <function>, expected <function>", "oci-hook TestWhatTheCardRefuses", "no such test"},
		"no such case":                  {"read back <function>, expected <function>", test + "/on Sundays", "no such test"},
		"a test of something else":      {"the card changed while it was waited for", test, "expects nothing of"},
		"a file in which it is not":     {"read back <function>", "deviceplugins TestDiscoverOnEveryTree/discover/dead-card.txt", "expects nothing of"},
		"a file in which it is":         {"its interface id reads as all ones", "deviceplugins TestDiscoverOnEveryTree/discover/dead-card.txt", ""},
		"another case of the table":     {"allocated device <device>: it has no port", "nri-plugin/fpga TestEachRefusalNamesItsCause/half a pair", "expects nothing of"},
		"one of two tests is idle":      {"read back <function>, expected <function>", test + "; oci-hook TestAPortInUseIsWaitedForAndItsHolderNamed", "expects no message of this row"},
		"a runtime's own, as the test":  {"unresolvable CDI devices intel.cdi.k8s.io/fpga=<device>", "integration TestTheWayBackToAnEarlierPlugin", ""},
		"a runtime's own, in our words": {"unresolvable CDI devices of intel.cdi.k8s.io/fpga=<device>", "integration TestTheWayBackToAnEarlierPlugin", "no program says"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := parseRow(fmt.Sprintf("| `%s` | it | a way <!-- by %s --> |", tt.message, tt.by))
			if err != nil {
				t.Fatal(err)
			}
			wrong := strings.Join(c.row(f), "\n")
			if (wrong == "") != (tt.want == "") || !strings.Contains(wrong, tt.want) {
				t.Errorf("%q, want %q", wrong, tt.want)
			}
		})
	}
}

// check holds rows against the tree of which this package is a part.
type check struct {
	t        *testing.T
	root     string
	said     string
	packages map[string]code
}

func newCheck(t *testing.T) check {
	return check{t: t, root: "..", said: said(t, ".."), packages: map[string]code{}}
}

// row says what is wrong with a row.
func (c check) row(f Fault) (wrong []string) {
	var expected [][]string // by test
	for _, test := range f.Tests {
		texts, ok := c.expected(test)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("no such test: %s", test))
		}
		expected = append(expected, texts)
	}
	if len(wrong) > 0 {
		return wrong
	}
	idle := slices.Clone(f.Tests)
	for _, m := range f.Messages {
		found := false
		var words []string
		for k, texts := range expected {
			if slices.ContainsFunc(texts, func(text string) bool { return meets(text, m) }) {
				found = true
				idle = slices.DeleteFunc(idle, func(t Test) bool { return t == f.Tests[k] })
				words = append(words, texts...)
			}
		}
		if !found {
			wrong = append(wrong, fmt.Sprintf("%v expects nothing of %q", f.Tests, m))
			continue
		}
		for _, piece := range pieces(m) {
			if !strings.Contains(c.said, piece) && !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, piece) }) {
				wrong = append(wrong, fmt.Sprintf("no program says %q of %q", piece, m))
			}
		}
	}
	if len(wrong) == 0 {
		for _, test := range idle {
			wrong = append(wrong, fmt.Sprintf("%s expects no message of this row", test))
		}
	}
	return wrong
}

func (c check) expected(test Test) ([]string, bool) {
	pkg, known := c.packages[test.Package]
	if !known {
		var err error
		if pkg, err = readCode(filepath.Join(c.root, filepath.FromSlash(test.Package))); err != nil {
			c.t.Fatal(err)
		}
		c.packages[test.Package] = pkg
	}
	return pkg.expected(test)
}

// enough is how many bytes in a row a test's text must have in common with a message to
// expect it; less, if the message itself has no part that long.
const enough = 12

// meets tells whether a text of a test expects the message: a golden file has it whole, a
// substring or regular expression has a part of it.
func meets(text string, m Message) bool {
	if len(text) > 4096 || strings.Count(text, "\n") > 1 { // a file
		return m.In(text)
	}
	longest := 0
	for _, part := range m.Fixed() {
		longest = max(longest, len(part))
	}
	plain := strings.ReplaceAll(text, `\`, "") // of a regular expression
	for _, part := range m.Fixed() {
		n := min(enough, longest)
		for from := 0; from+n <= len(part); from++ {
			if s := part[from : from+n]; strings.Contains(text, s) || strings.Contains(plain, s) {
				return true
			}
		}
	}
	return false
}

// seams are where a message is put together: from an error and its cause, mostly.
var seams = regexp.MustCompile(`: |; |, expected|, not |\(|\)`)

// pieces are the parts of a message that stand in the code in one piece.
func pieces(m Message) []string {
	var all []string
	for _, part := range m.Fixed() {
		split := seams.Split(part, -1)
		for k, p := range split {
			if k == len(split)-2 && split[k+1] == "" && strings.HasSuffix(part, ": ") {
				all = append(all, p+": ") // the cause is next
				break
			}
			if p = strings.TrimSpace(p); p != "" {
				all = append(all, p)
			}
		}
	}
	return all
}

func TestAMessageIsFoundInWhatAUserSees(t *testing.T) {
	const m = Message("in use by <process>: gave up after <time>")
	for text, want := range map[string]bool{
		"Error: hook: in use by process 4711 (nlb3): gave up after 59s": true,
		"in use by process 4711: the time is over":                      false,
		"in use by : gave up after 1s":                                  false,
		"in use by processes\n4711, 4712: gave up after 1s":             true,
	} {
		if got := m.In(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
	rows, err := Explanations("inlay-nri refused pod ns/p container c: nothing is granted: policy file is missing: /var/lib/inlay/policy.json")
	if err != nil || len(rows) == 0 || !slices.ContainsFunc(rows, func(f Fault) bool {
		return slices.ContainsFunc(f.Tests, func(t Test) bool { return t.Case == "the policy file is missing" })
	}) {
		t.Errorf("%+v, %v", rows, err)
	}
}

func TestARowWithoutAMessageAWayOutOrATestIsAnError(t *testing.T) {
	const good = "## S\n\n| message | it means | way out |\n|---|---|---|\n| `a <b>`, `c` | d | e <!-- by p/q TestX/y z; r TestS --> |\n"
	faults, err := parse(good)
	if err != nil || len(faults) != 1 {
		t.Fatalf("%+v, %v", faults, err)
	}
	if f := faults[0]; f.Line != 5 || f.Section != "S" || len(f.Messages) != 2 || f.WayOut != "e" ||
		fmt.Sprint(f.Tests) != "[p/q TestX/y z r TestS]" {
		t.Errorf("%+v", f)
	}
	for _, spoilt := range [][2]string{{"`", ""}, {" e <", " <"}, {"<!-- by p/q TestX/y z; r TestS -->", ""}, {"p/q TestX", "TestX"}, {" | d", ""}} {
		if faults, err := parse(strings.ReplaceAll(good, spoilt[0], spoilt[1])); err == nil || !strings.Contains(err.Error(), "diagnose.md:5") {
			t.Errorf("without %q: %+v, %v", spoilt[0], faults, err)
		}
	}
}

// A page that a reader has in a terminal is readable there too.
func TestTheTestsStandAtTheEndOfTheLines(t *testing.T) {
	data, err := os.ReadFile("diagnose.md")
	if err != nil {
		t.Fatal(err)
	}
	for k, line := range strings.Split(string(data), "\n") {
		if at := strings.Index(line, "<!--"); at >= 0 && !strings.HasSuffix(line, "--> |") {
			t.Errorf("diagnose.md:%d: a comment in the middle", k+1)
		}
	}
}
