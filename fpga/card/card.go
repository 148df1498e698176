// Package card finds the FPGA cards of a host tree, whichever kernel driver shows them.
//
// Discovery is a pure function of the tree. It reads sysfs only and opens no device. What cannot be read is reported
// with its reason and skipped; it takes no other card down. It does not depend on links that udev makes, on the width
// of a PCI domain or on where below /sys/devices a card sits.
package card

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/dfl"
	"github.com/inlay-project/inlay/fpga/opae"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Drivers are the kernel drivers that Inlay knows. Both may be loaded at once.
func Drivers() []fpga.Driver { return []fpga.Driver{opae.Driver{}, dfl.Driver{}} }

// DriverOf gives the driver of a device by its name ("dfl-port.0").
func DriverOf(name string) (fpga.Driver, bool) {
	for _, d := range Drivers() {
		l := d.Layout()
		if numbered(name, l.FME) || numbered(name, l.Port) {
			return d, true
		}
	}
	return nil, false
}

// IsPort tells whether a device node's base name is that of a port.
func IsPort(name string) bool {
	d, ok := DriverOf(name)
	return ok && numbered(name, d.Layout().Port)
}

// Inventory is what a host tree holds.
type Inventory struct {
	FMEs    []fpga.FME // by PCI address
	Skipped []Skipped
}

// Skipped is a device that is there and cannot be used.
type Skipped struct{ Path, Reason string }

// Discover reads all cards of a tree. A tree without FPGA driver gives an empty inventory.
func Discover(root *hostfs.Root) Inventory {
	s := scan{root: root}
	for _, d := range Drivers() {
		s.driver(d.Layout(), s.places(d.Layout()))
	}
	sort.SliceStable(s.inv.FMEs, func(i, j int) bool {
		return less(s.inv.FMEs[i].PCI.Address, s.inv.FMEs[j].PCI.Address)
	})
	return s.inv
}

// less orders PCI addresses, also those of domains with more than four digits.
func less(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// FindPort reads the one FME that a port belongs to. An error wraps fpga.ErrNoDevice if there is no such port.
func FindPort(root *hostfs.Root, name string) (*fpga.FME, *fpga.Port, error) {
	fme, err := find(root, name)
	if err != nil {
		return nil, nil, err
	}
	port, ok := fme.Port(name)
	if !ok {
		return nil, nil, fmt.Errorf("port %s: %w", name, fpga.ErrNoDevice)
	}
	return fme, port, nil
}

// FindFME reads one FME with its ports. An error wraps fpga.ErrNoDevice if there is none of that name.
func FindFME(root *hostfs.Root, name string) (*fpga.FME, error) { return find(root, name) }

func find(root *hostfs.Root, name string) (*fpga.FME, error) {
	d, ok := DriverOf(name)
	if !ok {
		return nil, fmt.Errorf("%.80q is not the name of an FPGA device", name)
	}
	s := scan{root: root}
	places := s.places(d.Layout())
	i := slices.IndexFunc(places, func(p place) bool { return p.name == name })
	if i >= 0 {
		card := places[i].card
		s.driver(d.Layout(), slices.DeleteFunc(places, func(p place) bool { return p.card != card }))
	}
	for i := range s.inv.FMEs {
		fme := &s.inv.FMEs[i]
		if _, isPort := fme.Port(name); isPort || fme.Name == name {
			return fme, nil
		}
	}
	for _, skipped := range s.inv.Skipped {
		if path.Base(skipped.Path) == name {
			return nil, fmt.Errorf("%s: %s: %w", name, skipped.Reason, fpga.ErrNoDevice)
		}
	}
	return nil, fmt.Errorf("%s: %w", name, fpga.ErrNoDevice)
}

// numbered tells whether name is prefix and a decimal number as the kernel writes it.
func numbered(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return false
	}
	n, err := strconv.ParseUint(rest, 10, 32)
	return err == nil && strconv.FormatUint(n, 10) == rest
}

// place is where an FME or a port sits in sysfs.
type place struct {
	name string
	dir  string // host path, links resolved
	pci  string // PCI function that it sits on: address
	card string // PCI address of the physical function of that one: what a card is known by
	port bool
}

type scan struct {
	root *hostfs.Root
	inv  Inventory

	// By folder of the PCI function, which a card's FME and ports share.
	functions map[string]fpga.PCI
	physical  map[string]string // address of its physical function, "" if it is one
}

func (s *scan) skip(path string, format string, args ...any) {
	s.inv.Skipped = append(s.inv.Skipped, Skipped{Path: path, Reason: fmt.Sprintf(format, args...)})
}

