package checks

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// seen makes of a golden tree what a container has mounted of it below /host, and gives the folder.
func seen(t *testing.T, c corev1.Container, archive []byte) string {
	t.Helper()
	tree := txtar.Parse(archive)
	tree.Files = slices.DeleteFunc(tree.Files, func(f txtar.File) bool { return !mounted(c, "/host/"+f.Name) })
	dir := t.TempDir()
	if err := hostfstest.Extract(dir, txtar.Format(tree)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// offered are the resources that a container's inlay-deviceplugin finds in a host tree, with its own settings.
func offered(t *testing.T, c corev1.Container, dir string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, entry(c)), "discover", "-o", "json", "--host-root="+dir)
	for _, e := range c.Env {
		if e.ValueFrom == nil && e.Name != "INLAY_POLICY" { // which needs an API server
			cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
		}
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var list []struct{ Resource string }
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	var resources []string
	for _, a := range list {
		resources = append(resources, a.Resource)
	}
	slices.Sort(resources)
	return slices.Compact(resources)
}

// L1: of the reference the DLB plugin has no image any more, an old chart, and samples that its own webhook refuses. Here
// an image, the overlay for all families and the chart have it, and what they mount is enough for it.
func TestImageOverlayAndChartOfferDLB_L1(t *testing.T) {
	archive, err := os.ReadFile(filepath.Join(tree, "deviceplugins/dlb/testdata/sample.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	recipes, err := os.ReadFile(filepath.Join(tree, "deploy/images/recipes.go"))
	if err != nil {
		t.Fatal(err)
	}
	const pf, vf = "dlb.intel.com/pf", "dlb.intel.com/vf"
	for _, tt := range []struct {
		name    string
		objects []*unstructured.Unstructured
		want    []string
	}{
		{"overlay all", kustomized(t, "overlays/all"), []string{pf, vf}},
		{"chart, all families", usual.objects(t, "families: [auto]"), []string{pf, vf}},
		{"chart, DLB alone", usual.objects(t, "families: [dlb]"), []string{pf, vf}},
		{"chart, another family alone", usual.objects(t, "families: [gpu]"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := 0
			for _, p := range podsOf(t, tt.name, tt.objects) {
				for _, c := range p.containers() {
					if c.Name != "inlay-deviceplugin" {
						continue
					}
					found++
					image, _, _ := strings.Cut(filepath.Base(c.Image), ":")
					if recipe := `name:  "` + image + `"`; !strings.Contains(string(recipes), recipe) || !strings.Contains(string(recipes), `{"inlay-deviceplugin", "deviceplugins"}`) {
						t.Errorf("image %s: deploy/images makes none with inlay-deviceplugin", c.Image)
					}
					if got := offered(t, c, seen(t, c, archive)); !slices.Equal(got, tt.want) {
						t.Errorf("offers %v, want %v", got, tt.want)
					}
					c.VolumeMounts = slices.DeleteFunc(slices.Clone(c.VolumeMounts), func(m corev1.VolumeMount) bool { return m.MountPath == "/host/dev" })
					if got := offered(t, c, seen(t, c, archive)); len(got) > 0 {
						t.Errorf("without /dev it offers %v all the same", got)
					}
				}
			}
			if found != 1 {
				t.Errorf("%d containers", found)
			}
		})
	}
}
