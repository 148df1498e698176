package checks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// uninstaller is the pod of the Job.
func uninstaller(t *testing.T, objects []*unstructured.Unstructured) pod {
	t.Helper()
	found := podsOf(t, "uninstall", objects)
	if len(found) != 1 || len(found[0].containers()) != 3 {
		t.Fatalf("not one pod of three containers: %+v", found)
	}
	return found[0]
}

// A node that is to stay as it is has been asked before anything goes, by the same flags: --force counts for both.
func TestTheUninstallJobRefusesBeforeItTakesAnythingAway(t *testing.T) {
	p := uninstaller(t, everything(t)["uninstall"])
	check, plugin, last := p.containers()[0], p.containers()[1], p.containers()[2]
	if got := []string{check.Name, plugin.Name, last.Name}; !cmp.Equal(got, []string{"check", "uninstall-nri", "uninstall"}) {
		t.Fatalf("the containers are %q", got)
	}
	if diff := cmp.Diff(last.Args, check.Args); diff != "" {
		t.Errorf("the check asks otherwise (-uninstall +check):\n%s", diff)
	}
	if len(check.Env) != 1 || check.Env[0].Name != "INLAY_CHECK" || check.Env[0].Value != "true" {
		t.Errorf("it is no check: %v", check.Env)
	}
	for _, m := range check.VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("the check can write %s", m.MountPath)
		}
	}
}

// The kustomization on the page changes what it says.
func TestTheUninstallJobTakesImagesAndFoldersOfItsUser(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(tree, "docs/install.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(page), "\n#### Uninstall with images and folders of your own\n")
	_, part, begins := strings.Cut(part, "\n```yaml\n")
	text, _, ends := strings.Cut(part, "\n```\n")
	if !found || !begins || !ends {
		t.Fatal("docs/install.md has no such kustomization")
	}
	disk := filesys.MakeFsInMemory()
	for _, name := range []string{"job.yaml", "kustomization.yaml"} {
		file, err := os.ReadFile(filepath.Join(tree, "deploy/uninstall", name))
		if err == nil {
			err = disk.WriteFile("/own/inlay/deploy/uninstall/"+name, file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.WriteFile("/own/kustomization.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, "/own")
	if err != nil {
		t.Fatal(err)
	}
	yaml, err := made.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	p := uninstaller(t, parse(t, "own", yaml))
	for _, c := range p.containers() {
		if c.Image != "registry.example.com/inlay-node:v1.0.0" {
			t.Errorf("%s has the image %s", c.Name, c.Image)
		}
		if c.Name == "uninstall-nri" {
			continue
		}
		if !mounted(c, "/host/data/kubelet") {
			t.Errorf("%s does not see the kubelet's folder", c.Name)
		}
		if err := understood(t, c); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	// What the page's loop looks for.
	if out := "\n" + string(yaml); strings.Count(out, "nodeName: NODE\n") != 1 || strings.Count(out, "\n  name: inlay-uninstall\n") != 1 {
		t.Errorf("sed finds nothing, or too much:\n%s", out)
	}
}
