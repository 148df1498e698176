package npu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/topology"
)

const (
	classDir = "/sys/class/accel"
	nodeDir  = "/dev/accel"
	intel    = "0x8086"
)

// known names the processor families by the PCI device ids of their units, as the reference and its label rules have them.
func known(id string) (family string, ok bool) {
	switch id {
	case "0x7e4c":
		return "Core Ultra 1", true
	case "0x643e":
		return "Core Ultra 200V", true
	case "0xad1d":
		return "Core Ultra 2", true
	case "0x7d1d":
		return "Core Ultra 2 H", true
	case "0xb03e":
		return "Core Ultra 3", true
	case "0xfd3e":
		return "Wildcat Lake", true
	case "0xd71d":
		return "Nova Lake", true
	}
	return "", false
}

// Unit is one NPU, as the host shows it.
type Unit struct {
	Name     string // "accel0"
	DeviceID string // "0x7d1d"
	Dir      string // real folder of the accelerator device
	SysPath  string // real folder of its PCI device
	Node     string // host path: /dev/accel/accel0
	NUMA     []int  // nil where it cannot be read
	NUMAErr  error  // why
	Sick     string // why it cannot be given out, although it once could; Discover finds no such unit
}

// Inventory is what Discover found.
type Inventory struct {
	Units   []Unit           // by number
	Unknown []Unit           // Intel's accelerators of other device ids, which are not offered
	Skipped []plugin.Skipped // what is there and cannot be offered
}

// Discover finds the units in a host tree. No accelerator class is no unit and no error; a class folder that cannot be
// read is an error. A unit that cannot be read is skipped with the reason.
func Discover(root *hostfs.Root) (Inventory, error) {
	inv := Inventory{}
	names, err := root.ReadDir(classDir)
	if err != nil {
		if hostfs.Absent(err) {
			return inv, nil
		}
		return inv, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return number(name) < 0 })
	slices.SortFunc(names, func(a, b string) int { return number(a) - number(b) })
	for _, name := range names {
		unit, ours, err := readUnit(root, name)
		_, offered := known(unit.DeviceID)
		switch {
		case err != nil:
			inv.Skipped = append(inv.Skipped, plugin.Skipped{Path: classDir + "/" + name, Reason: err.Error()})
		case ours && offered:
			inv.Units = append(inv.Units, unit)
		case ours:
			inv.Unknown = append(inv.Unknown, unit)
		}
	}
	return inv, nil
}

// number is that of a class entry "accel<N>", -1 for anything else.
func number(name string) int {
	digits, ok := strings.CutPrefix(name, "accel")
	if !ok || strings.Trim(digits, "0123456789") != "" {
		return -1
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return -1
	}
	return n
}

// readUnit reads one entry of the class; ours tells whether it is Intel's at all.
func readUnit(root *hostfs.Root, name string) (u Unit, ours bool, err error) {
	dir := classDir + "/" + name
	vendor, err := root.ReadAttr(dir + "/device/vendor")
	switch {
	case hostfs.Absent(err):
		return u, false, nil
	case err != nil:
		return u, false, err
	case vendor != intel:
		return u, false, nil
	}
	u = Unit{Name: name, Node: nodeDir + "/" + name}
	id, err := root.ReadAttr(dir + "/device/device")
	if err != nil {
		return u, true, err
	}
	u.DeviceID, _, _ = strings.Cut(id, "\n")
	if u.SysPath, err = root.Resolve(dir + "/device"); err != nil {
		return u, true, err
	}
	if u.Dir, err = root.Resolve(dir); err != nil {
		return u, true, err
	}
	if _, ok := known(u.DeviceID); !ok {
		return u, true, nil
	}
	if err := checkNode(root, u.Node, dir+"/dev"); err != nil {
		return u, true, err
	}
	u.NUMA, u.NUMAErr = topology.Of(root, u.SysPath, u.Node)
	return u, true, nil
}

// checkNode wants a unit's node, with the number that sysfs gives it. Where sysfs says nothing (fake devices), whatever is
// there stands for the node.
func checkNode(root *hostfs.Root, node, devFile string) error {
	text, err := root.ReadAttr(devFile)
	if hostfs.Absent(err) {
		_, err = root.Resolve(node)
		return nodeError(node, err)
	}
	if err != nil {
		return err
	}
	dev, err := hostfs.ParseDev(text)
	if err != nil {
		return err
	}
	return nodeError(node, root.CheckNode(node, dev))
}

func nodeError(node string, err error) error {
	if err != nil && hostfs.Absent(err) {
		return fmt.Errorf("there is no node %s", node)
	}
	return err
}
