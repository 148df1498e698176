package checks

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// composed renders overlays/all with further components, as a kustomization of a user's does.
func composed(t *testing.T, components ...string) []*unstructured.Unstructured {
	t.Helper()
	deploy, err := filepath.Abs(filepath.Join(tree, "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	relative := func(folder string) string { // kustomize takes no other
		to, err := filepath.Rel(dir, filepath.Join(deploy, folder))
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	k := map[string]any{"resources": []string{relative("overlays/all")}}
	var all []string
	for _, c := range components {
		all = append(all, relative("components/"+c))
	}
	k["components"] = all
	text, err := yaml.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("%v: %v", components, err)
	}
	if text, err = m.AsYaml(); err != nil {
		t.Fatalf("%v: %v", components, err)
	}
	return parse(t, strings.Join(components, ","), text)
}

// Components that no overlay has, beside overlays/all.
func TestChartAndComponentsGiveTheSameObjects(t *testing.T) {
	for components, values := range map[string]string{
		"qat-bind":            "qat: {bind: true}",
		"qat-health":          "qat: {health: true}",
		"gpu-levelzero":       "gpu: {health: levelzero}",
		"gpu-xpumd":           "gpu: {health: xpumd}",
		"qat-bind,qat-health": "qat: {bind: true, health: true}",
	} {
		t.Run(components, func(t *testing.T) {
			want, got := byID(composed(t, strings.Split(components, ",")...)), byID(usual.objects(t, "mode: region\nfamilies: [auto]\n"+values))
			delete(want, "Namespace/inlay-system")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-component +chart):\n%s", diff)
			}
		})
	}
}

// Of /sys nothing is writable for anybody but who asks for QAT's VFs to be bound, and then for one container alone.
func TestOnlyWhoBindsCanWriteSys(t *testing.T) {
	binders := 0
	for _, p := range pods(t) {
		folders := map[string]string{}
		for _, v := range p.spec.Volumes {
			if v.HostPath != nil {
				folders[v.Name] = v.HostPath.Path
			}
		}
		for _, c := range p.containers() {
			binds := slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "INLAY_QAT_BIND" && e.Value == "true" })
			var writable []string
			for _, m := range c.VolumeMounts {
				if folder := folders[m.Name]; strings.HasPrefix(folder+"/", "/sys/") && !m.ReadOnly {
					writable = append(writable, folder)
				}
			}
			slices.Sort(writable)
			var want []string
			if binds {
				binders++
				want = []string{"/sys/bus/pci/drivers", "/sys/devices"}
			}
			if diff := cmp.Diff(want, writable); diff != "" {
				t.Errorf("%s: %s can write (-what it needs +has):\n%s", p.source, c.Name, diff)
			}
		}
	}
	if binders < 2 {
		t.Errorf("%d containers bind VFs: this is no test", binders)
	}
}