// driver reads the FMEs and ports that one driver has at the places given.
func (s *scan) driver(l fpga.Layout, places []place) {
	fmes := map[string]int{}    // card → index in inv.FMEs
	sick := map[string]string{} // card → its FME that cannot be used
	for _, p := range places {
		if p.port {
			continue
		}
		if other, taken := fmes[p.card]; taken {
			s.skip(p.dir, "card %s has a second FME beside %s", p.card, s.inv.FMEs[other].Name)
			continue
		}
		fme, err := s.fme(l, p)
		if err != nil {
			sick[p.card] = p.name
			s.skip(p.dir, "%v", err)
			continue
		}
		fmes[p.card] = len(s.inv.FMEs)
		s.inv.FMEs = append(s.inv.FMEs, fme)
	}
	for _, p := range places {
		if !p.port {
			continue
		}
		i, ok := fmes[p.card]
		if !ok && sick[p.card] != "" {
			s.skip(p.dir, "its FME %s cannot be used", sick[p.card])
			continue
		}
		if !ok {
			s.skip(p.dir, "no FME is visible for it (a virtual function without its physical one?)")
			continue
		}
		port, err := s.port(l, p)
		if err != nil {
			s.skip(p.dir, "%v", err)
			continue
		}
		if err := join(&s.inv.FMEs[i], port); err != nil {
			s.skip(p.dir, "%v", err)
		}
	}
}

// join gives a port to its FME, in the order of the ports' numbers. A PR names its port by number only, so that of two
// ports with one number neither the second nor anything that is said of it can be trusted.
func join(fme *fpga.FME, port fpga.Port) error {
	i, taken := slices.BinarySearchFunc(fme.Ports, port.ID, func(p fpga.Port, id uint32) int { return cmp.Compare(p.ID, id) })
	if taken {
		return fmt.Errorf("%s has port number %d too", fme.Ports[i].Name, port.ID)
	}
	fme.Ports = slices.Insert(fme.Ports, i, port)
	return nil
}

// pciDir gives the deepest PCI function in a sysfs path.
func pciDir(dir string) (string, bool) {
	for ; dir != "/" && dir != "."; dir = path.Dir(dir) {
		if fpga.IsPCIAddress(path.Base(dir)) {
			return dir, true
		}
	}
	return "", false
}

// places lists the FMEs and ports that a driver's class folder leads to.
func (s *scan) places(l fpga.Layout) []place {
	cards, err := s.root.ReadDir(l.Class)
	if err != nil {
		if !hostfs.Absent(err) {
			s.skip(l.Class, "%v", err)
		}
		return nil
	}
	var found []place
	seen := map[string]bool{} // folders: a link more does not make a card more
	for _, name := range cards {
		if !numbered(name, l.Device) {
			continue
		}
		dir, err := s.root.Resolve(path.Join(l.Class, name))
		if err != nil {
			s.skip(path.Join(l.Class, name), "%v", err)
			continue
		}
		if seen[dir] {
			continue
		}
		seen[dir] = true
		entries, err := s.root.ReadDir(dir)
		if err != nil {
			s.skip(dir, "%v", err)
			continue
		}
		for _, entry := range entries {
			isPort := numbered(entry, l.Port)
			if !isPort && !numbered(entry, l.FME) {
				continue
			}
			where := path.Join(dir, entry)
			pci, ok := pciDir(dir)
			if !ok {
				s.skip(where, "it sits on no PCI function")
				continue
			}
			p := place{name: entry, dir: where, pci: pci, card: path.Base(pci), port: isPort}
			if pf := s.physFn(pci); pf != "" {
				p.card = pf
			}
			found = append(found, p)
		}
	}
	return found
}

// node reads the number of a device and compares it with its node.
func (s *scan) node(p place) (string, hostfs.Dev, error) {
	text, err := s.root.ReadAttr(path.Join(p.dir, "dev"))
	if err != nil {
		return "", hostfs.Dev{}, err
	}
	dev, err := hostfs.ParseDev(text)
	if err != nil {
		return "", hostfs.Dev{}, err
	}
	node := path.Join("/dev", p.name)
	return node, dev, s.root.CheckNode(node, dev)
}

func (s *scan) fme(l fpga.Layout, p place) (fpga.FME, error) {
	fme := fpga.FME{Driver: l.Driver, Name: p.name, SysPath: p.dir, PCI: s.pci(p.pci)}
	var err error
	if fme.Node, fme.Dev, err = s.node(p); err != nil {
		return fme, err
	}
	fme.InterfaceFiles = s.glob(path.Join(p.dir, l.Interface))
	fme.Interface, fme.InterfaceErr = s.interfaceID(fme.InterfaceFiles)
	fme.PortsNum = s.attr(p.dir, "ports_num")
	fme.SocketID = s.attr(p.dir, "socket_id")
	fme.BitstreamID = s.attr(p.dir, "bitstream_id")
	fme.BitstreamMetadata = s.attr(p.dir, "bitstream_metadata")
	return fme, nil
}

