//go:build integration

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The benchmark is run by hand, so that what it shares with the tests must not change under it unseen: its smallest stage
// that has a node with a real runtime.
func TestAStageOnARealRuntimeRuns(t *testing.T) {
	program := filepath.Join(t.TempDir(), "bench")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program, "-bin", "bin", "-short", "-only", "warm")
	cmd.Dir = "../.." // it builds its baselines, and finds the programs, from the project's root
	out, err := cmd.CombinedOutput()
	if text := string(out); err != nil || strings.Contains(text, "BROKEN") || !strings.Contains(text, "StartContainer of a warm region container") {
		t.Errorf("%v\n%s", err, text)
	}
}
