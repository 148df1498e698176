package idxd

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
	"github.com/inlay-project/inlay/internal/uevent"
)

func TestNamesOfQueues(t *testing.T) {
	for name, want := range map[string]string{
		"wq0.0": "0.0", "wq12.127": "12.127", "wq4294967295.0": "4294967295.0",
		"": "", "wq": "", "wq0": "", "wq0.": "", "wq.0": "", "wq0.0.0": "", "wq00.0": "", "wq0.01": "", "wq+1.0": "", "wq-1.0": "",
		"wq4294967296.0": "", "xwq0.0": "", "wq0.0 ": "", "dsa!wq0.0": "", "wq0x1.0": "", "wq0_1.0": "",
	} {
		n, ok := parseQueue(name)
		if ok != (want != "") || ok && fmt.Sprintf("%d.%d", n[0], n[1]) != want {
			t.Errorf("%q: %v, %t", name, n, ok)
		}
	}
}

// An ordinary file cannot refuse root to be read, so this is one floor below the other tests.
func TestARefusedReadNamesTheWayOut(t *testing.T) {
	refused := unreadable("its state", &fs.PathError{Op: "open", Path: "/host/sys/x", Err: unix.EACCES})
	if f := vfio.Finding("/sys/x", refused, subsystem); f.Reason != "its state cannot be read: permission denied" || !strings.HasPrefix(f.Remedy, "run inlay-deviceplugin as root") {
		t.Errorf("%+v", f)
	}
	broken := unreadable("its state", &fs.PathError{Op: "read", Path: "/host/sys/x", Err: unix.EIO})
	if f := vfio.Finding("/sys/x", broken, subsystem); f.Reason != "its state cannot be read: input/output error" || !strings.Contains(f.Remedy, "dmesg") {
		t.Errorf("%+v", f)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("wq0.1", "dsa0")
	f.Add("wq10.2", "iax11")
	f.Add("wq0.01", "dsa")
	f.Fuzz(func(t *testing.T, queue, device string) {
		if n, ok := parseQueue(queue); ok && fmt.Sprintf("wq%d.%d", n[0], n[1]) != queue {
			t.Errorf("%q reads as %v", queue, n)
		}
		if n, ok := parseDevice("dsa", device); ok && fmt.Sprintf("dsa%d", n[0]) != device {
			t.Errorf("%q reads as %v", device, n)
		}
	})
}

// Whatever the attributes of a queue say: no panic, the other queue is offered, and what is offered or said is something
// that the kubelet and a terminal can take.
func FuzzAttributes(f *testing.F) {
	f.Add("enabled", "shared", "user", "235:0", "enabled", "1")
	f.Add("disabled", "dedicated", "kernel", "235:", "halted", "-1")
	f.Add("enabled\x00", "", "mdev", "-1:0", "", "1,x")
	f.Add("enabled", "shared\nshared", "../../etc", "4294967296:0", "\x1b[2J", strings.Repeat("9", 5000))
	dir := f.TempDir()
	const tree = `-- sys/bus/dsa/devices/dsa0/wq0.1/state --
enabled
-- sys/bus/dsa/devices/dsa0/wq0.1/mode --
shared
-- sys/bus/dsa/devices/dsa0/wq0.1/type --
user
-- dev/dsa/wq0.0 --
c 235:0
-- dev/dsa/wq0.1 --
c 235:1
-- dev/char/235:0 --
-> ../dsa/wq0.0
-- dev/char/235:1 --
-> ../dsa/wq0.1
`
	if err := hostfstest.Extract(dir, []byte(tree), hostfstest.PlainNodes()); err != nil {
		f.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { root.Close() })
	f.Fuzz(func(t *testing.T, state, mode, kind, number, device, numa string) {
		for path, text := range map[string]string{
			"wq0.0/state": state, "wq0.0/mode": mode, "wq0.0/type": kind, "wq0.0/dsa!wq0.0/dev": number, "state": device, "numa_node": numa,
		} {
			writeAttr(t, root, busFolder+"/dsa0/"+path, text)
		}
		inv := Discover(root, DSA, DefaultOptions())
		other := "wq-user-shared-wq0.1-0"
		if !slices.ContainsFunc(inv.Devices["dsa.intel.com/wq-user-shared"], func(d plugin.Device) bool { return d.ID == other }) {
			t.Errorf("the sound queue is not offered: %+v", inv)
		}
		for resource, list := range inv.Devices {
			if resource != "dsa.intel.com/wq-user-shared" && resource != "dsa.intel.com/wq-user-dedicated" {
				t.Errorf("resource %q with %d devices", resource, len(list))
			}
		}
		findings := New(Config{Root: root, Log: silent()}, DSA, DefaultOptions()).Diagnose(t.Context())
		for _, s := range inv.Skipped {
			findings = append(findings, plugin.Finding{Path: s.Path, Reason: s.Reason})
		}
		for _, finding := range findings {
			if line := finding.Path + finding.Reason + finding.Remedy; strings.ContainsAny(line, "\n\x1b\x00") || len(line) > 600 {
				t.Errorf("not a line for a terminal: %q", line)
			}
		}
	})
}

func silent() logrus.FieldLogger {
	log, _ := test.NewNullLogger()
	return log
}

func writeAttr(t *testing.T, root *hostfs.Root, hostPath, text string) {
	t.Helper()
	file := root.Join(hostPath)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOpeningAQueueIsNoChangeOfIt(t *testing.T) {
	for path, opened := range map[string]bool{
		"/devices/pci0000:6a/0000:6a:01.0/dsa0/wq0.1/file12":      true,
		"/devices/pci0000:6a/0000:6a:01.0/dsa0/wq0.1/dsa!wq0.1":   false,
		"/devices/pci0000:6a/0000:6a:01.0/dsa0/wq0.1":             false,
		"/devices/pci0000:6a/0000:6a:01.0/dsa0/file":              false,
		"/devices/pci0000:6a/0000:6a:01.0/dsa0/filesystem/file1x": false,
		"": false,
	} {
		if got := isOpened(uevent.Event{Subsystem: "dsa", DevPath: path}); got != opened {
			t.Errorf("%s: %v", path, got)
		}
	}
}
