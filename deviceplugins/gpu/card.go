package gpu

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/pciaddr"
	"github.com/inlay-project/inlay/internal/topology"
)

const (
	classDir  = "/sys/class/drm"
	nodeDir   = "/dev/dri"
	byPathDir = "/dev/dri/by-path"
	intel     = "0x8086"
	// driverless is the driver's name where sysfs does not say it, as in trees of fake devices.
	driverless = "i915"
)

// Card is one DRM device of Intel's, as the host shows it.
type Card struct {
	Name     string   // "card0"
	Driver   string   // "i915", "xe"
	Address  string   // PCI address, empty where there is none
	Link     string   // PCI address that its entry in the class says, by which its links are called; empty where there is none
	DeviceID string   // "0x56c0", empty where it cannot be read
	Dir      string   // real folder of the DRM device
	SysPath  string   // real folder of its PCI device
	Nodes    []string // host paths: /dev/dri/card0, /dev/dri/renderD128
	MEI      []string // host paths of its management engine's nodes: /dev/mei1
	// NoMEI are its management engines whose nodes an observer does not get, and why: with a node that is not there the
	// container would not start.
	NoMEI   []plugin.Skipped
	ByPath  []Link // its links in /dev/dri/by-path
	VFs     int    // enabled virtual functions; with any the card itself is not offered
	NUMA    []int  // nil where it cannot be read
	NUMAErr error  // why
	// SRIOV is the file that says how many virtual functions are enabled, empty for a card that can have none.
	SRIOV string
}

// Link is one name in /dev/dri/by-path and the node that it leads to.
type Link struct{ Name, Node string }

// Inventory is what Discover found.
type Inventory struct {
	Cards   []Card           // by number; those that the id lists leave out are not among them
	ByPath  bool             // there is a folder /dev/dri/by-path
	Skipped []plugin.Skipped // what is there and cannot be offered
	Denied  []Card           // what the id lists leave out
}

// unread are the names of the cards that are there and cannot be read now.
func (inv Inventory) unread() (names []string) {
	for _, s := range inv.Skipped {
		names = append(names, path.Base(s.Path))
	}
	return names
}

// Discover finds Intel's DRM devices in a host tree. No DRM class is no card and no error; a class folder that cannot be
// read is an error. A card that cannot be read is skipped with the reason.
func Discover(root *hostfs.Root, o Options) (Inventory, error) {
	inv := Inventory{}
	names, err := root.ReadDir(classDir)
	if err != nil {
		if hostfs.Absent(err) {
			return inv, nil
		}
		return inv, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !numbered(name, "card") })
	slices.SortFunc(names, natural)
	links, err := root.ReadDir(byPathDir)
	inv.ByPath = err == nil
	allow, deny := ids(o.AllowIDs), ids(o.DenyIDs)
	for _, name := range names {
		card, ours, err := readCard(root, name)
		if err == nil && ours {
			err = check(&card, len(allow)+len(deny) > 0)
		}
		switch {
		case err != nil:
			inv.Skipped = append(inv.Skipped, plugin.Skipped{Path: classDir + "/" + name, Reason: err.Error()})
		case !ours:
		case len(allow) > 0 && !slices.Contains(allow, card.DeviceID), slices.Contains(deny, card.DeviceID):
			inv.Denied = append(inv.Denied, card)
		default:
			card.ByPath = linksOf(root, card, links)
			inv.Cards = append(inv.Cards, card)
		}
	}
	return inv, nil
}

// ids of a list that Validate has seen.
func ids(list string) []string {
	parsed, _ := parseIDs(list)
	return parsed
}

// check says why a card that was read cannot be offered.
func check(c *Card, filtered bool) error {
	if len(c.Nodes) == 0 {
		return fmt.Errorf("none of its nodes is in %s", nodeDir)
	}
	if filtered && !isDeviceID(c.DeviceID) {
		return errors.New("its PCI device id cannot be read, so the lists of ids cannot be applied to it")
	}
	return nil
}

// readCard reads one entry of the class; ours tells whether it is an Intel GPU at all.
func readCard(root *hostfs.Root, name string) (c Card, ours bool, err error) {
	dir := classDir + "/" + name
	vendor, err := root.ReadAttr(dir + "/device/vendor")
	switch {
	case hostfs.Absent(err): // a virtual or a platform device
		return c, false, nil
	case err != nil:
		return c, false, err
	case vendor != intel:
		return c, false, nil
	}
	c = Card{Name: name}
	if c.Driver, err = driverOf(root, dir); err != nil {
		return c, true, err
	}
	if c.SysPath, err = root.Resolve(dir + "/device"); err != nil {
		return c, true, err
	}
	if c.Dir, err = root.Resolve(dir); err != nil {
		return c, true, err
	}
	c.Link = addressOf(c.Dir, name)
	c.Address = cmp.Or(c.Link, addressOf(c.SysPath, name))
	c.DeviceID, _, _ = strings.Cut(attrOr(root, c.SysPath+"/device"), "\n")
	if c.VFs, c.SRIOV, err = virtualFunctions(root, c.SysPath); err != nil {
		return c, true, err
	}
	if c.Nodes, err = nodesOf(root, c.SysPath); err != nil {
		return c, true, err
	}
	c.MEI, c.NoMEI = meiOf(root, c.SysPath)
	c.NUMA, c.NUMAErr = topology.Of(root, c.SysPath, c.Nodes...)
	return c, true, nil
}

