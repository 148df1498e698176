package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

// installed puts inlay-nri into a plugin folder, with its configuration beside it.
func installed(t *testing.T, config string) enginetest.Options {
	t.Helper()
	opts := enginetest.Options{PluginDir: t.TempDir(), ConfigDir: t.TempDir()}
	if err := os.Symlink(inlayNRI(t), filepath.Join(opts.PluginDir, "40-inlay")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(opts.ConfigDir, "40-inlay.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return opts
}

func TestStartedByTheRuntimeItTakesItsSettingsFromThere(t *testing.T) {
	h := newHost(t)
	config := strings.Join([]string{
		"# the node's own",
		"http: " + h.http,
		"run-dir: " + h.runDir(),
		"bitstreams: " + filepath.Join(h.root, "srv/intel.com/fpga"),
		"max-bitstream: 536870911",
		"hook-path: " + filepath.Join(h.root, "opt/inlay/bin/inlay-hook"),
		"hook-timeout: 90s",
		"podresources: \"\"",
		"policy: " + filepath.Join(h.root, "policy.json"),
		"policy-max-age: 1h",
		"log-format: json",
	}, "\n")
	r := h.runtime(installed(t, config))
	waitPlugins(t, r)
	h.readyz(http.StatusServiceUnavailable, "policy file is missing: "+h.root)
	if err := os.WriteFile(filepath.Join(h.root, "policy.json"), policyText(), 0o600); err != nil {
		t.Fatal(err)
	}
	h.readyz(http.StatusOK, "ready")
	s, err := nristatus.Ask(t.Context(), filepath.Join(h.runDir(), nristatus.SocketName))
	if err != nil || s.Ready() != nil {
		t.Errorf("status %+v, %v", s, err)
	}
	// The host root is the machine itself, which need not have a card: that it is asked for is what counts.
	_, err = r.CreateContainer(t.Context(), testPod(), fpgaContainer())
	if err == nil || !strings.Contains(err.Error(), "inlay-nri refused pod ns/pod container app: allocated device dfl-fme.0: ") {
		t.Errorf("%v", err)
	}
	wantUntouched(t, r)
	h.metric("inlay_nri_connected 1")
	r.Stop() // and with the runtime it goes
	eventually(t, "the end of the plugin", func() bool { code, _ := h.get("/healthz"); return code == 0 })
}

func TestAWrongConfigurationKeepsItFromRegistering(t *testing.T) {
	h := newHost(t)
	r := h.runtime(installed(t, "hook-timout: 90s\n"))
	if err := r.WaitPlugins(t.Context(), 0); err != nil {
		t.Error(err)
	}
	wantUntouched(t, r)
}
