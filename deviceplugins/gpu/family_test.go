package gpu

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/testing/protocmp"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/gpu/health/healthtest"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plug puts a card into a tree as the kernel would: n decides its name and its address 0000:<n>:00.0 behind one root port.
func plug(t testing.TB, root *hostfs.Root, n int, driver string) {
	t.Helper()
	device := fmt.Sprintf("sys/devices/pci0000:00/0000:00:01.0/0000:%02x:00.0", n)
	address := filepath.Base(device)
	var b strings.Builder
	file := func(name, text string) { fmt.Fprintf(&b, "-- %s --\n%s\n", name, text) }
	file(device+"/vendor", "0x8086")
	file(device+"/device", "0x56c0")
	file(device+"/sriov_numvfs", "0")
	file(device+"/numa_node", "1")
	file(device+"/local_cpulist", "0-7")
	for _, minor := range []struct {
		name   string
		number int
	}{{fmt.Sprintf("card%d", n), n}, {fmt.Sprintf("renderD%d", 128+n), 128 + n}} {
		file(device+"/drm/"+minor.name+"/dev", fmt.Sprintf("226:%d", minor.number))
		file("dev/dri/"+minor.name, fmt.Sprintf("c 226:%d", minor.number))
		kind := strings.TrimRight(minor.name, "D0123456789")
		file("dev/dri/by-path/pci-"+address+"-"+kind, "-> ../"+minor.name)
		file(device+"/drm/"+minor.name+"/device", "-> ../../../"+address)
		file("sys/class/drm/"+minor.name, "-> ../../"+strings.TrimPrefix(device, "sys/")+"/drm/"+minor.name)
	}
	file(device+"/driver", "-> /sys/bus/pci/drivers/"+driver)
	file("sys/bus/pci/drivers/"+driver+"/bind", "")
	if err := hostfstest.Extract(root.Dir(), []byte(b.String())); err != nil {
		t.Fatal(err)
	}
}

func unplug(t testing.TB, root *hostfs.Root, n int) {
	t.Helper()
	render := fmt.Sprintf("renderD%d", 128+n)
	for _, path := range []string{
		fmt.Sprintf("/sys/class/drm/card%d", n), "/sys/class/drm/" + render, fmt.Sprintf("/dev/dri/card%d", n), "/dev/dri/" + render,
		fmt.Sprintf("/dev/dri/by-path/pci-0000:%02x:00.0-card", n), fmt.Sprintf("/dev/dri/by-path/pci-0000:%02x:00.0-render", n),
		fmt.Sprintf("/sys/devices/pci0000:00/0000:00:01.0/0000:%02x:00.0", n),
	} {
		if err := os.RemoveAll(root.Join(path)); err != nil {
			t.Fatal(err)
		}
	}
}

// empty is a host without any GPU.
func empty(t testing.TB) *hostfs.Root {
	return familytest.Tree(t, []byte("-- sys/class/drm/version --\ndrm\n-- dev/null --\nc 1:3\n"))
}

// scan looks once and wants no trouble.
func scan(t testing.TB, f *Family) plugin.Inventory {
	t.Helper()
	inv, skipped, err := f.Scan(t.Context())
	if err != nil || len(skipped) > 0 {
		t.Fatalf("%v, left out: %v", err, skipped)
	}
	return inv
}

func names(devices []plugin.Device) (list []string) {
	for _, d := range devices {
		list = append(list, d.ID)
	}
	return list
}

// newNode is a node with the family on it.
func newNode(t *testing.T, family func(kick func()) *Family) *familytest.Node {
	t.Helper()
	var n *familytest.Node
	f := family(func() { n.Engine.Kick("gpu") })
	n = familytest.NewNode(t, plugin.Config{Families: []plugin.Family{f}, Audit: 50 * time.Millisecond, Linger: 100 * time.Millisecond})
	n.Run(f.Run)
	return n
}

