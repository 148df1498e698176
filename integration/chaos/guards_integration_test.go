//go:build integration

package chaos

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cluster"
)

// cut takes a guard out: the first text of the file becomes the second.
type cut struct{ file, guard, without string }

var (
	// A card may load something else than it was given. What it reads back as tells.
	readBack = cut{"fpga/region/job.go", "if j.afu != info.AFU {", "if false {"}
	// A container that inlay-nri did not see must not start.
	gate = cut{"oci-hook/gate.go", "\treturn errNotSeen\n}", "\treturn nil\n}"}
	// No guard, but a courtesy: while inlay-nri is away the kubelet does not even try. Without it the gate is met.
	early = cut{
		"deviceplugins/fpga/answer.go", "PreStart(ctx context.Context, _ string, _ []string) error {",
		"PreStart(ctx context.Context, _ string, _ []string) error {\n\tif true {\n\t\treturn nil\n\t}",
	}
)

// imagesWithout builds Inlay's images from this tree, with guards taken out on the way to the compiler.
func imagesWithout(t *testing.T, cuts ...cut) string {
	t.Helper()
	tree, dir := kit.Tools(t).Tree, t.TempDir()
	replace := map[string]string{}
	for i, c := range cuts {
		path := filepath.Join(tree, c.file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), c.guard); n != 1 {
			t.Fatalf("%s has %q %d times: the guard is elsewhere now, and this test has to follow", c.file, c.guard, n)
		}
		replace[path] = filepath.Join(dir, string(rune('a'+i))+".go")
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(text), c.guard, c.without, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOFLAGS", strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+filepath.Join(dir, "overlay.json")))
	images := filepath.Join(dir, "images")
	if err := cluster.BuildImages(t.Context(), tree, images, cluster.ImageVersion); err != nil {
		t.Fatal(err)
	}
	return images
}

// Chaos can fail: without a guard it finds what the guard is there for, and with it, in the same steps, nothing. The
// pauses are long for a machine that is busy; what is found ends the run at once. inlay-nri is frozen for no longer than
// 20 s: after 25 to 35 its liveness probe ends it.
func TestWithoutAGuardChaosFindsIt(t *testing.T) {
	for name, c := range map[string]struct {
		with, without []cut
		steps         string
		invariant     string
		says          string
	}{
		"the read-back": {
			without:   []cut{readBack},
			invariant: "right-function", says: liar,
			steps: `
				0s fault all pr-lies
				0s create p1 region fir
				30s settle`,
		},
		"the gate": {
			with: []cut{early}, without: []cut{early, gate},
			invariant: "only-what-was-granted", says: "asked for 1 functions and has []",
			steps: `
				0s freeze inlay-nri
				0s create p1 region fir
				20s thaw inlay-nri
				0s settle`,
		},
	} {
		for kind, cuts := range map[string][]cut{"with": c.with, "without": c.without} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				if kind == "with" && os.Getenv("INLAY_CHAOS_GUARDS") == "" {
					t.Skip("INLAY_CHAOS_GUARDS=all runs it too")
				}
				steps, err := ParseSteps(c.steps)
				if err != nil {
					t.Fatal(err)
				}
				tools := *kit.Tools(t)
				if len(cuts) > 0 {
					tools.Images = imagesWithout(t, cuts...)
				}
				finds := func(v Violation) bool { return v.Invariant == c.invariant && strings.Contains(v.Text, c.says) }
				report, err := Run(t.Context(), Options{
					Cluster: cluster.Options{Tools: &tools, Runtime: integration.RuntimeName(os.Getenv("INLAY_CHAOS_RUNTIME"))},
					Steps:   steps, Log: testLog{t}, Name: t.Name(), Until: finds,
				})
				if err != nil {
					t.Fatal(err)
				}
				if kind == "with" {
					for _, v := range report.Violations {
						t.Errorf("step %d, %s: %s", v.Step, v.Invariant, v.Text)
					}
				} else if !slices.ContainsFunc(report.Violations, finds) {
					t.Errorf("chaos did not find it: %+v", report.Violations)
				}
			})
		}
	}
}
