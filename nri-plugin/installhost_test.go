package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

// hostTree is a host with an installed hook, and inlay-nri's commands on it.
type hostTree struct {
	t    *testing.T
	root string
}

const hookVersion = "inlay-hook-v1-0a1b2c3d"

func newHostTree(t *testing.T) hostTree {
	t.Helper()
	h := hostTree{t, t.TempDir()}
	h.put("opt/inlay/bin/"+hookVersion, "the hook")
	if err := os.Symlink(hookVersion, h.path("opt/inlay/bin/inlay-hook")); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h hostTree) path(name string) string { return filepath.Join(h.root, name) }

func (h hostTree) put(name, text string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(name)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h hostTree) read(name string) string {
	h.t.Helper()
	b, err := os.ReadFile(h.path(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

// names lists what is in the runtime's folders.
func (h hostTree) names() []string {
	h.t.Helper()
	var found []string
	for _, top := range []string{"opt/nri", "etc/nri"} {
		err := filepath.WalkDir(h.path(top), func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				name, _ := filepath.Rel(h.root, path)
				found = append(found, name)
			}
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	return found
}

func (h hostTree) run(args ...string) (out string, code int) {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), inlayNRI(h.t), append(args[:1:1], append([]string{"--host-root", h.root}, args[1:]...)...)...)
	b, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		h.t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

func TestInstallHostPutsProgramAndConfigurationWhereTheRuntimeLooks(t *testing.T) {
	h := newHostTree(t)
	out, code := h.run("install-host", "policy=/var/lib/inlay/policy.json", "http=127.0.0.1:9771", "max-bitstream=536870911")
	if code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	if diff := cmp.Diff([]string{"opt/nri/plugins/40-inlay", "etc/nri/conf.d/40-inlay.conf"}, h.names()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	want := `# Written by inlay-nri install-host; the next one writes it anew.
hook-source: /opt/inlay/bin/` + hookVersion + `
http: 127.0.0.1:9771
max-bitstream: "536870911"
policy: /var/lib/inlay/policy.json
`
	if diff := cmp.Diff(want, h.read("etc/nri/conf.d/40-inlay.conf")); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	self, err := os.ReadFile(inlayNRI(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal([]byte(h.read("opt/nri/plugins/40-inlay")), self) {
		t.Error("the program is another one")
	}
	before := stat(t, h.path("opt/nri/plugins/40-inlay"))
	if before.Mode() != 0o755 {
		t.Errorf("mode %v", before.Mode())
	}
	// Each start of a pod does it again: a program that is right stays, any other goes.
	if out, code := h.run("install-host"); code != 0 || !strings.Contains(out, "was there") {
		t.Errorf("once more: %d %s", code, out)
	}
	if !os.SameFile(before, stat(t, h.path("opt/nri/plugins/40-inlay"))) {
		t.Error("it was written anew without need")
	}
	h.put("opt/nri/plugins/40-inlay", "an earlier version")
	if out, code := h.run("install-host"); code != 0 || !strings.Contains(out, "put in place") {
		t.Errorf("over an earlier one: %d %s", code, out)
	}
	if st := stat(t, h.path("opt/nri/plugins/40-inlay")); st.Mode() != 0o755 || st.Size() != int64(len(self)) {
		t.Errorf("mode %v, %d bytes", st.Mode(), st.Size())
	}
	h.put("opt/nri/plugins/10-other", "somebody else's")
	h.put("opt/nri/.40-inlay", "half of it")
	for _, want := range []string{"removed  ", ""} {
		if out, code := h.run("uninstall-host"); code != 0 || !strings.HasPrefix(out, want) || want == "" && out != "" {
			t.Errorf("uninstall: %d %q", code, out)
		}
	}
	if diff := cmp.Diff([]string{"opt/nri/plugins/10-other"}, h.names()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func stat(t *testing.T, file string) os.FileInfo {
	t.Helper()
	st, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestInstallHostRefusesWhatTheRuntimeCouldNotUse(t *testing.T) {
	for name, tt := range map[string]struct {
		args  []string
		spoil func(hostTree)
		code  int
		says  string
	}{
		"no such flag":               {[]string{"policies=/x"}, nil, 2, `"policies" is not a setting`},
		"the runtime's own settings": {[]string{"nri-socket=/x"}, nil, 2, `"nri-socket" is not a setting`},
		"a wrong value":              {[]string{"hook-timeout=soon"}, nil, 2, "hook-timeout: "},
		"a value out of range":       {[]string{"policy=/p", "policy-max-age=-1h"}, nil, 2, "--policy-max-age -1h0m0s is negative"},
		"a limit without its file":   {[]string{"policy-max-age=1h"}, nil, 2, "--policy-max-age 1h0m0s without --policy"},
		"no value":                   {[]string{"policy"}, nil, 2, "not FLAG=VALUE"},
		"a flag twice":               {[]string{"policy=/a", "policy=/b"}, nil, 2, "each flag once"},
		"no hook": {
			nil, func(h hostTree) { os.Remove(h.path("opt/inlay/bin/inlay-hook")) },
			1, "run inlay-hook install-host first",
		},
		"a hook put there by hand": {nil, func(h hostTree) {
			os.Remove(h.path("opt/inlay/bin/inlay-hook"))
			_ = os.Symlink("/usr/bin/inlay-hook", h.path("opt/inlay/bin/inlay-hook"))
		}, 1, "no version of inlay-hook"},
		"a folder that others can write": {nil, func(h hostTree) {
			h.put("opt/nri/plugins/10-other", "")
			_ = os.Chmod(h.path("opt/nri/plugins"), 0o777)
		}, 1, "others than root can write it"},
		"a folder elsewhere": {[]string{"--plugin-dir", "/tmp/elsewhere"}, nil, 1, "outside the host root"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHostTree(t)
			if tt.spoil != nil {
				tt.spoil(h)
			}
			out, code := h.run(append([]string{"install-host"}, tt.args...)...)
			if code != tt.code || !strings.Contains(out, tt.says) {
				t.Errorf("%d %q; want %d and %q", code, out, tt.code, tt.says)
			}
			if _, err := os.Stat(h.path("opt/nri/plugins/40-inlay")); err == nil {
				t.Error("the program was put in place all the same")
			}
		})
	}
}

// What install-host wrote is what a runtime takes.
func TestAnInstalledPluginRegistersWithTheRuntime(t *testing.T) {
	h, tree := newHost(t), newHostTree(t)
	out, code := tree.run("install-host", "http="+h.http, "run-dir="+h.runDir(), "podresources=",
		"policy="+tree.path("policy.json"), "hook-path="+tree.path("opt/inlay/bin/inlay-hook"), "hook-source="+tree.path("opt/inlay/bin/"+hookVersion))
	if code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	r := h.runtime(enginetest.Options{PluginDir: tree.path("opt/nri/plugins"), ConfigDir: tree.path("etc/nri/conf.d")})
	waitPlugins(t, r)
}
