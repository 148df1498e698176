package chaos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAResultReplacesTheSectionOfItsRuntimeAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "soak.md")
	write := func(runtime string, seed uint64) string {
		t.Helper()
		r := Result{Began: time.Unix(1_700_000_000, 0), Runtime: runtime, Seed: seed, Chaos: newReport()}
		if err := r.WriteFile(file); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	write("crio", 1)
	write("containerd", 2)
	text := write("crio", 3)
	if text != write("crio", 3) {
		t.Error("the same result once more changes the file")
	}
	if !strings.HasPrefix(text, resultHead+"\n## containerd\n") || strings.Count(text, resultHead) != 1 {
		t.Errorf("no head, or it is there twice:\n%s", text)
	}
	_, containerd, _ := strings.Cut(text, "\n## containerd\n")
	containerd, crio, _ := strings.Cut(containerd, "\n## crio\n")
	for section, seed := range map[string]string{containerd: "Seed 2:", crio: "Seed 3:"} {
		if strings.Count(section, "Seed") != 1 || !strings.Contains(section, seed) || !strings.Contains(section, "2023-11-14, commit") {
			t.Errorf("not the result with %s\n%s", seed, section)
		}
	}
}

func TestAFileThatIsNoResultIsLeftAsItIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes.md")
	const text = "# Notes\n\n## Mine\n\nnot to be lost\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r := Result{Runtime: "crio", Chaos: newReport()}
	if err := r.WriteFile(file); err == nil || !strings.Contains(err.Error(), `section "Mine" is none of containerd`) {
		t.Errorf("error %v", err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != text {
		t.Errorf("%v, now it is %q", err, got)
	}
}

// The document in the tree is one that the next run can write to.
func TestTheResultInTheTreeKeepsItsSections(t *testing.T) {
	data, err := os.ReadFile("../../docs/results/soak.md")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "soak.md")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	r := Result{Runtime: "crio-1.34", Chaos: newReport()}
	if err := r.WriteFile(file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if before, _, ok := strings.Cut(string(got), "\n## crio-1.34\n"); !ok || before != string(data) {
		t.Errorf("another run would change more than its section, or the head is not that of result.go:\n%s", got)
	}
}

func TestALongRunHasASectionOfItsOwn(t *testing.T) {
	long := newReport()
	long.Steps = longRun
	for name, r := range map[string]Result{
		"containerd":       {Runtime: "containerd", Chaos: newReport()},
		"containerd, long": {Runtime: "containerd", Chaos: long},
		"crio":             {Runtime: "crio", Upgrade: &Upgraded{}},
	} {
		if got := r.section(); got != name {
			t.Errorf("section %q, want %q", got, name)
		}
	}
}
