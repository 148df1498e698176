package vfio

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/pciaddr"
)

const (
	// Devices is the folder with a link for every PCI function of the host.
	Devices = "/sys/bus/pci/devices"
	// Drivers is the folder with a folder for every PCI driver that is loaded.
	Drivers = "/sys/bus/pci/drivers"
	// DriverPCI is VFIO's driver for any PCI function.
	DriverPCI = "vfio-pci"
	// Subsystem is the kernel's name of what makes the nodes of groups.
	Subsystem = "vfio"
	// Intel is the vendor id as sysfs writes it.
	Intel = "0x8086"

	groups    = "/sys/kernel/iommu_groups"
	container = "/dev/vfio/vfio"
	iommufd   = "/dev/iommu"
)

// Device is what the host says of one PCI function.
type Device struct {
	// Address is domain:bus:device.function, "0000:6b:00.1".
	Address string
	// SysPath is the function's real folder on the host.
	SysPath string
	// ID is the PCI device id as sysfs writes it, "0x4941"; empty where it cannot be read.
	ID string
	// Driver is the name of its driver, empty without one.
	Driver string
	// Group is the name of its node below /dev/vfio, "318" or "noiommu-3"; empty where it is in no IOMMU group.
	Group string
	// Cdev is the name of its own node below /dev/vfio/devices, "vfio3"; empty where the kernel has none.
	Cdev string
	// Blockers are functions of its group that keep the kernel from giving the group to user space, with their drivers:
	// "0000:6b:00.0 (4xxx)".
	Blockers []string
	// Beside are further functions of its group that user space gets with it.
	Beside []string
}

// Obstacle is an error with the command that would help.
type Obstacle struct { //nolint:errname // named for what a person reads, as findings are; it travels as an error too
	Reason string
	Remedy string // empty where nothing can be done on the host
}

func (o *Obstacle) Error() string { return o.Reason }

// Finding makes an error a finding about a path. An Obstacle brings its remedy; of other errors it is plugin.Remedy's.
func Finding(path string, err error, subsystem string) plugin.Finding {
	f := plugin.Finding{Path: path, Reason: err.Error()}
	var o *Obstacle
	if errors.As(err, &o) {
		f.Remedy = o.Remedy
	} else {
		f.Remedy = plugin.Remedy(f.Reason, subsystem)
	}
	return f
}

// IsDriver tells whether a driver hands functions to user space through VFIO: vfio-pci, or one made for a kind of device
// on top of it (qat_vfio_pci).
func IsDriver(name string) bool {
	return name == DriverPCI || strings.HasSuffix(name, "_vfio_pci") || strings.HasSuffix(name, "-vfio-pci")
}

// Look reads what the host says of a function. That it has no driver or no group is no error.
func Look(root *hostfs.Root, address string) (Device, error) {
	d := Device{Address: address}
	if !pciaddr.Valid(address) {
		return d, fmt.Errorf("%.40q is not a PCI address", address)
	}
	dir, err := root.Resolve(Devices + "/" + address)
	if err != nil {
		return d, err
	}
	d.SysPath = dir
	if d.ID, err = root.ReadAttr(dir + "/device"); err != nil && !hostfs.Absent(err) {
		return d, err
	}
	if d.Driver, err = LinkBase(root, dir+"/driver"); err != nil {
		return d, err
	}
	group, err := LinkBase(root, dir+"/iommu_group")
	if err != nil {
		return d, err
	}
	if d.Group = group; group != "" {
		name, err := root.ReadAttr(dir + "/iommu_group/name")
		if err != nil && !hostfs.Absent(err) {
			return d, err
		}
		if name == "vfio-noiommu" {
			d.Group = "noiommu-" + group
		} else {
			d.neighbours(root, group)
		}
	}
	d.Cdev = cdev(root, dir)
	return d, nil
}