// attrOr reads a sysfs value; what cannot be read is empty.
func attrOr(root *hostfs.Root, file string) string {
	value, err := root.ReadAttr(file)
	if err != nil {
		return ""
	}
	return value
}

// driverOf is the driver's name as the link says it, whether or not the driver's folder is to be seen. It becomes a
// resource's name, so that one that cannot be in such a name is an error.
func driverOf(root *hostfs.Root, dir string) (string, error) {
	driver, _ := vfio.LinkBase(root, dir+"/device/driver") // what is no link says no name either
	switch {
	case driver == "":
		return driverless, nil
	case !isDriver(driver):
		return driver, fmt.Errorf("its driver %.40q cannot be in a resource's name", driver)
	}
	return driver, nil
}

// addressOf takes the PCI address out of the real path of a card or of its device: the last element, what stands before
// /drm/card0.
func addressOf(real, name string) string {
	if address := path.Base(strings.TrimSuffix(real, "/drm/"+name)); pciaddr.Valid(address) {
		return address
	}
	return ""
}

// virtualFunctions gives how many are enabled. A function that can have none has no such file.
func virtualFunctions(root *hostfs.Root, sysPath string) (n int, file string, err error) {
	file = sysPath + "/sriov_numvfs"
	text, err := root.ReadAttr(file)
	if hostfs.Absent(err) {
		return 0, "", nil
	}
	if err != nil {
		return 0, file, err
	}
	if n, err = strconv.Atoi(text); err != nil || n < 0 {
		return 0, file, fmt.Errorf("sriov_numvfs is %.40q, no number", text)
	}
	return n, file, nil
}

// nodesOf finds a device's nodes: those of its DRM minors that are in /dev/dri. A node with another number than sysfs
// gives is an error.
func nodesOf(root *hostfs.Root, sysPath string) ([]string, error) {
	minors, err := root.ReadDir(sysPath + "/drm")
	if err != nil {
		return nil, err
	}
	var nodes []string
	for _, minor := range minors {
		node := nodeDir + "/" + minor
		if isControl(minor) || !root.Exists(node) {
			continue
		}
		if err := checkNode(root, node, sysPath+"/drm/"+minor+"/dev"); err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	slices.SortFunc(nodes, natural)
	return nodes, nil
}

// checkNode compares a node with what sysfs says. Where sysfs says nothing (fake devices), whatever is there stands for the
// node.
func checkNode(root *hostfs.Root, node, devFile string) error {
	text, err := root.ReadAttr(devFile)
	switch {
	case hostfs.Absent(err):
		_, err := root.Resolve(node)
		return err
	case err != nil:
		return err
	}
	dev, err := hostfs.ParseDev(text)
	if err != nil {
		return err
	}
	return root.CheckNode(node, dev)
}

// meiOf finds the nodes of the management engines behind a card: <driver>.mei-gscfi.1024/mei/mei1. One that sysfs gives no
// number (fake devices) is not looked for, as the reference looks for none.
func meiOf(root *hostfs.Root, sysPath string) (nodes []string, skipped []plugin.Skipped) {
	entries, _ := root.ReadDir(sysPath) // it could be read a moment ago, and without them the card is as good
	for _, entry := range entries {
		if !strings.Contains(entry, ".mei-") {
			continue
		}
		names, _ := root.ReadDir(sysPath + "/" + entry + "/mei")
		for _, name := range names {
			if !numbered(name, "mei") {
				continue
			}
			node, dir := "/dev/"+name, sysPath+"/"+entry+"/mei/"+name
			switch err := checkNode(root, node, dir+"/dev"); {
			case err == nil, hostfs.Absent(err) && !root.Exists(dir+"/dev"):
				nodes = append(nodes, node)
			case hostfs.Absent(err):
				skipped = append(skipped, plugin.Skipped{Path: dir, Reason: "its node " + node + " is missing, so an observer does not get it"})
			default:
				skipped = append(skipped, plugin.Skipped{Path: dir, Reason: fmt.Sprintf("an observer does not get it: %v", err)})
			}
		}
	}
	slices.SortFunc(nodes, natural)
	return nodes, skipped
}

// linksOf picks a card's links: pci-<address> and more, leading to one of its nodes. In made-up trees an ordinary file may
// stand for one.
func linksOf(root *hostfs.Root, c Card, names []string) (links []Link) {
	for _, name := range names {
		if !belongs(name, c.Link) {
			continue
		}
		link := byPathDir + "/" + name
		if node, err := root.Resolve(link); err == nil && (node == link || slices.Contains(c.Nodes, node)) {
			links = append(links, Link{Name: name, Node: node})
		}
	}
	return links
}

// belongs tells whether a name in /dev/dri/by-path is of the card at a PCI address.
func belongs(name, address string) bool {
	return address != "" && strings.HasPrefix(name, "pci-"+address)
}
