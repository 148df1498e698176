// Package childtest runs programs as processes of a test: most of all its own binary again, as the program that it tests or
// as something that is to be killed. TestMain asks Role what the process is to be.
package childtest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const roleVariable = "INLAY_TEST_CHILD"

// Role is what this process was started as; "" is the tests themselves.
func Role() string { return os.Getenv(roleVariable) }

// Command is this test binary in a role, with an environment of nothing else.
func Command(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	// With the race detector a process sleeps for a second when it ends.
	cmd.Env = []string{roleVariable + "=" + role, "GOCOVERDIR=" + os.TempDir(), "GORACE=atexit_sleep_ms=0"}
	return cmd
}

// Run runs a command to its end.
func Run(t testing.TB, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out, diagnostics bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), diagnostics.String()
}

// ready is what a child says when it begins with what it is to be killed in.
const ready = "ready\n"

// Ready is said by a child of KillWithin.
func Ready() { os.Stdout.WriteString(ready) }

// KillWithin starts a command, and kills it at some moment of the time after it has said that it is Ready. It must not
// have ended by then.
func KillWithin(t testing.TB, cmd *exec.Cmd, limit time.Duration) {
	t.Helper()
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	begun := make([]byte, len(ready))
	_, err = io.ReadFull(out, begun)
	if err == nil {
		time.Sleep(rand.N(limit))
	}
	_ = cmd.Process.Kill()
	rest, _ := io.ReadAll(out)
	_ = cmd.Wait() // how it ended is in the state
	if err != nil || string(begun) != ready {
		t.Fatalf("it did not begin: %v, %s%s", err, begun, &said)
	}
	if got := cmd.ProcessState.String(); got != "signal: killed" {
		t.Fatalf("it ended by itself: %s, %s%s", got, rest, &said)
	}
}