func (s *scan) port(l fpga.Layout, p place) (fpga.Port, error) {
	port := fpga.Port{Driver: l.Driver, Name: p.name, SysPath: p.dir, PCI: s.pci(p.pci)}
	var err error
	if port.Node, port.Dev, err = s.node(p); err != nil {
		return port, err
	}
	text, err := s.root.ReadAttr(path.Join(p.dir, "id"))
	if err != nil {
		return port, err
	}
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return port, fmt.Errorf("port number %.40q is not a number", text)
	}
	port.ID = uint32(id)
	port.AFU, port.AFUErr = ReadAFU(s.root, p.dir)
	return port, nil
}

// ReadAFU reads the id of the function that a port holds; the error wraps EBUSY while the port is being programmed.
func ReadAFU(root *hostfs.Root, portDir string) (fpga.AFUID, error) {
	text, err := root.ReadAttr(path.Join(portDir, "afu_id"))
	if err != nil {
		return "", err
	}
	return fpga.ParseAFUID(text)
}

// ManagerStatus reads what the FPGA manager of an FME says of its last job; "" if it says nothing.
func ManagerStatus(root *hostfs.Root, fme *fpga.FME) string {
	d, ok := DriverOf(fme.Name)
	if !ok || d.Layout().Manager == "" {
		return ""
	}
	s := scan{root: root}
	for _, file := range s.glob(path.Join(fme.SysPath, d.Layout().Manager)) {
		if text, err := root.ReadAttr(file); err == nil && text != "" {
			return strings.Join(strings.Fields(text), " ")
		}
	}
	return ""
}

var errNoInterface = errors.New("no interface id")

// interfaceID reads every file that holds the id; they must agree.
func (s *scan) interfaceID(files []string) (fpga.InterfaceID, error) {
	var id fpga.InterfaceID
	err := errNoInterface
	for _, file := range files {
		text, readErr := s.root.ReadAttr(file)
		if readErr != nil {
			if id == "" && !hostfs.Absent(readErr) {
				err = readErr
			}
			continue
		}
		next, parseErr := fpga.ParseInterfaceID(text)
		if parseErr != nil {
			return "", fmt.Errorf("%s: %w", file, parseErr)
		}
		if id != "" && next != id {
			return "", fmt.Errorf("regions of one FME differ: %s and %s", id, next)
		}
		id, err = next, nil
	}
	return id, err
}

// glob expands the elements of a pattern that end in "*"; what is not there is left out.
func (s *scan) glob(pattern string) []string {
	paths := []string{"/"}
	for _, element := range strings.Split(strings.Trim(pattern, "/"), "/") {
		prefix, wild := strings.CutSuffix(element, "*")
		var next []string
		for _, p := range paths {
			if !wild {
				next = append(next, path.Join(p, element))
				continue
			}
			names, err := s.root.ReadDir(p)
			if err != nil {
				continue
			}
			for _, name := range names {
				if strings.HasPrefix(name, prefix) {
					next = append(next, path.Join(p, name))
				}
			}
		}
		paths = next
	}
	return paths
}

func (s *scan) attr(dir, name string) string {
	text, err := s.root.ReadAttr(path.Join(dir, name))
	if err != nil {
		return ""
	}
	return text
}

func (s *scan) pci(dir string) fpga.PCI {
	if known, ok := s.functions[dir]; ok {
		return known
	}
	pci := fpga.PCI{
		Address:         path.Base(dir),
		SysPath:         dir,
		Vendor:          s.attr(dir, "vendor"),
		Device:          s.attr(dir, "device"),
		SubsystemVendor: s.attr(dir, "subsystem_vendor"),
		SubsystemDevice: s.attr(dir, "subsystem_device"),
		Class:           s.attr(dir, "class"),
		NUMANode:        s.attr(dir, "numa_node"),
		LocalCPUs:       s.attr(dir, "local_cpulist"),
		SRIOVNumVFs:     s.attr(dir, "sriov_numvfs"),
		SRIOVTotalVFs:   s.attr(dir, "sriov_totalvfs"),
	}
	pci.PhysFn = s.physFn(dir)
	if s.functions == nil {
		s.functions = map[string]fpga.PCI{}
	}
	s.functions[dir] = pci
	return pci
}

// physFn gives the physical function of a virtual one, "" of a physical one.
func (s *scan) physFn(dir string) string {
	address, known := s.physical[dir]
	if known {
		return address
	}
	if pf, err := s.root.Resolve(path.Join(dir, "physfn")); err == nil {
		address = path.Base(pf)
	}
	if s.physical == nil {
		s.physical = map[string]string{}
	}
	s.physical[dir] = address
	return address
}
