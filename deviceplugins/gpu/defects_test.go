package gpu

import (
	"slices"
	"testing"
)

// G3: an id that is a part of the option's text counted as listed, and an empty one too.
func TestAnIdIsComparedWhole_G3(t *testing.T) {
	for _, name := range []string{"allow-ids", "deny-ids"} {
		root, o := golden(t, name)
		found, err := Discover(root, o)
		if err != nil {
			t.Fatal(err)
		}
		ids, err := parseIDs(o.AllowIDs + o.DenyIDs)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range found.Cards {
			id, _ := root.ReadAttr(c.SysPath + "/device")
			if listed := slices.Contains(ids, id); listed != (o.AllowIDs != "") {
				t.Errorf("%s: %s with id %q is offered", name, c.Name, id)
			}
		}
		if len(found.Cards) == 0 {
			t.Errorf("%s: nothing is offered", name)
		}
	}
}

// G5: a physical function with virtual ones was hidden from the observer too.
func TestTheObserverSeesAPhysicalFunctionWithVirtualOnes_G5(t *testing.T) {
	root, o := golden(t, "i915-and-xe")
	inv := scan(t, family(t, root, o))
	var seen []string
	for _, n := range inv["gpu.intel.com/monitoring"][0].Grant.Nodes {
		seen = append(seen, n.HostPath)
	}
	if !slices.Contains(seen, "/dev/dri/card1") {
		t.Errorf("the observer sees %v", seen)
	}
	for _, d := range inv["gpu.intel.com/xe"] {
		for _, n := range d.Grant.Nodes {
			if n.HostPath == "/dev/dri/card1" {
				t.Errorf("%s is the physical function", d.ID)
			}
		}
	}
}
