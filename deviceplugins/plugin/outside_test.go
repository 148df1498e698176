package plugin_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// A family of another module can use all of the engine: what it needs is not below internal/.
func TestAnotherModuleCanUseAllOfTheEngine(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a module")
	}
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	read := func(file string) []byte {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	// The same versions of everything, so that nothing is fetched.
	mod := regexp.MustCompile(`(?m)^module .*$`).ReplaceAllString(string(read("../../go.mod")), "module example.org/kitchen")
	mod += "\nrequire github.com/inlay-project/inlay v0.0.0\n\nreplace github.com/inlay-project/inlay => " + top + "\n"
	for name, text := range map[string][]byte{
		"go.mod": []byte(mod), "go.sum": read("../../go.sum"), "kitchen.go": read("testdata/outside/kitchen.go"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
