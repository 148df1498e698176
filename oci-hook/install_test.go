package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheProgramInstallsItselfAndGoesWithoutATrace(t *testing.T) {
	root := t.TempDir()
	hooks, bin := filepath.Join(root, "etc/hooks.d"), filepath.Join(root, "opt/inlay/bin")
	inlay := func(args ...string) string {
		t.Helper()
		var stderr bytes.Buffer
		cmd := exec.Command(programs.path(t, "inlay-hook"), args...)
		cmd.Stderr = &stderr
		cmd.Env = []string{}
		if err := cmd.Run(); (err == nil) != (stderr.Len() == 0) {
			t.Errorf("%q: %v, %q", args, err, stderr.String())
		}
		return strings.TrimSpace(stderr.String())
	}
	folders := []string{"--hooks-dir", hooks, "--bin-dir", bin}
	want(t, inlay(append([]string{"install", "--host-root", root}, folders...)...), "")
	for _, tt := range []struct {
		args    []string
		hook    []string
		timeout int
	}{
		{nil, []string{"inlay-hook"}, 60},
		{
			[]string{"--timeout", "90s", "--bitstreams", root + "/data/store", "--run-dir", root + "/run/other", "--max-bitstream", "1000"},
			[]string{"inlay-hook", "--bitstreams", "/data/store", "--run-dir", "/run/other", "--max-bitstream", "1000", "--timeout", "1m30s"},
			92,
		},
		{[]string{"--bitstreams", root + "/srv/intel.com/fpga", "--run-dir", root + "/run/inlay"}, []string{"inlay-hook"}, 60},
	} {
		args := append([]string{"install", "--host-root", root}, folders...)
		want(t, inlay(append(args, tt.args...)...), "")
		var config struct {
			Hook struct {
				Path    string
				Args    []string
				Timeout int
			}
		}
		b, err := os.ReadFile(filepath.Join(hooks, "inlay-fpga.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &config); err != nil {
			t.Fatal(err)
		}
		if h := config.Hook; h.Path != "/opt/inlay/bin/inlay-hook" || !slices.Equal(h.Args, tt.hook) || h.Timeout != tt.timeout {
			t.Errorf("%q: hook %+v, want %q, timeout %d", tt.args, h, tt.hook, tt.timeout)
		}
	}
	// What was installed is the program itself, and understands the arguments that were written for it.
	out, err := exec.Command(filepath.Join(bin, "inlay-hook"), "--version").Output()
	if err != nil || !strings.HasPrefix(string(out), "inlay-hook ") {
		t.Errorf("%q, %v", out, err)
	}
	want(t, inlay(append([]string{"uninstall"}, folders...)...), "")
	for _, dir := range []string{hooks, bin} {
		left, err := filepath.Glob(filepath.Join(dir, "*inlay*"))
		if err != nil || len(left) != 0 {
			t.Errorf("left in %s: %q, %v", dir, left, err)
		}
	}
	want(t, inlay(append([]string{"uninstall"}, folders...)...), "") // what is gone is gone

	want(t, inlay("install", "--hooks-dir", hooks), "install: --hooks-dir and --bin-dir are needed")
	want(t, inlay(append([]string{"install", "--host-root", filepath.Join(root, "opt")}, "--hooks-dir", hooks, "--bin-dir", hooks)...), "install: …is outside the host root")
	want(t, inlay(append([]string{"install", "--host-root", root, "--bitstreams", "/elsewhere"}, folders...)...), "install: --bitstreams: /elsewhere is outside")
}
