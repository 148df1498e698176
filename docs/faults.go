package docs

import (
	_ "embed" // the page
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:embed diagnose.md
var diagnose string

// Fault is a row of a table of diagnose.md: one cause, and what a user sees of it.
type Fault struct {
	// Line is the row's line number, and Section the heading above it.
	Line    int
	Section string
	// Messages are the code spans of the first column, at least one.
	Messages []Message
	// Meaning and WayOut are the other two columns; WayOut is never empty.
	Meaning, WayOut string
	// Tests are those that produce the messages, at least one. They stand in a comment
	// at the row's end, "<!-- by PACKAGE TestName/case, … -->", which no reader sees.
	Tests []Test
}

// Test names a test: the package's folder, the function, and the case of its table or the
// file below testdata; Case is "" for the whole function.
type Test struct{ Package, Function, Case string }

// String is how the page names it.
func (t Test) String() string {
	s := t.Package + " " + t.Function
	if t.Case != "" {
		s += "/" + t.Case
	}
	return s
}

// Message is what a user sees, or a part of it that is enough to know it by. What stands in
// <angle brackets> differs from case to case.
type Message string

var placeholder = regexp.MustCompile(`<[a-z][a-z0-9 /-]*>|…`)

// Fixed are the parts of the message that are the same in each case.
func (m Message) Fixed() []string {
	parts := placeholder.Split(string(m), -1)
	return slices.DeleteFunc(parts, func(s string) bool { return strings.TrimSpace(s) == "" })
}

// In tells whether the text has the message in it.
func (m Message) In(text string) bool {
	parts := placeholder.Split(string(m), -1)
	for k := range parts {
		parts[k] = regexp.QuoteMeta(parts[k])
	}
	// Compiles always: quoted text and one construct.
	return regexp.MustCompile(strings.Join(parts, `(?s:.+?)`)).MatchString(text)
}

// Explanations are the rows of diagnose.md with a message that the text has in it.
func Explanations(text string) ([]Fault, error) {
	all, err := Faults()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(f Fault) bool {
		return !slices.ContainsFunc(f.Messages, func(m Message) bool { return m.In(text) })
	}), nil
}

// Faults are the rows of diagnose.md, in its order. The error names the line of a row that
// is not as Fault says.
func Faults() ([]Fault, error) { return parse(diagnose) }

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	byTests  = regexp.MustCompile(`\s*<!-- by (.+?) -->\s*$`)
	testName = regexp.MustCompile(`^(\S+) (Test\w+)(?:/(.+))?$`)
)

func parse(page string) ([]Fault, error) {
	var all []Fault
	section, header := "", false
	for k, line := range strings.Split(page, "\n") {
		if title, ok := strings.CutPrefix(line, "#"); ok {
			section = strings.TrimLeft(title, "# ")
		}
		if !strings.HasPrefix(line, "|") {
			header = true // the next table begins with its own
			continue
		}
		if header || strings.HasPrefix(line, "|---") {
			header = false
			continue
		}
		f, err := parseRow(line)
		if err != nil {
			return nil, fmt.Errorf("diagnose.md:%d: %w", k+1, err)
		}
		f.Line, f.Section = k+1, section
		all = append(all, f)
	}
	return all, nil
}

func parseRow(line string) (Fault, error) {
	cells := strings.Split(strings.Trim(line, "|"), " | ")
	if len(cells) != 3 {
		return Fault{}, fmt.Errorf("a row has message, meaning and way out, this one has %d cells", len(cells))
	}
	f := Fault{Meaning: strings.TrimSpace(cells[1])}
	for _, m := range codeSpan.FindAllStringSubmatch(cells[0], -1) {
		f.Messages = append(f.Messages, Message(m[1]))
	}
	if len(f.Messages) == 0 {
		return Fault{}, fmt.Errorf("no message in a code span: %q", cells[0])
	}
	by := byTests.FindStringSubmatchIndex(cells[2])
	if by == nil {
		return Fault{}, fmt.Errorf("no test is named for %q", f.Messages[0])
	}
	if f.WayOut = strings.TrimSpace(cells[2][:by[0]]); f.WayOut == "" {
		return Fault{}, fmt.Errorf("no way out of %q", f.Messages[0])
	}
	for _, name := range strings.Split(cells[2][by[2]:by[3]], "; ") {
		parts := testName.FindStringSubmatch(name)
		if parts == nil {
			return Fault{}, fmt.Errorf("%q is not PACKAGE TestName or PACKAGE TestName/case", name)
		}
		f.Tests = append(f.Tests, Test{Package: parts[1], Function: parts[2], Case: parts[3]})
	}
	return f, nil
}