// neighbours sorts the group's other functions into those that block it and those that come with it.
func (d *Device) neighbours(root *hostfs.Root, group string) {
	folder := groups + "/" + group + "/devices"
	names, err := root.ReadDir(folder)
	if err != nil {
		return // a group always has the folder; what cannot be seen is not held against the device
	}
	for _, name := range names {
		if name == d.Address {
			continue
		}
		switch driver, err := LinkBase(root, folder+"/"+name+"/driver"); {
		case err != nil || driver == "" || driver == "pcieport" || driver == "pci-stub":
		case IsDriver(driver):
			d.Beside = append(d.Beside, name)
		default:
			d.Blockers = append(d.Blockers, name+" ("+driver+")")
		}
	}
}

// cdev is the name of the function's own character device. The folder is there since Linux 6.1, the device only in kernels
// built with it.
func cdev(root *hostfs.Root, dir string) string {
	names, err := root.ReadDir(dir + "/vfio-dev")
	if err != nil {
		return ""
	}
	for _, name := range names {
		if root.Exists(dir + "/vfio-dev/" + name + "/dev") {
			return name
		}
	}
	return ""
}

// IsPF tells whether a function is a PF that has, or could have, VFs.
func (d Device) IsPF(root *hostfs.Root) bool {
	return root.Exists(d.SysPath + "/sriov_totalvfs")
}

// Nodes gives the nodes that a container gets with a function that a VFIO driver has. An error (an Obstacle) says why
// there are none.
func (d Device) Nodes(root *hostfs.Root) ([]plugin.Node, error) {
	if len(d.Blockers) > 0 {
		return nil, &Obstacle{
			Reason: fmt.Sprintf("its IOMMU group %s also holds %s: the kernel does not give the group to user space",
				d.Group, strings.Join(d.Blockers, ", ")),
			Remedy: "bind those to vfio-pci too, or put the card into a slot that isolates its functions (ACS)",
		}
	}
	own := d.ownNodes(root)
	if d.Group == "" {
		if own != nil {
			return own, nil
		}
		return nil, NoGroup()
	}
	node := "/dev/vfio/" + d.Group
	if err := CheckNode(root, node, "/sys/class/vfio/"+d.Group+"/dev"); err != nil {
		if own != nil && hostfs.Absent(err) {
			return own, nil // a kernel without groups
		}
		if hostfs.Absent(err) && d.noVFIO(root) {
			return []plugin.Node{same(node), same(container)}, nil
		}
		return nil, nodeObstacle(node, err)
	}
	if err := d.checkContainer(root); err != nil {
		if own != nil && hostfs.Absent(err) {
			return own, nil // a kernel without VFIO's containers
		}
		return nil, nodeObstacle(container, err)
	}
	return append([]plugin.Node{same(node), same(container)}, own...), nil
}

// noVFIO tells whether neither /dev nor sysfs shows anything of VFIO. No kernel leaves it so while one of its drivers has a
// function: it is a tree made for tests, as those of the reference are, and the group says what the nodes are called.
func (d Device) noVFIO(root *hostfs.Root) bool {
	name := strings.Trim(d.Group, "abcdefghijklmnopqrstuvwxyz0123456789-")
	return name == "" && !slices.ContainsFunc(
		[]string{"/dev/vfio", "/sys/class/vfio", "/sys/class/misc/vfio", d.SysPath + "/iommu_group/devices"}, root.Exists)
}

// checkContainer wants the node that a group is opened through. A tree in which sysfs shows neither it nor the group is
// not a kernel's: spec section 23, D, has none.
func (d Device) checkContainer(root *hostfs.Root) error {
	const misc = "/sys/class/misc/vfio"
	err := CheckNode(root, container, misc+"/dev")
	if hostfs.Absent(err) && !root.Exists(misc) && !root.Exists(d.SysPath+"/iommu_group/devices") {
		return nil
	}
	return err
}

// Promise gives the nodes that a function will have when a VFIO driver has it, as far as that can be told before: for a
// look that binds nothing. Without an IOMMU group it cannot be told.
func (d Device) Promise(root *hostfs.Root) ([]plugin.Node, error) {
	if nodes, err := d.Nodes(root); err == nil {
		return nodes, nil
	} else if len(d.Blockers) > 0 || d.Group == "" {
		return nil, err
	}
	return []plugin.Node{same("/dev/vfio/" + d.Group), same(container)}, nil
}

