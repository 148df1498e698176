package config

import (
	"os"
	"regexp"
	"testing"
)

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// What the page shows is what the program takes.
func TestTheExamplesOfThePageAreValid(t *testing.T) {
	page, err := os.ReadFile("../../docs/configure.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := yamlBlock.FindAllSubmatch(page, -1)
	if len(blocks) == 0 {
		t.Fatal("no example is found")
	}
	for _, block := range blocks {
		for _, node := range []string{"", "lab-7", "gpu-big-1"} {
			if _, err := Read(block[1], node, nil); err != nil {
				t.Errorf("%v\n%s", err, block[1])
			}
		}
	}
}
