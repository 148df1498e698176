package gpu

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	runtime "tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/gpu/health/healthtest"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// allocate asks for devices of the last scan.
func allocate(t testing.TB, f *Family, inv plugin.Inventory, resource string, ids ...string) *v1beta1.ContainerAllocateResponse {
	t.Helper()
	var devices []plugin.Device
	for _, id := range ids {
		for _, d := range inv[resource] {
			if d.ID == id {
				devices = append(devices, d)
			}
		}
	}
	if len(devices) != len(ids) {
		t.Fatalf("%s has no %v", resource, ids)
	}
	answer, err := f.Allocate(t.Context(), resource, devices)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// summary is what a container gets, in words.
func summary(a *v1beta1.ContainerAllocateResponse) (list []string) {
	for _, d := range a.GetDevices() {
		list = append(list, d.GetHostPath()+":"+d.GetPermissions())
	}
	for _, m := range a.GetMounts() {
		list = append(list, "mount "+m.GetHostPath())
	}
	for _, c := range a.GetCdiDevices() {
		list = append(list, "cdi "+c.GetName())
	}
	for k, v := range a.GetEnvs() {
		list = append(list, k+"="+v)
	}
	for k, v := range a.GetAnnotations() {
		list = append(list, k+": "+v)
	}
	return list
}

func TestWhatAContainerGets(t *testing.T) {
	const links = "mount /dev/dri/by-path/pci-0000:3d:00."
	for name, c := range map[string]struct {
		resource string
		ids      []string
		want     []string
	}{
		"one share": {"gpu.intel.com/xe", []string{"card2-1"}, []string{
			"/dev/dri/card2:rw", "/dev/dri/renderD130:rw", links + "1-card", links + "1-render", "allocated.gpu.intel.com/xe: card2-1@0000:3d:00.1",
		}},
		// 4fa7c4cb of the reference: all but one device were lost.
		"two cards": {"gpu.intel.com/xe", []string{"card3-0", "card2-0"}, []string{
			"/dev/dri/card3:rw", "/dev/dri/renderD131:rw", "/dev/dri/card2:rw", "/dev/dri/renderD130:rw",
			links + "2-card", links + "2-render", links + "1-card", links + "1-render",
			"allocated.gpu.intel.com/xe: card3-0@0000:3d:00.2,card2-0@0000:3d:00.1",
		}},
		"two shares of one card": {"gpu.intel.com/i915", []string{"card0-0", "card0-1"}, []string{
			"/dev/dri/card0:rw", "/dev/dri/renderD128:rw", "mount /dev/dri/by-path/pci-0000:00:02.0-card", "mount /dev/dri/by-path/pci-0000:00:02.0-render",
			"allocated.gpu.intel.com/i915: card0-0@0000:00:02.0,card0-1@0000:00:02.0",
		}},
		"an observer": {"gpu.intel.com/monitoring", []string{"all"}, []string{
			"/dev/dri/card0:rw", "/dev/dri/renderD128:rw", "/dev/mei1:rw", "/dev/dri/card1:rw", "/dev/dri/renderD129:rw",
			"/dev/dri/card2:rw", "/dev/dri/renderD130:rw", "/dev/dri/card3:rw", "/dev/dri/renderD131:rw",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			root, o := golden(t, "i915-and-xe")
			f := family(t, root, o)
			inv := scan(t, f)
			if diff := cmp.Diff(c.want, summary(allocate(t, f, inv, c.resource, c.ids...))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a card without address has no record", func(t *testing.T) {
		root, o := golden(t, "fake-devices")
		f := family(t, root, o)
		if diff := cmp.Diff([]string{"/dev/dri/card0:rw", "/dev/dri/renderD128:rw"}, summary(allocate(t, f, scan(t, f), "gpu.intel.com/i915", "card0-0"))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// F5: nodes were given twice, classically and by CDI.
func TestCDIOrNodesNeverBoth_F5(t *testing.T) {
	classic := []string{
		"/dev/dri/card0:rw", "/dev/dri/renderD128:rw", "mount /dev/dri/by-path/pci-0000:00:02.0-card", "mount /dev/dri/by-path/pci-0000:00:02.0-render",
		"allocated.gpu.intel.com/i915: card0-0@0000:00:02.0",
	}
	for mode, c := range map[cdi.Mode]struct{ want, files []string }{
		"":       {classic, nil},
		cdi.Auto: {classic, nil},
		cdi.Off:  {classic, nil},
		cdi.On: {
			[]string{"cdi intel.cdi.k8s.io/gpu=card0", "allocated.gpu.intel.com/i915: card0-0@0000:00:02.0"},
			[]string{"intel.cdi.k8s.io-gpu-card0.yaml", "intel.cdi.k8s.io-gpu-card2.yaml", "intel.cdi.k8s.io-gpu-card3.yaml"},
		},
	} {
		t.Run("mode "+string(mode), func(t *testing.T) {
			root, o := golden(t, "i915-and-xe")
			dir := root.Join("/var/run/cdi")
			o.CDI = mode
			f := family(t, root, o, func(c *Config) { c.CDI = cdi.New(dir, root) })
			inv := scan(t, f)
			if diff := cmp.Diff(c.want, summary(allocate(t, f, inv, "gpu.intel.com/i915", "card0-0"))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := summary(allocate(t, f, inv, "gpu.intel.com/monitoring", "all")); !strings.HasPrefix(got[0], "/dev/dri/card0") {
				t.Errorf("an observer gets %v", got)
			}
			if diff := cmp.Diff(c.files, folder(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// folder lists a folder; one that is not there is empty.
func folder(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestTheCDIFileSaysWhatAllocateWould(t *testing.T) {
	root, o := golden(t, "i915-and-xe")
	dir := root.Join("/var/run/cdi")
	o.CDI = cdi.On
	f := family(t, root, o, func(c *Config) { c.CDI = cdi.New(dir, root) })
	scan(t, f)
	want := `cdiVersion: 0.5.0
containerEdits: {}
devices:
- containerEdits:
    deviceNodes:
    - hostPath: /dev/dri/card0
      path: /dev/dri/card0
      permissions: rw
    - hostPath: /dev/dri/renderD128
      path: /dev/dri/renderD128
      permissions: rw
    mounts:
    - containerPath: /dev/dri/by-path/pci-0000:00:02.0-card
      hostPath: /dev/dri/by-path/pci-0000:00:02.0-card
      options:
      - bind
      - ro
      type: none
    - containerPath: /dev/dri/by-path/pci-0000:00:02.0-render
      hostPath: /dev/dri/by-path/pci-0000:00:02.0-render
      options:
      - bind
      - ro
      type: none
  name: card0
kind: intel.cdi.k8s.io/gpu
`
	got, err := os.ReadFile(filepath.Join(dir, "intel.cdi.k8s.io-gpu-card0.yaml"))
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// What a container cannot get is not offered as healthy, and is looked at again without an event.
func TestACardWhoseCDIFileCannotBeWrittenIsUnhealthy(t *testing.T) {
	root, o := golden(t, "i915-and-xe")
	dir := root.Join("/cdi")
	if err := os.WriteFile(dir, nil, 0o644); err != nil { // no folder
		t.Fatal(err)
	}
	o.CDI = cdi.On
	f := family(t, root, o, func(c *Config) { c.CDI = cdi.New(dir, root) })
	for resource, devices := range scan(t, f) {
		for _, d := range devices {
			if observer := resource == "gpu.intel.com/monitoring"; observer != (d.Health == plugin.Healthy) || !observer && !strings.Contains(d.Reason, "CDI file") {
				t.Errorf("%s %s is %s: %s", resource, d.ID, d.Health, d.Reason)
			}
		}
	}
	if len(f.Watch().Values) > 0 {
		t.Error("the next audits would look at values only")
	}
	os.Remove(dir)
	if d := scan(t, f)["gpu.intel.com/i915"][0]; d.Health != plugin.Healthy {
		t.Errorf("still unhealthy: %s", d.Reason)
	}
}

// Files of pods from before go on being right, without new ones being made.
func TestCDIFilesOfAnEarlierPluginAreKeptRight(t *testing.T) {
	root, o := golden(t, "i915-and-xe")
	dir := root.Join("/var/run/cdi")
	folderOf := cdi.New(dir, root)
	o.CDI = cdi.On
	scan(t, family(t, root, o, func(c *Config) { c.CDI = folderOf }))
	os.Remove(filepath.Join(dir, "intel.cdi.k8s.io-gpu-card2.yaml"))
	o.CDI = cdi.Auto
	scan(t, family(t, root, o, func(c *Config) { c.CDI = folderOf }))
	if diff := cmp.Diff([]string{"intel.cdi.k8s.io-gpu-card0.yaml", "intel.cdi.k8s.io-gpu-card3.yaml"}, folder(t, dir)); diff != "" {
		t.Errorf("auto (-want +got):\n%s", diff)
	}
	o.CDI = cdi.Off
	scan(t, family(t, root, o, func(c *Config) { c.CDI = folderOf }))
	if got := folder(t, dir); len(got) != 0 {
		t.Errorf("off leaves %v", got)
	}
}

// The file of a card that could not be read for one scan was removed; in the mode auto nobody ever made it again, and a
// container that named it could not be started any more.
func TestACardThatIsUnreadableForOneScanKeepsItsCDIFile(t *testing.T) {
	for _, mode := range []cdi.Mode{cdi.Auto, cdi.On} {
		t.Run(string(mode), func(t *testing.T) {
			root, o := empty(t), DefaultOptions()
			plug(t, root, 0, "xe")
			plug(t, root, 1, "xe")
			dir := root.Join("/var/run/cdi")
			of := func(mode cdi.Mode) *Family {
				o.CDI = mode
				return family(t, root, o, func(c *Config) { c.CDI = cdi.New(dir, root) })
			}
			scan(t, of(cdi.On)) // as Intel's plugin leaves them
			file := filepath.Join(dir, "intel.cdi.k8s.io-gpu-card1.yaml")
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f := of(mode)
			scan(t, f)
			for _, step := range []struct {
				name, text string
				family     *Family
			}{
				{"unreadable", "?\n", f},
				{"still so after a restart of the program", "?\n", of(mode)},
				{"well again", "0\n", f},
			} {
				if err := os.WriteFile(root.Join("/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/sriov_numvfs"), []byte(step.text), 0o644); err != nil {
					t.Fatal(err)
				}
				if _, _, err := step.family.Scan(t.Context()); err != nil {
					t.Fatal(err)
				}
				if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
					t.Errorf("%s: %v, %s", step.name, err, after)
				}
			}
			unplug(t, root, 1)
			scan(t, f)
			if diff := cmp.Diff([]string{"intel.cdi.k8s.io-gpu-card0.yaml"}, folder(t, dir)); diff != "" {
				t.Errorf("without the card (-want +got):\n%s", diff)
			}
		})
	}
}

// The CDI folder is empty after a boot. Nothing tells then that a pod's old answer names a file, so none is made; what the
// runtime says is in docs/diagnose.md.
func TestAnOldCDINameEndsWithAReboot(t *testing.T) {
	for _, mode := range []cdi.Mode{cdi.Auto, cdi.On} {
		t.Run(string(mode), func(t *testing.T) {
			root, o := golden(t, "i915-and-xe")
			dir := root.Join("/var/run/cdi")
			start := func() error { // a container of such a pod, as a runtime starts it
				scan(t, family(t, root, o, func(c *Config) { c.CDI = cdi.New(dir, root) }))
				cache, err := runtime.NewCache(runtime.WithSpecDirs(dir), runtime.WithAutoRefresh(false))
				if err != nil {
					t.Fatal(err)
				}
				if cache.GetDevice(cdi.Name(Kind, "card0")) != nil {
					return nil // the node in it is not looked for: it is none of this machine
				}
				_, err = cache.InjectDevices(&oci.Spec{}, cdi.Name(Kind, "card0"))
				return err
			}
			o.CDI = cdi.On
			if err := start(); err != nil {
				t.Fatal(err)
			}
			o.CDI = mode
			if err := start(); err != nil {
				t.Errorf("before the reboot: %v", err)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			switch err := start(); {
			case mode == cdi.On && err != nil:
				t.Errorf("after it: %v", err)
			case mode == cdi.Auto && (err == nil || !strings.Contains(err.Error(), "unresolvable CDI devices intel.cdi.k8s.io/gpu=card0")):
				t.Errorf("after it: %v", err)
			}
		})
	}
}

// windowsGuest is a WSL guest with a Level-Zero service.
func windowsGuest(t *testing.T, flags ...string) (*Family, *healthtest.Server, *hostfs.Root) {
	t.Helper()
	root := familytest.Tree(t, []byte("-- dev/dxg --\nc 10:125\n"))
	service := healthtest.New(t)
	flags = append(flags, "--gpu-wsl", "--gpu-levelzero-socket="+service.Socket, "--gpu-health-period=100ms", "--gpu-health-grace=200ms")
	return family(t, root, parse(t, flags...)), service, root
}

// G6: of several GPUs the mask of the last one won.
func TestMasksOfWindowsGPUsAreJoined_G6(t *testing.T) {
	f, service, _ := windowsGuest(t, "--gpu-shared-dev-num=2")
	service.SetIndices(healthtest.Fault{}, 10, 0, 2)
	service.Start()
	inv := scan(t, f)
	if diff := cmp.Diff([]string{"card0-0", "card0-1", "card2-0", "card2-1", "card10-0", "card10-1"}, names(inv["gpu.intel.com/dxg"])); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	for ids, mask := range map[string]string{
		"card2-1": "2", "card10-0,card2-0": "2,10", "card2-0,card0-1,card2-1": "0,2",
	} {
		want := []string{"/dev/dxg:rw", "mount /usr/lib/wsl", "ZE_AFFINITY_MASK=" + mask}
		if diff := cmp.Diff(want, summary(allocate(t, f, inv, "gpu.intel.com/dxg", strings.Split(ids, ",")...))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", ids, diff)
		}
	}
	if w := f.Watch(); len(w.Values) != 0 || len(w.Subsystems) != 0 {
		t.Errorf("every audit has to ask, but there is %+v", w)
	}
}

func TestWindowsGPUsWhileNobodyTellsOfThem(t *testing.T) {
	f, service, root := windowsGuest(t)
	look := func() (inv plugin.Inventory, skipped []plugin.Skipped, err error) { return f.Scan(t.Context()) }
	if inv, _, err := look(); err == nil || inv != nil {
		t.Errorf("no service: %v, %v", inv, err)
	}
	service.SetIndices(healthtest.Fault{}, 0)
	service.Start()
	scan(t, f)
	service.SetIndices(healthtest.Fault{Code: 3, Description: "not available (0x3)"})
	if inv, _, err := look(); err == nil || inv != nil {
		t.Errorf("what is known does not stay in force: %v, %v", inv, err)
	}
	f.wsl.at = f.wsl.at.Add(-f.o.HealthGrace.duration())
	inv, _, err := look()
	if d := inv["gpu.intel.com/dxg"]; err == nil || len(d) != 1 || d[0].Health != plugin.Unhealthy || !strings.Contains(d[0].Reason, "not available (0x3)") {
		t.Errorf("after the grace: %v, %v", inv, err)
	}
	service.SetIndices(healthtest.Fault{}, 0)
	if d := scan(t, f)["gpu.intel.com/dxg"]; len(d) != 1 || d[0].Health != plugin.Healthy {
		t.Errorf("after an answer: %v", d)
	}
	os.Remove(root.Join("/dev/dxg"))
	if inv, skipped, err := look(); err != nil || len(inv) != 0 || len(skipped) != 1 {
		t.Errorf("no guest of Windows: %v, %v, %v", inv, skipped, err)
	}
}
