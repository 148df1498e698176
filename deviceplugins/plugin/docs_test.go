package plugin_test

import (
	"os"
	"strings"
	"testing"
)

// The page that teaches a family shows the family that the example compiles and runs.
func TestThePageForDevelopersShowsTheExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/develop.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Adding a device family\n")
	_, code, _ := strings.Cut(section, "\n```go\n")
	code, _, ok := strings.Cut(code, "\n```\n")
	if !ok {
		t.Fatal("docs/develop.md has no Go code under “Adding a device family”")
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(example), "\n"+code+"\n") {
		t.Errorf("docs/develop.md shows code that is not in example_test.go:\n%s", code)
	}
}