// wait until the kubelet has exactly these healthy devices of a resource.
func wait(t *testing.T, n *familytest.Node, resource string, healthy ...string) {
	t.Helper()
	n.Wait(resource, fmt.Sprintf("%v healthy and no other", healthy), func(r kubelettest.Resource) bool {
		var got []string
		for _, d := range r.Devices {
			if d.GetHealth() == plugin.Healthy {
				got = append(got, d.GetID())
			}
		}
		return slices.Equal(got, healthy)
	})
}

// G1: the plugin of the reference hung for ever at the second change of any resource's count.
func TestASecondAndAThirdChangeOfTheCountReachTheKubelet_G1(t *testing.T) {
	root := empty(t)
	n := newNode(t, func(kick func()) *Family {
		return family(t, root, DefaultOptions(), func(c *Config) { c.Kick = kick })
	})
	plug(t, root, 0, "i915")
	wait(t, n, "gpu.intel.com/i915", "card0-0")
	plug(t, root, 1, "i915")
	wait(t, n, "gpu.intel.com/i915", "card0-0", "card1-0")
	plug(t, root, 2, "xe")
	wait(t, n, "gpu.intel.com/xe", "card2-0")
	unplug(t, root, 0)
	wait(t, n, "gpu.intel.com/i915", "card1-0")
	unplug(t, root, 1)
	wait(t, n, "gpu.intel.com/i915")
	plug(t, root, 0, "i915")
	wait(t, n, "gpu.intel.com/i915", "card0-0")

	answer, err := n.Allocate("gpu.intel.com/xe", "card2-0")
	if err != nil {
		t.Fatal(err)
	}
	want := &v1beta1.ContainerAllocateResponse{
		Devices: []*v1beta1.DeviceSpec{
			{HostPath: "/dev/dri/card2", ContainerPath: "/dev/dri/card2", Permissions: "rw"},
			{HostPath: "/dev/dri/renderD130", ContainerPath: "/dev/dri/renderD130", Permissions: "rw"},
		},
		Mounts: []*v1beta1.Mount{
			{HostPath: "/dev/dri/by-path/pci-0000:02:00.0-card", ContainerPath: "/dev/dri/by-path/pci-0000:02:00.0-card", ReadOnly: true},
			{HostPath: "/dev/dri/by-path/pci-0000:02:00.0-render", ContainerPath: "/dev/dri/by-path/pci-0000:02:00.0-render", ReadOnly: true},
		},
		Annotations: map[string]string{"allocated.gpu.intel.com/xe": "card2-0@0000:02:00.0"},
	}
	if diff := cmp.Diff(want, answer, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// F1: a change of health after a restart of the kubelet lost the resource.
func TestHealthReachesTheKubeletAlsoAfterItsRestart_F1(t *testing.T) {
	root := empty(t)
	plug(t, root, 0, "xe")
	plug(t, root, 1, "xe")
	service := healthtest.New(t)
	service.Set("0000:00:00.0", healthtest.Card{})
	service.Set("0000:01:00.0", healthtest.Card{})
	service.Start()
	o := parse(t, "--gpu-health-management", "--gpu-levelzero-socket="+service.Socket, "--gpu-health-period=100ms", "--gpu-health-grace=500ms")
	n := newNode(t, func(kick func()) *Family {
		return family(t, root, o, func(c *Config) { c.Kick = kick })
	})
	wait(t, n, "gpu.intel.com/xe", "card0-0", "card1-0")
	service.Set("0000:01:00.0", healthtest.Card{GPU: 101})
	wait(t, n, "gpu.intel.com/xe", "card0-0")
	if _, err := n.Allocate("gpu.intel.com/xe", "card1-0"); err == nil || !strings.Contains(err.Error(), "its GPU temperature is above 100 °C") {
		t.Errorf("allocation of a hot card: %v", err)
	}
	if err := n.Kubelet.Restart(); err != nil {
		t.Fatal(err)
	}
	wait(t, n, "gpu.intel.com/xe", "card0-0")
	service.Set("0000:01:00.0", healthtest.Card{GPU: 60})
	wait(t, n, "gpu.intel.com/xe", "card0-0", "card1-0")
	service.Stop()
	wait(t, n, "gpu.intel.com/xe") // nobody can vouch for them any more
	service.Start()
	wait(t, n, "gpu.intel.com/xe", "card0-0", "card1-0")
}

func TestAnotherSourceOfHealthIsFollowedWithoutRestart(t *testing.T) {
	root := empty(t)
	plug(t, root, 0, "xe")
	service := healthtest.New(t)
	service.Tell(healthtest.Device{Address: "0000:00:00.0", Health: []healthtest.Status{{Name: "memory", Severity: 3}}})
	service.Start()
	var f *Family
	n := newNode(t, func(kick func()) *Family {
		f = family(t, root, DefaultOptions(), func(c *Config) { c.Kick = kick })
		return f
	})
	wait(t, n, "gpu.intel.com/xe", "card0-0")
	o := parse(t, "--gpu-xpumd-endpoint="+service.Socket)
	if !f.Configure(o) || f.Configure(o) {
		t.Error("Configure does not tell a change from none")
	}
	f.c.Kick()
	wait(t, n, "gpu.intel.com/xe")
	f.Configure(DefaultOptions())
	f.c.Kick()
	wait(t, n, "gpu.intel.com/xe", "card0-0")
}

// A look from outside follows nobody, and says all the same what the source says now.
func TestALookFromOutsideKnowsOfHealth(t *testing.T) {
	root := empty(t)
	plug(t, root, 1, "xe")
	service := healthtest.New(t)
	service.Set("0000:01:00.0", healthtest.Card{MemoryBad: true})
	service.Start()
	f := family(t, root, parse(t, "--gpu-health-management", "--gpu-levelzero-socket="+service.Socket))
	f.Ask(t.Context())
	if d := scan(t, f)["gpu.intel.com/xe"]; len(d) != 1 || d[0].Reason != "its memory is not healthy" {
		t.Errorf("%+v", d)
	}
}

// With a source, a card that cannot be asked for is not healthy for ever (G8); without one everything is.
func TestACardWithoutAddressHasNoHealth_G8(t *testing.T) {
	root, o := golden(t, "fake-devices")
	if d := scan(t, family(t, root, o))["gpu.intel.com/i915"]; len(d) != 1 || d[0].Health != plugin.Healthy {
		t.Errorf("without a source: %+v", d)
	}
	o.HealthManagement = true
	if d := scan(t, family(t, root, o))["gpu.intel.com/i915"]; len(d) != 1 || d[0].Health != plugin.Unhealthy || d[0].Reason != unreachable {
		t.Errorf("with a source: %+v", d)
	}
}

// A made-up card is a folder and no link; that its device is one is enough to ask for its health, as the reference does.
func TestACardsDeviceSaysItsAddressToo(t *testing.T) {
	root := familytest.Tree(t, []byte(`
-- sys/class/drm/card0/device --
-> ../.devices/0000:00:00.0
-- sys/class/drm/.devices/0000:00:00.0/vendor --
0x8086
-- sys/class/drm/.devices/0000:00:00.0/drm/card0/ --
-- dev/dri/card0 --
-- dev/dri/by-path/pci-0000:00:00.0-card --
`))
	d := scan(t, family(t, root, parse(t, "--gpu-health-management")))["gpu.intel.com/i915"]
	if len(d) != 1 || d[0].Health != plugin.Healthy || len(d[0].Grant.Mounts) != 0 {
		t.Errorf("%+v", d)
	}
}

// A class folder that cannot be read is no reason to withdraw anything (6537e384 of the reference: nor to exit).
func TestAScanThatKnowsNothingIsAnError(t *testing.T) {
	root := familytest.Tree(t, []byte("-- sys/class/drm --\n-> drm\n"))
	if inv, _, err := family(t, root, DefaultOptions()).Scan(t.Context()); err == nil || inv != nil {
		t.Errorf("%v, %v", inv, err)
	}
}

// fef67639 of the reference: N copies of the last device.
func TestSharesAreOfTheirOwnCard(t *testing.T) {
	root := empty(t)
	plug(t, root, 1, "xe")
	plug(t, root, 2, "xe")
	inv := scan(t, family(t, root, parse(t, "--gpu-shared-dev-num=3")))
	devices := inv["gpu.intel.com/xe"]
	if diff := cmp.Diff([]string{"card1-0", "card1-1", "card1-2", "card2-0", "card2-1", "card2-2"}, names(devices)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	for _, d := range devices {
		if want := "/dev/dri/" + cardOf(d.ID); d.Grant.Nodes[0].HostPath != want {
			t.Errorf("%s has %s", d.ID, d.Grant.Nodes[0].HostPath)
		}
	}
}

func TestWhatIsWatched(t *testing.T) {
	root, o := golden(t, "i915-and-xe")
	run, folder := t.TempDir(), cdi.New(t.TempDir(), nil)
	o.CDI = cdi.On
	f := family(t, root, o, func(c *Config) { c.RunDir, c.CDI = run, folder })
	scan(t, f)
	w := f.Watch()
	if diff := cmp.Diff([]string{"drm", "mei"}, w.Subsystems); diff != "" {
		t.Errorf("subsystems (-want +got):\n%s", diff)
	}
	want := []string{
		root.Join("/sys/class/drm"), root.Join("/sys/devices/pci0000:00/0000:00:02.0/sriov_numvfs"),
		root.Join("/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/0000:3c:01.0/0000:3d:00.0/sriov_numvfs"),
	}
	if diff := cmp.Diff(want, w.Values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	matches := map[string]map[string]bool{
		root.Join("/dev"):                 {"mei1": true, "mei": false, "null": false},
		root.Join("/dev/dri"):             {"card0": true, "renderD128": true, "by-path": true, "controlD64": false, ".tmp": false},
		filepath.Join(run, "gpu/by-path"): {"card0": true, ".card0~12": false},
		folder.Watch(Kind).Path:           {cdi.FileName(Kind, "card0"): true, "intel.cdi.k8s.io-fpga-gate.yaml": false},
		root.Join("/dev/dri/by-path"):     nil,
	}
	for _, folder := range w.Folders {
		if strings.HasPrefix(folder.Path, root.Join("/sys")) {
			t.Errorf("%s is below /sys, where no event comes", folder.Path)
		}
		names, ok := matches[folder.Path]
		if !ok {
			t.Errorf("%s is watched", folder.Path)
		}
		for name, want := range names {
			if folder.Match(name) != want {
				t.Errorf("%s/%s: watched %v", folder.Path, name, !want)
			}
		}
		delete(matches, folder.Path)
	}
	if len(matches) > 0 {
		t.Errorf("not watched: %v", matches)
	}
}

// The number of virtual functions has no event of its own: the card is back when it is 0 again.
func TestACardComesBackWithoutItsVirtualFunctions(t *testing.T) {
	root := empty(t)
	plug(t, root, 0, "xe")
	file := root.Join("/sys/devices/pci0000:00/0000:00:01.0/0000:00:00.0/sriov_numvfs")
	n := newNode(t, func(kick func()) *Family {
		return family(t, root, DefaultOptions(), func(c *Config) { c.Kick = kick })
	})
	wait(t, n, "gpu.intel.com/xe", "card0-0")
	plug(t, root, 1, "xe")
	if err := os.WriteFile(file, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wait(t, n, "gpu.intel.com/xe", "card1-0")
	if err := os.WriteFile(file, []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wait(t, n, "gpu.intel.com/xe", "card0-0", "card1-0")
}
