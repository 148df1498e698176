package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/internal/nristatus"
)

// installedNode is a host tree with an emulated card and a hook in it.
func installedNode(t *testing.T) string {
	t.Helper()
	root := emulated(t, "dfl")
	bin := root + "/opt/inlay/bin"
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bin+"/inlay-hook-v1-0a1b2c3d", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	os.Remove(bin + "/inlay-hook")
	if err := os.Symlink("inlay-hook-v1-0a1b2c3d", bin+"/inlay-hook"); err != nil {
		t.Fatal(err)
	}
	return root
}

func uninstalls(t *testing.T, root string, args ...string) ran {
	t.Helper()
	return run(t, append([]string{"uninstall-host", "--host-root", root}, args...))
}

func TestUninstallIsRefusedWhileSomebodyNeedsUs(t *testing.T) {
	root := installedNode(t)
	hook := root + "/opt/inlay/bin/inlay-hook-v1-0a1b2c3d"
	refused := func(want ...string) {
		t.Helper()
		r := uninstalls(t, root)
		if c := uninstalls(t, root, "--check"); c.code == 0 || c.stderr != r.stderr {
			t.Errorf("--check: exit %d, %q; without: %q", c.code, c.stderr, r.stderr)
		}
		for _, w := range append(want, "nothing was taken away (--force does it all the same): ") {
			if r.code != 1 || !strings.Contains(r.stderr, w) || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("exit %d, %q, %q; want %q", r.code, r.stdout, r.stderr, w)
			}
		}
		if _, err := os.Stat(hook); err != nil {
			t.Error(err)
		}
	}
	refused("whether pods hold FPGAs cannot be told (--podresources= where there is no kubelet): kubelet's podresources " + root)

	k := startKubelet(t, root)
	d := start(t, root, "--fpga-mode", "region")
	lists(t, limit, k, region, 1, "dfl-fme.0")
	refused("a device plugin serves fpga.intel.com-region-", "stop it first")
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}

	one, two := kubelet.Owner{Namespace: "ns", Pod: "one", Container: "c"}, kubelet.Owner{Namespace: "ns", Pod: "two", Container: "c"}
	k.Claim(two, region, "dfl-fme.0")
	k.Claim(one, "fpga.intel.com/af-695.d84.x", "dfl-port.0")
	k.Claim(kubelet.Owner{Namespace: "ns", Pod: "other", Container: "c"}, "gpu.intel.com/xe", "card0")
	refused("pods hold FPGAs, delete them first: ns/one, ns/two\n")
	k.Free(one)
	k.Free(two)

	// A process that no kubelet knows.
	process := root + "/proc/4711"
	if err := errors.Join(
		os.MkdirAll(process+"/fd", 0o755), os.Symlink(root+"/dev/dfl-port.0", process+"/fd/3"),
		os.WriteFile(process+"/comm", []byte("podman-job\n"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	refused("dfl-port.0 is in use by process 4711 (podman-job)")
	if err := os.RemoveAll(process); err != nil {
		t.Fatal(err)
	}

	r := uninstalls(t, root)
	if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, "removed  "+hook+"\n") {
		t.Errorf("%+v", r)
	}
	for _, gone := range []string{"/opt/inlay", "/run/inlay", "/run/cdi/intel.cdi.k8s.io-fpga-gate.yaml"} {
		if _, err := os.Lstat(root + gone); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", gone, err)
		}
	}
	if got := sockets(t, root); len(got) != 0 {
		t.Errorf("sockets left: %q", got)
	}
}

func TestUninstallIsRefusedWhileInlayNRIRuns(t *testing.T) {
	for try := 1; ; try++ {
		root := installedNode(t)
		server, err := nristatus.Listen(root + "/run/inlay/" + nristatus.SocketName)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- server.Serve(ctx, func() nristatus.Status { return nristatus.Status{} }) }()
		if c := uninstalls(t, root, "--podresources=", "--check"); c.code != 0 { // none of the check's reasons
			t.Errorf("--check: %+v", c)
		}
		r := uninstalls(t, root, "--podresources=")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if r.code == 0 && try < 3 {
			continue // an answer after 300 ms is none: on a new node
		}
		if want := "nothing was taken away (--force does it all the same): inlay-nri runs on this node: stop it first\n"; r.code != 1 || r.stdout != "" || !strings.HasSuffix(r.stderr, want) {
			t.Errorf("%+v, want %q", r, want)
		}
		if _, err := os.Stat(root + "/opt/inlay/bin/inlay-hook-v1-0a1b2c3d"); err != nil {
			t.Error(err)
		}
		return
	}
}

func TestUninstallByForceSaysWhoIsCutOff(t *testing.T) {
	root := installedNode(t)
	k := startKubelet(t, root)
	k.Claim(kubelet.Owner{Namespace: "ns", Pod: "one", Container: "c"}, region, "dfl-fme.0")
	r := uninstalls(t, root, "--force", "--check")
	if r.code != 0 || !strings.Contains(r.stderr, "--force: pods hold FPGAs, delete them first: ns/one") {
		t.Errorf("--check: %+v", r)
	}
	if _, err := os.Stat(root + "/opt/inlay"); err != nil {
		t.Errorf("--check took something away: %v", err)
	}
	r = uninstalls(t, root, "--force")
	if r.code != 0 || !strings.Contains(r.stderr, "--force: pods hold FPGAs, delete them first: ns/one") {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(root + "/opt/inlay"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Paths of the host lead through its own links, and a socket that nobody serves any more is only a file.
func TestUninstallFindsThingsWhereTheHostHasThem(t *testing.T) {
	root := installedNode(t)
	for link, target := range map[string]string{"/var/run": "/run", "/etc": "/data/etc"} {
		if err := os.RemoveAll(root + link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, root+link); err != nil {
			t.Fatal(err)
		}
	}
	dead := root + "/var/lib/kubelet/device-plugins/fpga.intel.com-x.sock"
	for file, text := range map[string]string{
		"/run/cdi/intel.cdi.k8s.io-fpga-gate.yaml":           "path: /opt/inlay/bin/inlay-hook\n",
		"/data/etc/containers/oci/hooks.d/inlay-fpga.json":   "{}",
		"/opt/hooks.d/inlay-fpga.json":                       "{}",
		"/var/lib/inlay/policy.json":                         "{}",
		"/data/state/configuration.yaml":                     "version: v1\n",
		"/var/lib/kubelet/device-plugins/kubelet_checkpoint": "{}",
	} {
		if err := os.MkdirAll(filepath.Dir(root+file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	r := uninstalls(t, root, "--podresources=", "--purge", "--policy", root+"/var/lib/inlay/policy.json", "--state-dir", root+"/data/state", "--hooks-dir", "/etc/containers/oci/hooks.d,/opt/hooks.d")
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%+v", r)
	}
	for _, gone := range []string{
		dead, root + "/run/cdi/intel.cdi.k8s.io-fpga-gate.yaml", root + "/data/etc/containers/oci/hooks.d/inlay-fpga.json",
		root + "/opt/hooks.d/inlay-fpga.json", root + "/opt/inlay", root + "/var/lib/inlay",
		root + "/data/state/configuration.yaml",
	} {
		if _, err := os.Lstat(gone); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(r.stdout, "removed  "+gone+"\n") {
			t.Errorf("%s: %v\n%s", gone, err, r.stdout)
		}
	}
}
