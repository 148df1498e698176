package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/internal/childtest"
)

func TestMistakesInTheFlagsAreOneLineThatNamesTheFlag(t *testing.T) {
	root := emulated(t, "dfl")
	outside := shortDir(t)
	for name, c := range map[string]struct {
		args []string
		env  []string
		code int
		want string
	}{
		"family that is not there":   {[]string{"--families", "fpga,tpu"}, nil, 2, `--families: "tpu" is none of auto, fpga`},
		"no family":                  {[]string{"--families", ""}, nil, 2, `--families: names none`},
		"mode":                       {[]string{"--fpga-mode", "regions"}, nil, 2, `--fpga-mode: mode "regions" is none of af, region, regiondevel`},
		"mode by environment":        {nil, []string{"INLAY_FPGA_MODE=x"}, 2, `--fpga-mode: mode "x"`},
		"grant":                      {[]string{"--fpga-grant", "cdi"}, nil, 2, `--fpga-grant: "cdi" is neither nri nor allocate`},
		"hook timeout":               {[]string{"--hook-timeout", "1s"}, nil, 2, `--hook-timeout 1s is shorter than 2 s`},
		"hook timeout, not one":      {nil, []string{"INLAY_HOOK_TIMEOUT=soon"}, 2, `environment variable INLAY_HOOK_TIMEOUT="soon"`},
		"output form":                {[]string{"discover", "-o", "yaml"}, nil, 2, `-o "yaml" is neither table nor json`},
		"unknown command":            {[]string{"discovery"}, nil, 2, `"discovery"`},
		"CDI folder outside":         {[]string{"--cdi-dir", outside}, nil, 1, `--cdi-dir: ` + outside + ` is outside the host root`},
		"kubelet folder outside":     {[]string{"--kubelet-dir", outside}, nil, 1, `--kubelet-dir: ` + outside},
		"run folder outside":         {[]string{"--run-dir", outside}, nil, 1, `--run-dir: ` + outside},
		"bitstream store outside":    {[]string{"--bitstreams", outside}, nil, 1, `--bitstreams: ` + outside},
		"hook outside":               {[]string{"--hook-path", outside + "/hook"}, nil, 1, `--hook-path: ` + outside},
		"hook outside, by env":       {nil, []string{"INLAY_HOOK_PATH=" + outside + "/hook"}, 1, `--hook-path: ` + outside},
		"kubeconfig that is missing": {[]string{"--node-name", "n1", "--kubeconfig", outside + "/none"}, nil, 1, outside + "/none"},
		"policy without API server":  {[]string{"--policy", root + "/p"}, nil, 1, `--policy needs an API server: this is no pod of a cluster, and there is no --kubeconfig`},
		"policy, wrong kubeconfig":   {[]string{"--policy", root + "/p", "--kubeconfig", outside + "/none"}, nil, 1, outside + "/none"},
		"address in use by nobody":   {[]string{"--http", "256.0.0.1:1"}, nil, 1, `--http 256.0.0.1:1`},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, append([]string{"--host-root", root, "--http", ""}, c.args...), c.env...)
			if r.code != c.code || !strings.Contains(r.stderr, c.want) {
				t.Errorf("exit %d, want %d and %q:\n%s", r.code, c.code, c.want, r.stderr)
			}
			// A mistake in the call is followed by a pointer to --help.
			lines := map[int]int{1: 1, 2: 2}[c.code]
			if n := strings.Count(r.stderr, "\n"); n != lines && !strings.Contains(r.stderr, "level=") {
				t.Errorf("%d lines on standard error:\n%s", n, r.stderr)
			}
		})
	}
}

func TestAFlagBeatsItsEnvironmentTwin(t *testing.T) {
	root := emulated(t, "dfl")
	r := run(t, []string{"discover", "--fpga-mode", "region"}, "INLAY_HOST_ROOT="+root, "INLAY_FPGA_MODE=af", "INLAY_FAMILIES=fpga")
	if r.code != 0 || !strings.Contains(r.stdout, region) || strings.Contains(r.stdout, "af-") {
		t.Errorf("%+v", r)
	}
}

func TestTheHooksProgramIsTakenAsPathOfTheHost(t *testing.T) {
	root := emulated(t, "dfl")
	own := filepath.Join(root, "opt/own/hook")
	if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"below the host root": own, "the host's own": "/opt/own/hook"} {
		t.Run(name, func(t *testing.T) {
			d := start(t, root, "--hook-path", path)
			file := root + "/run/cdi/intel.cdi.k8s.io-fpga-gate.yaml"
			d.Says(limit, "resource offered")
			b, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(b), "path: /opt/own/hook\n") {
				t.Errorf("%v:\n%s", err, b)
			}
		})
	}
}

// A host's absolute link would lead a process that sees the host below a folder out of it.
func TestLinksOnTheWayOfAPathStayInsideTheHostRoot(t *testing.T) {
	root := emulated(t, "dfl")
	for link, target := range map[string]string{"/var/run": "/run", "/var/lib/kubelet": "/data/kubelet"} {
		if err := os.RemoveAll(root + link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, root+link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(root+"/data/kubelet/device-plugins", 0o755); err != nil {
		t.Fatal(err)
	}
	d := start(t, root)
	d.Says(limit, "resource offered")
	for _, pattern := range []string{"/run/cdi/intel.cdi.k8s.io-fpga-gate.yaml", "/data/kubelet/device-plugins/fpga.intel.com-af*.sock"} {
		childtest.Eventually(t, limit, func() error {
			if found, err := filepath.Glob(root + pattern); err != nil || len(found) != 1 {
				return os.ErrNotExist
			}
			return nil
		})
	}
}

// F8: the folders were fixed, so that nothing could be tried without a kubelet's own.
func TestTheKubeletsFolderAndTheCDIFolderAreFlags_F8(t *testing.T) {
	root := emulated(t, "dfl")
	k, err := kubelet.Start(root + "/k")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Stop() })
	start(t, root, "--kubelet-dir", root+"/k", "--cdi-dir", root+"/c", "--fpga-mode", "region")
	lists(t, limit, k, region, 1, "dfl-fme.0")
	if _, err := os.Stat(root + "/c/intel.cdi.k8s.io-fpga-gate.yaml"); err != nil {
		t.Error(err)
	}
}
