package devices_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
	"github.com/inlay-project/inlay/nri-plugin/devices"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

// rebooted is a host of which the numbers are others than at the allocation: VF .1 is in group 319, VF .2 in 318, the GPU
// that was card0 is card1.
const rebooted = `-- sys/bus/pci/devices/0000:6b:00.1 --
-> ../../../devices/pci0000:6b/0000:6b:00.1
-- sys/devices/pci0000:6b/0000:6b:00.1/iommu_group --
-> ../../../kernel/iommu_groups/319
-- sys/bus/pci/devices/0000:6b:00.2 --
-> ../../../devices/pci0000:6b/0000:6b:00.2
-- sys/devices/pci0000:6b/0000:6b:00.2/iommu_group --
-> ../../../kernel/iommu_groups/318
-- sys/class/vfio/318/dev --
239:0
-- sys/class/vfio/319/dev --
239:1
-- sys/bus/pci/devices/0000:00:02.0 --
-> ../../../devices/pci0000:00/0000:00:02.0
-- sys/class/drm/card1 --
-> ../../devices/pci0000:00/0000:00:02.0/drm/card1
-- sys/devices/pci0000:00/0000:00:02.0/drm/card1/device --
-> ../../../0000:00:02.0
-- sys/bus/pci/devices/0000:3d:00.1 --
-> ../../../devices/pci0000:3d/0000:3d:00.1
-- sys/class/drm/card0 --
-> ../../devices/pci0000:3d/0000:3d:00.1/drm/card0
-- sys/devices/pci0000:3d/0000:3d:00.1/drm/card0/device --
-> ../../../0000:3d:00.1
`

// refuse has a container with these nodes created on a host of this tree and gives the refusal, and what was logged.
func refuse(t *testing.T, tree string, annotations map[string]string, given string) ([]*logrus.Entry, error) {
	t.Helper()
	dir := t.TempDir()
	if err := hostfstest.Extract(dir, []byte(tree), hostfstest.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	log, logged := logrustest.NewNullLogger()
	spec := &rspec.Spec{Version: rspec.Version, Process: &rspec.Process{}, Linux: &rspec.Linux{}}
	for _, node := range strings.Fields(given) {
		spec.Linux.Devices = append(spec.Linux.Devices, rspec.LinuxDevice{Path: node, Type: "c", Major: 239, Minor: 7})
	}
	pod := &api.PodSandbox{Id: "p", Name: "p", Namespace: "default"}
	adjuster := devices.New(devices.Config{Root: root, RunDir: dir + "/run/inlay", Log: log})
	_, err = adjuster.Adjust(t.Context(), pod, enginetest.ContainerFromSpec(pod, "c", "c", spec, annotations))
	return logged.AllEntries(), err
}

func TestADeviceThatIsAnotherOneNowIsRefused_S451(t *testing.T) {
	const anew = "; delete the pod, so that a device is allocated anew"
	qat := records("qat.intel.com/cy", "0000:6b:00.1@0000:6b:00.1")
	both := records("qat.intel.com/cy", "0000:6b:00.1@0000:6b:00.1", "qat.intel.com/dc", "0000:6b:00.2@0000:6b:00.2")
	cdevs := rebooted + "-- sys/devices/pci0000:6b/0000:6b:00.1/vfio-dev/vfio4/dev --\n511:4\n"
	noCdevs := rebooted + "-- sys/devices/pci0000:6b/0000:6b:00.1/vfio-dev/vfio4/power/ --\n" // as a kernel without IOMMUFD has it
	noGroups := strings.NewReplacer("-- sys/class/vfio/318/dev --\n239:0\n", "", "-- sys/class/vfio/319/dev --\n239:1\n", "").Replace(cdevs)
	noIOMMU := strings.ReplaceAll(rebooted, "class/vfio/3", "class/vfio/noiommu-3")
	noGroup := strings.Replace(rebooted, "-- sys/devices/pci0000:6b/0000:6b:00.1/iommu_group --\n-> ../../../kernel/iommu_groups/319\n",
		"-- sys/devices/pci0000:6b/0000:6b:00.1/uio/uio3/name --\nigb_uio\n", 1)
	bare := strings.Replace(noGroup, "uio/uio3/name", "vendor", 1)
	for _, tt := range []struct {
		name, tree  string
		annotations map[string]string
		given       string
		want        string // empty: created
	}{
		{"the group is the same", rebooted, qat, "/dev/vfio/319 /dev/vfio/vfio", ""},
		{
			"the group is another's now", rebooted, qat, "/dev/vfio/318 /dev/vfio/vfio",
			"allocated device 0000:6b:00.1: its node is /dev/vfio/319 now, and the container would get /dev/vfio/318" + anew,
		},
		{"two that have changed places", rebooted, both, "/dev/vfio/318 /dev/vfio/319 /dev/vfio/vfio", ""},
		{"one of two", rebooted, both, "/dev/vfio/319 /dev/vfio/317 /dev/vfio/vfio", "allocated device 0000:6b:00.2: its node is /dev/vfio/318 now"},
		{"a node of somebody else's in addition", cdevs, qat, "/dev/vfio/7 /dev/vfio/319 /dev/vfio/devices/vfio1 /dev/vfio/devices/vfio4 /dev/uio0", ""},
		{
			"the device is gone", rebooted, records("qat.intel.com/cy", "0000:6b:00.7@0000:6b:00.7"), "/dev/vfio/318",
			"allocated device 0000:6b:00.7: it is not there now" + anew,
		},
		{
			"whole functions of DSA and IAA", rebooted,
			records("dsa.intel.com/vfio", "0000:6b:00.1@0000:6b:00.1", "iaa.intel.com/vfio", "0000:6b:00.2@0000:6b:00.2"),
			"/dev/vfio/319 /dev/vfio/320", "allocated device 0000:6b:00.2: its node is /dev/vfio/318 now",
		},
		{"without IOMMU", noIOMMU, qat, "/dev/vfio/noiommu-319 /dev/vfio/vfio", ""},
		{"without IOMMU, another's", noIOMMU, qat, "/dev/vfio/noiommu-318", "its node is /dev/vfio/noiommu-319 now, and the container would get /dev/vfio/noiommu-318"},
		{"the IOMMU is off now", bare, qat, "/dev/vfio/319", "it is in no IOMMU group now, and the container would get /dev/vfio/319"},
		{"IOMMUFD", cdevs, qat, "/dev/vfio/319 /dev/vfio/devices/vfio4 /dev/iommu /dev/vfio/vfio", ""},
		{"IOMMUFD came with the new kernel", cdevs, qat, "/dev/vfio/319 /dev/vfio/vfio", ""},
		{"IOMMUFD, another's node", cdevs, qat, "/dev/vfio/319 /dev/vfio/devices/vfio3", "its node is /dev/vfio/319, /dev/vfio/devices/vfio4 now"},
		{"IOMMUFD, another's group", cdevs, qat, "/dev/vfio/318 /dev/vfio/devices/vfio4", "and the container would get /dev/vfio/318, /dev/vfio/devices/vfio4"},
		{"the kernel has IOMMUFD's folder and no nodes", noCdevs, qat, "/dev/vfio/319", ""},
		{"a kernel without groups", noGroups, qat, "/dev/vfio/devices/vfio4 /dev/iommu", ""},
		{"a kernel without groups, another's", noGroups, qat, "/dev/vfio/devices/vfio5", "/dev/vfio/devices/vfio5" + anew},
		{"UIO", noGroup, qat, "/dev/uio3", ""},
		{"UIO, another's", noGroup, qat, "/dev/uio4", "its node is /dev/uio3 now, and the container would get /dev/uio4" + anew},
		{"nodes that the request does not show", rebooted, qat, "", ""},
		{"a queue has no such node", rebooted, records("dsa.intel.com/wq-user-shared", "wq-user-shared-wq0.1-0@0000:6a:02.0"), "/dev/vfio/1", ""},
		{"the card is the same", rebooted, records("gpu.intel.com/i915", "card1-0@0000:00:02.0,card1-1@0000:00:02.0"), "", ""},
		{
			"the card is another now", rebooted, records("gpu.intel.com/i915", "card0-1@0000:00:02.0"), "/dev/dri/card0",
			"allocated device card0: it is at 0000:3d:00.1 now, it was allocated at 0000:00:02.0" + anew,
		},
		{"the card is gone", rebooted, records("gpu.intel.com/xe", "card0-0@0000:4d:00.0"), "", "allocated device card0: it is not there now" + anew},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logged, err := refuse(t, tt.tree, tt.annotations, tt.given)
			if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(got, tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if len(logged) > 0 {
				t.Errorf("logged: %v, %v", logged[0].Message, logged[0].Data)
			}
		})
	}
}

