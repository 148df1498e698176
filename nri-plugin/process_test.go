package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

func TestInlayNRIOverALifeOfItsRuntime(t *testing.T) {
	h := newHost(t)
	p := h.start()
	h.readyz(http.StatusServiceUnavailable, "inlay-nri is not connected to the container runtime: NRI socket: ")
	if code, _ := h.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz %d", code)
	}
	h.metric("inlay_nri_connected 0")

	r := h.runtime(enginetest.Options{})
	waitPlugins(t, r)
	h.readyz(http.StatusOK, "ready")
	var s nristatus.Status
	var err error
	eventually(t, "an answer to who asks for the status", func() bool {
		s, err = nristatus.Ask(t.Context(), filepath.Join(h.runDir(), nristatus.SocketName))
		return err == nil
	})
	if s.Ready() != nil || s.Runtime != "containerd" || s.RuntimeVersion != "2.4.2" {
		t.Errorf("status %+v", s)
	}

	wantGranted(t, r)
	wantUntouched(t, r)
	forged := testPod()
	forged.Annotations = fpgaContainer().Annotations
	_, err = r.CreateContainer(t.Context(), forged, plain())
	if err == nil || !strings.Contains(err.Error(), "inlay-nri refused pod ns/pod container plain: the pod itself carries the annotation") {
		t.Errorf("a forged record: %v", err)
	}
	for _, line := range []string{
		"inlay_nri_connected 1", "inlay_nri_reconnects_total 0", `inlay_injections_total{mechanism="nri"} 1`,
		`inlay_nri_requests_total{event="CreateContainer",result="ok"} 2`,
		`inlay_nri_requests_total{event="CreateContainer",result="refused"} 1`, `inlay_nri_refusals_total{reason="refused"} 1`,
	} {
		h.metric(line)
	}

	r.Stop()
	h.readyz(http.StatusServiceUnavailable, "inlay-nri is not connected")
	r = h.runtime(enginetest.Options{})
	waitPlugins(t, r)
	h.readyz(http.StatusOK, "ready")
	wantGranted(t, r)
	h.metric("inlay_nri_reconnects_total 1")

	if err := stop(t, p); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(h.runDir(), nristatus.SocketName)); err == nil {
		t.Error("the status socket is left behind")
	}
	wantLog(t, p.Output())
}

// wantLog: each line is JSON; a grant and a refusal say whose they are.
func wantLog(t *testing.T, text string) {
	t.Helper()
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("log line %q: %v", line, err)
			continue
		}
		msg := fmt.Sprint(e["msg"])
		seen[msg] = true
		if strings.HasPrefix(msg, "granted") && (e["namespace"] != "ns" || e["pod"] != "pod" || e["container"] != "app" ||
			e["device"] != "dfl-port.0" || e["function"] != nlb3) {
			t.Errorf("log line %s", line)
		}
	}
	for _, msg := range []string{
		"inlay-nri starts", "connected to the container runtime", "granted on the container's own word: no --policy is set",
		"container refused", "no --policy: containers get any function that they ask for",
		"no --podresources: allocation records are not checked with a kubelet", "inlay-nri ends",
	} {
		if !seen[msg] {
			t.Errorf("no log line %q", msg)
		}
	}
}

func TestReadinessNamesWhatIsMissing(t *testing.T) {
	h := newHost(t)
	file := filepath.Join(h.root, "var/lib/inlay/policy.json")
	h.start("--policy", file)
	r := h.runtime(enginetest.Options{})
	waitPlugins(t, r)
	h.readyz(http.StatusServiceUnavailable, "nothing is granted: policy file is missing: "+file+"\n")
	hook := filepath.Join(h.root, "opt/inlay/bin/inlay-hook")
	if err := os.Remove(hook); err != nil {
		t.Fatal(err)
	}
	h.readyz(http.StatusServiceUnavailable, "hook is missing on this node: open "+hook)
	if err := os.WriteFile(hook, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, policyText(), 0o600); err != nil {
		t.Fatal(err)
	}
	h.readyz(http.StatusOK, "ready")
	_, err := r.CreateContainer(t.Context(), testPod(), fpgaContainer())
	want := "inlay-nri refused pod ns/pod container app: namespace ns has no AcceleratorFunction of mode region for interface " + iface
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// policyText allows nothing to anybody, as of now.
func policyText() []byte {
	return fmt.Appendf(nil, `{"format":1,"synced":%q,"namespaces":{}}`, time.Now().Format(time.RFC3339))
}

func TestToBeStoppedWithoutARuntimeIsClean(t *testing.T) {
	h := newHost(t)
	p := h.start()
	h.readyz(http.StatusServiceUnavailable, "not connected")
	if err := stop(t, p); err != nil {
		t.Error(err)
	}
}

func TestSettingsThatCannotWorkEndTheStartWithALine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		flags string
		code  int
		want  string
	}{
		{"--hook-path opt/inlay-hook", 2, "--hook-path opt/inlay-hook is not absolute"},
		{"--hook-path /nonexistent/inlay-hook", 1, "--hook-path: /nonexistent/inlay-hook is outside the host root"},
		{"--hook-timeout 1s", 2, "--hook-timeout 1s is shorter than 2 s"},
		{"--hook-timeout 2m", 2, "--hook-timeout 2m0s is not below 2 min"},
		{"--max-bitstream 0", 2, "--max-bitstream 0 is not positive"},
		{"--max-bitstream -1", 2, "--max-bitstream -1 is not positive"},
		{"--policy /p --policy-max-age -1h", 2, "--policy-max-age -1h0m0s is negative"},
		{"--policy-max-age 1h", 2, "--policy-max-age 1h0m0s without --policy"},
		{"--nri-socket=", 2, "NRI engine: no socket"},
		{"--fpga-mode any", 2, `--fpga-mode "any" is none of auto, af, region, regiondevel`},
		{"--run-dir /nonexistent/run", 1, "--run-dir: /nonexistent/run is outside the host root"},
		{"--bitstreams /nonexistent/store", 1, "--bitstreams: /nonexistent/store is outside the host root"},
		{"--nri-index 4", 2, `NRI plugin index "4"`},
		{"--http " + taken.Addr().String(), 1, "--http " + taken.Addr().String() + ": bind: address already in use"},
		{"--frobnicate", 2, "unknown flag: --frobnicate"},
	} {
		t.Run(tt.flags, func(t *testing.T) {
			h := newHost(t)
			p := h.start(strings.Fields(tt.flags)...)
			err := p.Wait(5 * time.Second)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != tt.code || !strings.Contains(p.Output(), "inlay-nri: "+tt.want) {
				t.Errorf("%v, %s", err, p.Output())
			}
		})
	}
}

// The hook's path may be given as the host has it, below the host root or not, once it is there.
func TestTheHooksPathMayBeTheHostsOwn(t *testing.T) {
	h := newHost(t)
	h.start("--hook-path", "/opt/inlay/bin/inlay-hook")
	r := h.runtime(enginetest.Options{})
	waitPlugins(t, r)
	wantGranted(t, r)
}
