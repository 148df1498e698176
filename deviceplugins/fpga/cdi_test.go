package fpga_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// injected gives the hooks that a runtime's CDI library would add to a container for a device name.
func injected(t *testing.T, h *host, device string) *oci.Hooks {
	t.Helper()
	cache, err := cdi.NewCache(cdi.WithSpecDirs(h.config.CDIDir), cdi.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	if errs := cache.GetErrors(); len(errs) != 0 {
		t.Fatalf("the CDI library says %v", errs)
	}
	spec := &oci.Spec{}
	if missing, err := cache.InjectDevices(spec, device); err != nil {
		t.Fatalf("%v: %v", missing, err)
	}
	if diff := cmp.Diff(&oci.Spec{Hooks: spec.Hooks}, spec); diff != "" {
		t.Errorf("the device changes more than hooks:\n%s", diff)
	}
	return spec.Hooks
}

func TestTheCDIFileHoldsOneHook(t *testing.T) {
	seconds := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		grant  fpga.Grant
		device string
		args   []string
		want   oci.Hook
	}{
		"gate": {fpga.GrantNRI, "gate", nil, oci.Hook{
			Path: "/opt/inlay/bin/inlay-hook", Args: []string{"inlay-hook", "gate"}, Timeout: seconds(10),
		}},
		"hook that does the work": {fpga.GrantAllocate, "hook", []string{"--run-dir", "/run/other"}, oci.Hook{
			Path: "/opt/inlay/bin/inlay-hook", Args: []string{"inlay-hook", "--timeout", "58s", "--run-dir", "/run/other"}, Timeout: seconds(60),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, fpga.ModeAF, c.grant, "dfl")
			h.config.Hook.Args = c.args
			h.restart(fpga.ModeAF)
			h.want(map[string]string{on(afNLB0, "dfl-port.0"): ""})
			got := injected(t, h, "intel.cdi.k8s.io/fpga="+c.device)
			if diff := cmp.Diff(&oci.Hooks{CreateRuntime: []oci.Hook{c.want}}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			file := filepath.Join(h.config.CDIDir, "intel.cdi.k8s.io-fpga-"+c.device+".yaml")
			if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o644 {
				t.Errorf("%v, %v", st, err)
			}
		})
	}
}

func TestTheCDIFileComesBackAndIsNotWrittenForNothing(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	file := filepath.Join(h.config.CDIDir, "intel.cdi.k8s.io-fpga-gate.yaml")
	stat := func() os.FileInfo {
		t.Helper()
		st, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	first := stat()
	h.scan()
	if !os.SameFile(first, stat()) {
		t.Error("a file that is as it should be was written again")
	}
	for name, break_ := range map[string]func() error{
		"deleted":                   func() error { return os.Remove(file) },
		"folder missing (a reboot)": func() error { return os.RemoveAll(h.config.CDIDir) },
		"of another version":        func() error { return os.WriteFile(file, []byte("cdiVersion: 0.3.0\n"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := break_(); err != nil {
				t.Fatal(err)
			}
			h.want(map[string]string{on(region, "dfl-fme.0"): ""})
			if got := injected(t, h, "intel.cdi.k8s.io/fpga=gate"); len(got.CreateRuntime) != 1 {
				t.Errorf("hooks %+v", got)
			}
			left, err := filepath.Glob(h.config.CDIDir + "/*")
			hidden, _ := filepath.Glob(h.config.CDIDir + "/.*")
			if err != nil || len(left) != 2 || len(hidden) != 0 { // the gate, and that of the FME's earlier name
				t.Errorf("folder: %v, %v, %v", left, hidden, err)
			}
		})
	}
}

// By rename: whoever reads meanwhile sees the old file whole.
func TestTheCDIFileIsReplacedByRename(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	file := filepath.Join(h.config.CDIDir, "intel.cdi.k8s.io-fpga-gate.yaml")
	const old = "cdiVersion: 0.3.0\n"
	if err := os.WriteFile(file, []byte(old), 0o644); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	h.scan()
	got := make([]byte, 100)
	if n, _ := reader.Read(got); string(got[:n]) != old {
		t.Errorf("a reader that had the old file open reads %q", got[:n])
	}
}

func TestDevicesAreUnhealthyWhileTheCDIFileCannotBeWritten(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl", "dfl")
	h.want(map[string]string{on(region, "dfl-fme.0"): "", on(region, "dfl-fme.1"): ""})
	h.setInterface("dfl-fme.1", ones)
	if err := os.RemoveAll(h.config.CDIDir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.config.CDIDir, nil, 0o644); err != nil { // no folder, as a wrong mount has it; root is stopped too
		t.Fatal(err)
	}
	h.want(map[string]string{on(region, "dfl-fme.0"): "CDI file: ", on(region, "dfl-fme.1"): "all ones"})
	w := h.Watch()
	if len(w.Values) != 0 {
		t.Error("the next audits would look at values only")
	}
	if !slices.ContainsFunc(w.Folders, func(f plugin.Folder) bool { return f.Path == h.config.CDIDir && f.Content }) {
		t.Errorf("the CDI folder is not watched: %v", w.Folders)
	}
	if err := os.Remove(h.config.CDIDir); err != nil {
		t.Fatal(err)
	}
	h.want(map[string]string{on(region, "dfl-fme.0"): "", on(region, "dfl-fme.1"): "all ones"})
}

func TestALookFromOutsideWritesNothing(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	inv, _, err := h.ReadOnly().Scan(t.Context())
	if err != nil || len(inv[region]) != 1 || inv[region][0].Reason != "" {
		t.Errorf("%+v, %v", inv, err)
	}
	for _, dir := range []string{"/run/inlay", "/run/cdi"} {
		if left, err := os.ReadDir(h.root.Join(dir)); err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", dir, left, err)
		}
	}
}

func TestOnlyOurOwnCDIFileAndNodesAreWatched(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	h.scan()
	for _, f := range h.Watch().Folders {
		var yes, no []string
		switch {
		case strings.HasSuffix(f.Path, "/dev"):
			yes, no = []string{"dfl-fme.0", "dfl-port.12", "intel-fpga-port.0"}, []string{"loop0", "dm-1", "dfl"}
		case strings.HasSuffix(f.Path, "/cdi"):
			yes = []string{"intel.cdi.k8s.io-fpga-gate.yaml", "intel.cdi.k8s.io-fpga-dfl-fme.12.yaml", "intel.cdi.k8s.io-fpga-intel-fpga-fme.0.yaml"}
			no = []string{
				"nvidia.yaml", ".intel.cdi.k8s.io-fpga-gate.yaml.1", "intel.cdi.k8s.io-fpga-hook.yaml", "intel.cdi.k8s.io-fpga-dfl-port.0.yaml",
				"intel.cdi.k8s.io-fpga-dfl-fme.yaml", "intel.cdi.k8s.io-fpga-dfl-fme.0.json", "intel.cdi.k8s.io-gpu-dfl-fme.0.yaml",
			}
		default:
			continue
		}
		for _, name := range yes {
			if !f.Match(name) {
				t.Errorf("%s/%s is not watched", f.Path, name)
			}
		}
		for _, name := range no {
			if f.Match(name) {
				t.Errorf("%s/%s is watched", f.Path, name)
			}
		}
	}
}
