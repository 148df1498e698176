package gpu

import (
	"os"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// A card that is sick stays in the list, unhealthy, for as long as it is there; one that is gone leaves it.
func TestACardThatCannotBeReadAnyMoreIsUnhealthy(t *testing.T) {
	root := empty(t)
	plug(t, root, 0, "xe")
	plug(t, root, 1, "xe")
	f := family(t, root, parse(t, "--gpu-shared-dev-num=2"))
	scan(t, f)
	node := root.Join("/dev/dri/renderD129")
	file := root.Join("/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/sriov_numvfs")
	check := func(reason string) {
		t.Helper()
		inv, skipped, err := f.Scan(t.Context())
		devices := inv["gpu.intel.com/xe"]
		if err != nil || len(skipped) > 0 || len(devices) != 4 {
			t.Fatalf("%v, %v, left out: %v", devices, err, skipped)
		}
		for _, d := range devices {
			want := reason
			if cardOf(d.ID) == "card0" {
				want = ""
			}
			if (d.Health == plugin.Healthy) != (want == "") || !strings.Contains(d.Reason, want) || len(d.Grant.Nodes) != 2 {
				t.Errorf("%s is %s: %s; want %q", d.ID, d.Health, d.Reason, want)
			}
		}
		if sick := reason != ""; sick != (len(f.Watch().Values) == 0) {
			t.Error("a sick card is looked at again by values only, or a good one all the time")
		}
	}
	if err := os.WriteFile(file, []byte("?\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	check("sriov_numvfs is")
	check("sriov_numvfs is") // it is not forgotten
	if err := os.WriteFile(file, []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	check("")
	if err := os.Remove(node); err == nil {
		err = os.Mkdir(node, 0o755)
		check("is not a character device")
		if err != nil {
			t.Fatal(err)
		}
	}
	unplug(t, root, 1)
	if devices := scan(t, f)["gpu.intel.com/xe"]; len(devices) != 2 {
		t.Errorf("a card that is gone is still there: %v", devices)
	}
	// Another card of the same name, which was never offered.
	plug(t, root, 1, "xe")
	if err := os.WriteFile(file, []byte("?\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if inv, skipped, _ := f.Scan(t.Context()); len(skipped) != 1 || len(inv["gpu.intel.com/xe"]) != 2 {
		t.Errorf("%v, left out: %v", inv, skipped)
	}
}

// The kernel gives the name of a card that is gone to the next one.
func TestAnotherCardOfTheSameNameIsNotTheOldOneSick(t *testing.T) {
	root := empty(t)
	plug(t, root, 0, "xe")
	plug(t, root, 1, "xe")
	f := family(t, root, DefaultOptions())
	scan(t, f)
	if err := os.WriteFile(root.Join("/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/sriov_numvfs"), []byte("?\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := root.Join("/sys/class/drm/card0")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("card1", link); err != nil {
		t.Fatal(err)
	}
	inv, skipped, err := f.Scan(t.Context())
	if got := names(inv["gpu.intel.com/xe"]); err != nil || len(got) != 1 || got[0] != "card1-0" || len(skipped) != 1 {
		t.Errorf("%v, left out: %v, %v", got, skipped, err)
	}
}
