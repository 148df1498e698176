package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	logrustest "github.com/sirupsen/logrus/hooks/test"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/deviceplugins/config"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// said is what the doctor finds, by family.
func said(t *testing.T, dir string) map[string][]plugin.Finding {
	t.Helper()
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	log, _ := logrustest.NewNullLogger()
	o := &options{Common: &cli.Common{Service: cli.Service{Log: log}, Root: root}}
	f := o.lookers(config.Default(), nil)
	all := map[string][]plugin.Finding{}
	for _, d := range diagnose(t.Context(), []plugin.Family{f.gpu, f.npu, f.qat, f.sgx, f.dsa, f.iaa, f.dlb}) {
		all[d.Family] = d.Findings
	}
	return all
}

// asNobody has f look at files without root's rights.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread() // the id is the thread's
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setfsuid(0); err != nil {
			panic(err) // other tests would run with it
		}
	}()
	f()
}

// Every family tells the way out of what every family can meet: a node that is not there, and a read that is refused.
func TestTheDoctorTellsTheWayOutForEachFamily(t *testing.T) {
	const asRoot = "run inlay-deviceplugin as root, with the host's /sys and /dev"
	for _, tt := range []struct {
		family  string
		nodes   string // taken away
		trigger string
		refused string // empty: the family reads nothing
	}{
		{"gpu", "dev/dri/card0 dev/dri/renderD128", "udevadm trigger --subsystem-match=drm,", "sys/devices/pci0000:a0/0000:a0:00.0/vendor"},
		{"npu", "dev/accel/accel0", "udevadm trigger --subsystem-match=accel,", "sys/devices/pci0000:a1/0000:a1:00.0/vendor"},
		{"qat", "dev/vfio/300", "modprobe vfio-pci, and see that the host's /dev/vfio", "sys/bus/pci/drivers/4xxx"},
		{"sgx", "dev/sgx_provision", "udevadm trigger --subsystem-match=misc,", ""},
		{"dsa", "dev/dsa/wq0.0", "udevadm trigger --action=add --subsystem-match=dsa ", "sys/bus/dsa/devices/wq0.0/state"},
		{"iaa", "dev/iax/wq101.0", "udevadm trigger --action=add --subsystem-match=dsa ", "sys/bus/dsa/devices/wq101.0/state"},
		{"dlb", "dev/dlb0", "udevadm trigger --subsystem-match=dlb2,", "sys/class/dlb2/dlb0/device/sriov_numvfs"},
	} {
		has := func(what string, findings []plugin.Finding, remedy string) {
			t.Helper()
			if !slices.ContainsFunc(findings, func(f plugin.Finding) bool { return strings.HasPrefix(f.Remedy, remedy) }) {
				t.Errorf("%s: %s: no “%s” in %+v", tt.family, what, remedy, findings)
			}
			if len(findings) != 1 {
				t.Errorf("%s: %s: said more than once: %+v", tt.family, what, findings)
			}
			for _, f := range findings {
				if f.Remedy == "" {
					t.Errorf("%s: %s: no remedy: %+v", tt.family, what, f)
				}
			}
		}
		root, _ := everything(t, 1)
		if err := os.Chmod(root, 0o755); err != nil {
			t.Fatal(err)
		}
		if findings := said(t, root)[tt.family]; len(findings) > 0 {
			t.Errorf("%s is well: %+v", tt.family, findings)
		}
		if tt.refused != "" {
			path := filepath.Join(root, tt.refused)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, 0); err != nil {
				t.Fatal(err)
			}
			asNobody(t, func() { has("a read is refused", said(t, root)[tt.family], asRoot) })
			if err := os.Chmod(path, info.Mode()); err != nil {
				t.Fatal(err)
			}
		}
		for node := range strings.FieldsSeq(tt.nodes) {
			if err := os.Remove(filepath.Join(root, node)); err != nil {
				t.Fatal(err)
			}
		}
		has("no node", said(t, root)[tt.family], tt.trigger)
	}
}
