package containerd

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/integration/sweep"
)

func TestConfigKeepsToItsOwnFolder(t *testing.T) {
	o := Options{
		Dir: "/tmp/xyz", Shim: "/tmp/xyz/bin/shim", Runc: "/tmp/xyz/bin/runc",
		PauseImage: "pause.test/p:1", CDIDirs: []string{"/tmp/xyz/cdi", "/tmp/xyz/etc"}, NRITimeout: time.Second,
	}
	text := o.config()
	for _, want := range []string{
		"version = 4", `sandbox = "pause.test/p:1"`, "restrict_oom_score_adj = true",
		`cdi_spec_dirs = ["/tmp/xyz/cdi", "/tmp/xyz/etc"]`, `plugin_request_timeout = "1s"`, "imports = []",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the configuration lacks %s", want)
		}
	}
	for word := range strings.FieldsSeq(text) {
		if path := strings.Trim(word, `"[],`); strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "/tmp/xyz/") {
			t.Errorf("%s is outside the daemon's folder", path)
		}
	}
}

func TestSocketThatIsTooLongIsRefusedEarly(t *testing.T) {
	if _, err := New(Options{Dir: "/tmp/" + strings.Repeat("x", 100)}, nil); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("got %v", err)
	}
}

func TestSweepKillsOnlyItsOwnShims(t *testing.T) {
	o := Options{Dir: "/tmp/inlay-sweep-test"}
	mine, other := fakeShim(t, o.Socket()), fakeShim(t, o.Socket()+"b")
	if err := sweep.Sweep(t.Context(), "/inlay-no-such-cgroup", o.Trace()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-mine:
	case <-time.After(5 * time.Second):
		t.Error("the shim of that socket lives on")
	}
	select {
	case <-other:
		t.Error("a shim of another socket was killed")
	default:
	}
}

func TestSweepRefusesTheRootCgroup(t *testing.T) {
	for _, parent := range []string{"", "/"} {
		if err := sweep.Sweep(t.Context(), parent, Options{Dir: "/tmp/none"}.Trace()); err == nil {
			t.Errorf("parent %q was accepted", parent)
		}
	}
}

// fakeShim runs a process whose command line looks like a shim's; the channel is closed
// when it has ended.
func fakeShim(t *testing.T, socket string) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	// The arguments after -c are the shell's parameters, which it does not use.
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "read x", "shim", "-namespace", "k8s.io", "-address", socket, "-id", "x")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = in.Close()
		<-ended
	})
	return ended
}
