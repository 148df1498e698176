package main

import (
	"strings"
	"testing"
	"unicode"

	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// Names and values of the host tree that would work on a terminal, in what is offered and in what is not.
const nasty = `-- sys/class/dlb2/dlb0/device/sriov_numvfs --
1
-- dev/dlb0 --
c 240:0
-- sys/class/dlb2/dlb1/device/sriov_numvfs/ --
-- dev/dlb1 --
c 240:1
-- sys/bus/pci/drivers/vfio-pci/bind --
-- sys/bus/pci/devices/0000:6a:01.0 --
-> ../../../devices/pci0000:6a/0000:6a:01.0
-- sys/devices/pci0000:6a/0000:6a:01.0/vendor --
0x8086
-- sys/devices/pci0000:6a/0000:6a:01.0/device --
0x0b25
-- sys/devices/pci0000:6a/0000:6a:01.0/driver --
-> ../../../bus/pci/drivers/vfio-pci
-- sys/devices/pci0000:6a/0000:6a:01.0/iommu_group --
-> ../../../kernel/iommu_groups/1` + "\x1b[2J" + `
-- sys/bus/pci/devices/0000:6b:01.0 --
-> ../../../devices/pci0000:6b/0000:6b:01.0
-- sys/devices/pci0000:6b/0000:6b:01.0/vendor --
0x8086
-- sys/devices/pci0000:6b/0000:6b:01.0/device --
0x0b25
-- sys/devices/pci0000:6b/0000:6b:01.0/driver --
-> ../../../bus/pci/drivers/odd` + "\x1b[31m" + `
`

func TestNothingOfTheHostTreeReachesTheTerminalRaw(t *testing.T) {
	dir := t.TempDir()
	if err := hostfstest.Extract(dir, []byte(nasty), hostfstest.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"discover"}, {"discover", "-o", "json"}, {"doctor"}, {"doctor", "-o", "json"}} {
		r := run(t, append(command, "--host-root", dir, "--dsa-driver", "vfio-pci"))
		if r.code != 0 {
			t.Errorf("%v: exit %d, %s", command, r.code, r.stderr)
		}
		text := r.stdout + r.stderr
		if at := strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }); at >= 0 {
			t.Errorf("%v: %q", command, text)
		}
		if !strings.Contains(text, "0000:6a:01.0") || !strings.Contains(text, "0000:6b:01.0") {
			t.Errorf("%v does not name what is left out:\n%s", command, text)
		}
	}
}

func TestDiscoverNamesWhatIsLeftOutOnPurpose(t *testing.T) {
	dir := t.TempDir()
	if err := hostfstest.Extract(dir, []byte(nasty), hostfstest.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	r := run(t, []string{"discover", "--host-root", dir, "--families", "dlb"})
	if r.code != 0 || !strings.Contains(r.stderr, "left out: /sys/class/dlb2/dlb0: the card has 1 VFs, so they are offered and it is not\n") {
		t.Errorf("exit %d, %s", r.code, r.stderr)
	}
}

// A folder of one family that cannot be read is that family's trouble.
func TestAFamilyThatCannotLookTakesNoOtherWithIt(t *testing.T) {
	dir := t.TempDir()
	const looped = "-- sys/class/drm --\n-> drm\n-- sys/class/accel --\n-> accel\n-- dev/dlb5 --\nc 240:5\n"
	if err := hostfstest.Extract(dir, []byte(looped), hostfstest.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	r := run(t, []string{"discover", "-o", "json", "--host-root", dir})
	if r.code != 0 || !strings.Contains(r.stdout, `"/dev/dlb5"`) {
		t.Errorf("exit %d, %s", r.code, r.stdout)
	}
	for _, family := range []string{"gpu", "npu"} {
		if !strings.Contains(r.stderr, "left out: family "+family+": ") {
			t.Errorf("%s is not among what is left out: %s", family, r.stderr)
		}
	}
}
