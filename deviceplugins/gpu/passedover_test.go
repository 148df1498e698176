package gpu

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// What a scan does not skip and discover names all the same: a card whose virtual functions are offered, and cards that the
// lists of ids leave out.
func TestCardsThatArePassedOverAreToldWithTheReason(t *testing.T) {
	const divided = "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/0000:3c:01.0/0000:3d:00.0"
	for tree, want := range map[string][]plugin.Skipped{
		"i915-and-xe":    {{Path: divided, Reason: "card1 has 2 virtual functions enabled, so they are offered and it is not"}},
		"driver-unknown": nil,
	} {
		root, o := golden(t, tree)
		if diff := cmp.Diff(want, family(t, root, o).PassedOver(t.Context())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tree, diff)
		}
	}
	for tree, flag := range map[string]string{"allow-ids": "gpu-allow-ids", "deny-ids": "gpu-deny-ids"} {
		root, o := golden(t, tree)
		got := family(t, root, o).PassedOver(t.Context())
		if len(got) == 0 || !strings.HasSuffix(got[0].Reason, "is left out by "+flag) {
			t.Errorf("%s: %v", tree, got)
		}
	}
}

// The driver's name becomes a resource's.
func TestADriverThatCannotBeInAResourceNameCostsItsCardOnly(t *testing.T) {
	for driver, want := range map[string]bool{
		"xe": true, "i915": true, "xe-next_2.1": true, "Xe": true, "": false, "-xe": false, "xe.": false, "a b": false, "x\x1b[2J": false,
		strings.Repeat("a", 53): false, strings.Repeat("a", 52): true,
	} {
		if got := isDriver(driver); got != want {
			t.Errorf("%q: %v", driver, got)
		}
	}
	root := familytest.Tree(t, []byte(`-- sys/class/drm/card0/device/vendor --
0x8086
-- sys/class/drm/card0/device/driver --
-> ../../../../bus/pci/drivers/a b
-- sys/class/drm/card0/device/drm/card0/dev --
226:0
-- dev/dri/card0 --
c 226:0
-- sys/class/drm/card1/device/vendor --
0x8086
-- sys/class/drm/card1/device/driver --
-> /sys/bus/pci/drivers/xe
-- sys/class/drm/card1/device/drm/card1/dev --
226:1
-- dev/dri/card1 --
c 226:1
`))
	inv, skipped, err := family(t, root, DefaultOptions()).Scan(t.Context())
	if err != nil || len(inv) != 1 || len(inv["gpu.intel.com/xe"]) != 1 {
		t.Errorf("%v, %v", inv, err)
	}
	want := []plugin.Skipped{{Path: "/sys/class/drm/card0", Reason: `its driver "a b" cannot be in a resource's name`}}
	if diff := cmp.Diff(want, skipped); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
