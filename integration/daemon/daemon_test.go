package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/inlay-project/inlay/integration/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestADaemonThatEndsWhileStartingIsToldWithItsOutput(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l, err := process.NewLauncher(ctx, process.LauncherOptions{Log: filepath.Join(dir, "launcher.log"), Env: []string{"PATH=/usr/bin:/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	config := filepath.Join(dir, "state", "config")
	d, err := New(Options{
		Command: process.Command{Name: "runtime", Path: "/bin/sh", Args: []string{"-c", `cat "$0"; exit 1`, config}, Log: filepath.Join(dir, "log")},
		Socket:  filepath.Join(dir, "sock"), NRISocket: "nri.sock",
		Dirs: []string{filepath.Dir(config)}, Files: map[string]string{config: "no such option\n"},
		CgroupParent: "/inlay-no-such-cgroup", Trace: "--trace " + dir,
	}, l)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Halt(ctx); err != nil {
		t.Errorf("halt before the start: %v", err)
	}
	if err := d.Start(ctx); err == nil || !strings.Contains(err.Error(), "runtime ended while starting:\nno such option") {
		t.Errorf("start: %v", err)
	}
	if err := d.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestASocketThatIsTooLongIsRefusedBeforeAnythingIsMade(t *testing.T) {
	made := filepath.Join(t.TempDir(), "state")
	_, err := New(Options{Command: process.Command{Name: "runtime"}, NRISocket: strings.Repeat("x", 108), Dirs: []string{made}}, nil)
	if err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(made); err == nil {
		t.Errorf("%s was made", made)
	}
}