// ownNodes are those of IOMMUFD: both or none.
func (d Device) ownNodes(root *hostfs.Root) []plugin.Node {
	if d.Cdev == "" {
		return nil
	}
	node := "/dev/vfio/devices/" + d.Cdev
	if CheckNode(root, node, d.SysPath+"/vfio-dev/"+d.Cdev+"/dev") != nil ||
		CheckNode(root, iommufd, "/sys/class/misc/iommu/dev") != nil {
		return nil
	}
	return []plugin.Node{same(node), same(iommufd)}
}

// NoGroup is why a function without IOMMU group cannot be given out.
func NoGroup() *Obstacle {
	return &Obstacle{
		Reason: "it is in no IOMMU group: the IOMMU is off",
		Remedy: "turn VT-d on in the firmware and boot with intel_iommu=on; on a machine without IOMMU: " +
			"echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
	}
}

func nodeObstacle(node string, err error) *Obstacle {
	if hostfs.Absent(err) {
		return &Obstacle{
			Reason: "its node " + node + " is missing",
			Remedy: "modprobe vfio-pci, and see that the host's /dev/vfio is visible to this process",
		}
	}
	return &Obstacle{Reason: err.Error(), Remedy: plugin.Remedy(err.Error(), Subsystem)}
}

// CheckNode compares a node with the number in a file of sysfs (…/dev); where that file is not there, a node has to be.
func CheckNode(root *hostfs.Root, node, devFile string) error {
	text, err := root.ReadAttr(devFile)
	if err != nil {
		if !hostfs.Absent(err) {
			return err
		}
		if _, err = root.Node(node); errors.Is(err, hostfs.ErrPlainNode) {
			err = nil
		}
		return err
	}
	dev, err := hostfs.ParseDev(text)
	if err != nil {
		return fmt.Errorf("%s: %w", devFile, err)
	}
	return root.CheckNode(node, dev)
}

func same(node string) plugin.Node {
	return plugin.Node{HostPath: node, ContainerPath: node, Permissions: "rw"}
}

// LinkBase is the last element of what a link says, whether or not that exists; empty where there is no such link.
func LinkBase(root *hostfs.Root, link string) (string, error) {
	target, err := root.Readlink(link)
	switch {
	case hostfs.Absent(err):
		return "", nil
	case err != nil:
		return "", err
	}
	return path.Base(target), nil
}

// Function is a PCI function that was found by its ids.
type Function struct{ Address, ID string }

// Functions finds the functions of a vendor ("0x8086") whose device id ("0x0b25") is wanted, in address order. What cannot
// be read is none of them: a function of another kind that is broken is nobody's concern here. One of the vendor's whose
// id cannot be read is told in skipped. A kernel always shows a vendor; in a tree made for tests that does not, the device
// id decides.
func Functions(root *hostfs.Root, vendor string, wanted func(id string) bool) (found []Function, skipped []plugin.Skipped) {
	names, err := root.ReadDir(Devices)
	if err != nil {
		if !hostfs.Absent(err) {
			skipped = append(skipped, plugin.Skipped{Path: Devices, Reason: err.Error()})
		}
		return nil, skipped
	}
	for _, name := range names {
		if !pciaddr.Valid(name) {
			continue
		}
		dir := Devices + "/" + name
		of, err := root.ReadAttr(dir + "/vendor")
		if of != vendor && !hostfs.Absent(err) {
			continue
		}
		theirs := err == nil
		id, err := root.ReadAttr(dir + "/device")
		switch {
		case err == nil && wanted(id):
			found = append(found, Function{Address: name, ID: id})
		case err != nil && theirs:
			skipped = append(skipped, plugin.Skipped{Path: dir, Reason: fmt.Sprintf("its PCI device id cannot be read: %v", err)})
		}
	}
	slices.SortFunc(found, func(a, b Function) int { return CompareAddresses(a.Address, b.Address) })
	return found, skipped
}
