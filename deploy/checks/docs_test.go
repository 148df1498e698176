package checks

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/integration/components"
)

// fenced are the blocks of commands of a page.
var fenced = regexp.MustCompile("(?ms)^ *```\n(.*?)^ *```$")

// text reads a file of the tree.
func text(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(tree, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Who follows the page from its first command gets images of the tag that the manifests ask for.
func TestTheImagesOfThePageAreThoseOfTheManifests(t *testing.T) {
	_, page, found := strings.Cut(text(t, "docs/install.md"), "\n## On a cluster\n")
	blocks := fenced.FindAllStringSubmatch(page, -1)
	if !found || len(blocks) == 0 {
		t.Fatal("install.md has no commands for a cluster")
	}
	first, _, _ := strings.Cut(strings.TrimSpace(blocks[0][1]), "\n")
	tag, makes := strings.CutPrefix(first, "make images VERSION=")
	if !makes {
		t.Fatalf("the first command is %q", first)
	}
	for _, p := range podsOf(t, "overlays/region", kustomized(t, "overlays/region")) {
		for _, c := range p.containers() {
			if !strings.HasSuffix(c.Image, ":"+tag) {
				t.Errorf("%s has the image %s, the page makes the tag %s", c.Name, c.Image, tag)
			}
		}
	}
}

// All of these names at once, for a namespace that nobody has chosen, is no way to grant.
func TestThePagesGiveMappingsToANamespace(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(tree, "docs/*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("%q, %v", pages, err)
	}
	n := 0
	for _, page := range append(pages, filepath.Join(tree, "README.md"), filepath.Join(tree, "deploy/mappings-collection.yaml")) {
		name, err := filepath.Rel(tree, page)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text(t, name)) {
			if !strings.Contains(line, "kubectl apply") || !strings.Contains(line, "mappings-collection.yaml") {
				continue
			}
			n++
			if !strings.Contains(line, " -n ") {
				t.Errorf("%s: no namespace: %s", name, line)
			}
		}
	}
	if n < 2 {
		t.Errorf("found %d commands", n)
	}
}

func TestThePagesNameTheKubernetesThatIsTested(t *testing.T) {
	kubernetes, err := components.Find("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	minor := kubernetes.Version[:strings.LastIndex(kubernetes.Version, ".")]
	for page, says := range map[string]string{
		"docs/install.md":              "tested on Kubernetes " + minor + " ",
		"deploy/helm/inlay/README.md":  "tested on " + minor + ";",
		"deploy/helm/inlay/Chart.yaml": "# Tested on " + minor + ".",
	} {
		if !strings.Contains(text(t, page), says) {
			t.Errorf("%s does not say %q", page, says)
		}
	}
}

// helm makes the namespace of the webhook without a level.
func TestTheChartsNotesAndPageTellOfThePodSecurityLevel(t *testing.T) {
	const label = "kubectl label namespace inlay-system pod-security.kubernetes.io/enforce=restricted"
	files, err := usual.render(t, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"the notes": files["inlay/templates/NOTES.txt"], "install.md": text(t, "docs/install.md"), "the chart's README": text(t, "deploy/helm/inlay/README.md"),
	} {
		if !strings.Contains(text, label) {
			t.Errorf("%s: no %q", name, label)
		}
	}
}
