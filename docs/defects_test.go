package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// defects are the weaknesses of the device plugins before ours, by what they are of, numbered from 1: the framework, GPU,
// QAT, SGX, DSA and IAA, DLB and NPU.
var defects = []struct {
	of    string
	count int
}{{"F", 10}, {"G", 10}, {"Q", 11}, {"S", 6}, {"D", 5}, {"L", 3}}

var (
	numberedTest = regexp.MustCompile(`(?m)^func (Test\w+_([FGQSDL][0-9]{1,2}))\(`)
	inCode       = regexp.MustCompile("`([^`]+)`")
)

// numberedTests are the tests of the tree whose names end in a defect's number, each after its folder.
func numberedTests(t *testing.T) (tests []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			switch e.Name() {
			case ".git", "bin", "dist", "testdata":
				return fs.SkipDir
			}
		case strings.HasSuffix(path, "_test.go"):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range numberedTest.FindAllSubmatch(text, -1) {
				tests = append(tests, strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")+" "+string(m[1]))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(tests)
	return tests
}

// answers are the rows of defects.md: the tests of a defect, each after its folder, or the reason for none.
func answers(t *testing.T, page string) (tests map[string][]string, reasons map[string]string) {
	t.Helper()
	tests, reasons = map[string][]string{}, map[string]string{}
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || !regexp.MustCompile(`^[A-Z][0-9]+$`).MatchString(strings.TrimSpace(cells[1])) {
			continue
		}
		id, answer := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[3])
		if tests[id] != nil || reasons[id] != "" {
			t.Errorf("%s is there twice", id)
		}
		if reason, none := strings.CutPrefix(answer, "none: "); none {
			reasons[id] = reason
			continue
		}
		folder := ""
		for _, m := range inCode.FindAllStringSubmatch(answer, -1) {
			if strings.HasPrefix(m[1], "Test") {
				tests[id] = append(tests[id], folder+" "+m[1])
			} else {
				folder = m[1]
			}
		}
	}
	return tests, reasons
}

func TestEachDefectHasATestOrAReason(t *testing.T) {
	text, err := os.ReadFile("defects.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, reasons := answers(t, string(text))
	known := map[string]bool{}
	for _, d := range defects {
		for n := range d.count {
			id := fmt.Sprint(d.of, n+1)
			known[id] = true
			if len(tests[id]) == 0 && len(reasons[id]) < len("Inlay has none") {
				t.Errorf("defects.md has neither a test nor a reason for %s", id)
			}
		}
	}
	there := numberedTests(t)
	named := map[string]bool{}
	for id, all := range tests {
		if !known[id] {
			t.Errorf("defects.md: %s is no defect", id)
		}
		for _, test := range all {
			named[test] = true
			if !slices.Contains(there, test) {
				t.Errorf("defects.md: %s: there is no %s", id, test)
			}
			if !strings.HasSuffix(test, "_"+id) {
				t.Errorf("defects.md: %s: %s is of another defect", id, test)
			}
		}
	}
	for _, test := range there {
		if !named[test] {
			t.Errorf("defects.md does not name %s", test)
		}
	}
	if len(there) < 45 {
		t.Errorf("%d tests: they are not found", len(there))
	}
}
