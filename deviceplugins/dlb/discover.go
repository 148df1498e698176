package dlb

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/topology"
)

const (
	// ResourcePF are whole cards without VFs.
	ResourcePF = "dlb.intel.com/pf"
	// ResourceVF are virtual functions.
	ResourceVF = "dlb.intel.com/vf"

	class  = "/sys/class/dlb2"
	driver = "dlb2"
	pfID   = "0x2710"
	vfID   = "0x2711"
)

// Inventory is what Discover finds.
type Inventory struct {
	Devices []Device         // by number
	Skipped []plugin.Skipped // folders that could not be read
}

// Device is a node that the driver has made.
type Device struct {
	Name string // "dlb0"
	// Resource is ResourcePF or ResourceVF, empty for a card that has VFs.
	Resource string
	// VFs are how many a card has.
	VFs     int
	NUMA    []int // nil where it cannot be told
	NUMAErr error // why not
	// Sick is what keeps it from being given out, with its path; zero while it is well.
	Sick plugin.Skipped
}

// Node is the path of a device's node, and its id.
func (d Device) Node() string { return "/dev/" + d.Name }

// Discover looks at the host tree. It writes nothing.
func Discover(root *hostfs.Root) Inventory {
	var inv Inventory
	for _, name := range inv.names(root) {
		inv.Devices = append(inv.Devices, look(root, name))
	}
	return inv
}

func look(root *hostfs.Root, name string) Device {
	d := Device{Name: name}
	dir := class + "/" + name
	if err := vfio.CheckNode(root, d.Node(), dir+"/dev"); hostfs.Absent(err) {
		d.Sick = plugin.Skipped{Path: dir, Reason: "its node " + d.Node() + " is missing"}
		return d
	} else if err != nil {
		d.Sick = unreadable(d.Node(), err)
		return d
	}
	file := dir + "/device/sriov_numvfs"
	text, err := root.ReadAttr(file)
	if err == nil {
		if d.VFs, err = strconv.Atoi(text); err != nil || strconv.Itoa(max(d.VFs, 0)) != text {
			err = fmt.Errorf("%.40q is no number of VFs", text)
		}
	}
	switch {
	case err == nil && d.VFs == 0:
		d.Resource = ResourcePF
	case err == nil: // its VFs are devices of their own
	case hostfs.Absent(err):
		d.Resource = ResourceVF
	default:
		d.Sick = unreadable(file, err)
		return d
	}
	if d.NUMA, d.NUMAErr = topology.Of(root, dir, d.Node()); d.NUMAErr != nil {
		d.NUMA = nil
	}
	return d
}

// names are the devices that have a node or are known to the driver, by number.
func (inv *Inventory) names(root *hostfs.Root) []string {
	var names []string
	for _, folder := range []string{"/dev", class} {
		found, err := root.ReadDir(folder)
		if err != nil && !hostfs.Absent(err) {
			inv.Skipped = append(inv.Skipped, unreadable(folder, err))
		}
		for _, name := range found {
			if isDevice(name) {
				names = append(names, name)
			}
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
	return slices.Compact(names)
}

func isDevice(name string) bool {
	digits, ok := strings.CutPrefix(name, "dlb")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// unreadable says what cannot be read and why. The error's own path is as this process sees it, so it is left out.
func unreadable(path string, err error) plugin.Skipped {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return plugin.Skipped{Path: path, Reason: err.Error()}
}