func TestWhatCannotBeSeenIsHeldAgainstNoDevice(t *testing.T) {
	qat := records("qat.intel.com/cy", "0000:6b:00.1@0000:6b:00.1")
	for name, tt := range map[string]struct {
		tree        string
		annotations map[string]string
		refused     bool
		why         string
	}{
		"no sysfs":                  {"-- dev/vfio/318 --\nc 239:0\n", qat, false, "/sys/bus/pci/devices is not there"},
		"/sys/devices is not there": {"-- sys/bus/pci/devices/0000:6b:00.1 --\n-> ../../../devices/x\n", qat, false, "0000:6b:00.1: "},
		"a device and its nodes are gone": {
			rebooted, records("qat.intel.com/cy", "0000:6b:00.7@0000:6b:00.7"), false, "0000:6b:00.7: it is not there now",
		},
		"a card and its node are gone": {rebooted, records("gpu.intel.com/xe", "card2-0@0000:4d:00.0"), false, "card2: it is not there now"},
		"a group that is no link": {
			strings.Replace(rebooted, "-> ../../../kernel/iommu_groups/319", "319", 1), qat, false, "iommu_group is not a link",
		},
		"a card without class": {
			strings.ReplaceAll(rebooted, "sys/class/drm", "sys/class/none"), records("gpu.intel.com/xe", "card0-0@0000:00:02.0"), false, "card0: ",
		},
		"one of two": {
			strings.Replace(rebooted, "-> ../../../kernel/iommu_groups/319", "319", 1),
			records("qat.intel.com/cy", "0000:6b:00.1@0000:6b:00.1", "qat.intel.com/dc", "0000:6b:00.2@0000:6b:00.2"), true, "is not a link",
		},
	} {
		t.Run(name, func(t *testing.T) {
			logged, err := refuse(t, tt.tree, tt.annotations, "/dev/vfio/320 /dev/vfio/vfio")
			if (err != nil) != tt.refused {
				t.Errorf("refused: %v", err)
			}
			if len(logged) != 1 || logged[0].Level != logrus.WarnLevel || !strings.Contains(fmt.Sprint(logged[0].Data[logrus.ErrorKey]), tt.why) {
				t.Errorf("logged %v, want one warning: %q", logged, tt.why)
			}
		})
	}
}
