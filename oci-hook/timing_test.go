package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// timed is what a benchmark asks of a copy of itself that runs below the emulator, in the variable timedVariable.
type timed struct {
	N                 int
	Baseline, Command []string
}

const timedVariable = "INLAY_TEST_TIMED"

// TestTimeProcesses is no test: it is how BenchmarkWarmStart takes the time below the emulator, where starting the
// emulator itself is no part of it.
func TestTimeProcesses(t *testing.T) {
	text := os.Getenv(timedVariable)
	if text == "" {
		t.Skip("only for BenchmarkWarmStart")
	}
	os.Unsetenv(timedVariable)
	var in timed
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		t.Fatal(err)
	}
	base, own, err := turns(in.N, in.Baseline, in.Command)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("timed %d %d\n", base, own)
}

func turnsElsewhere(b *testing.B, prefix, baseline, command []string) (base, own time.Duration) {
	b.Helper()
	text, err := json.Marshal(timed{b.N, baseline, command})
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(prefix[0], prefix[1:]...)
	cmd.Env = append(os.Environ(), timedVariable+"="+string(text))
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	_, line, _ := strings.Cut(string(out), "timed ")
	if _, err := fmt.Sscanf(line, "%d %d", &base, &own); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return base, own
}
