package card

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/pciaddr"
)

// place is where an FME or a port sits in sysfs.
type place struct {
	name string
	dir  string // host path, links resolved
	pci  string // PCI function that it sits on: address
	card string // PCI address of the physical function of that one: what a card is known by
	port bool
}

type scan struct {
	root  *hostfs.Root
	inv   Inventory
	brief bool // leave out what only describes a card

	// By folder of the PCI function, which a card's FME and ports share.
	functions map[string]fpga.PCI
	physical  map[string]string // address of its physical function, "" if it is one
}

func (s *scan) skip(path string, format string, args ...any) {
	s.inv.Skipped = append(s.inv.Skipped, Skipped{Path: path, Reason: fmt.Sprintf(format, args...)})
}

// driver reads the FMEs and ports that one driver has at the places given.
func (s *scan) driver(l fpga.Layout, places []place) {
	first := len(s.inv.FMEs)
	names := map[string][]string{} // card → its FMEs
	for _, p := range places {
		if !p.port {
			names[p.card] = append(names[p.card], p.name)
		}
	}
	fmes := map[string]int{}    // card → index in inv.FMEs
	sick := map[string]string{} // card → why its ports cannot be used
	for _, p := range places {
		if p.port {
			continue
		}
		// A card has one. Of several nobody knows which one's a port is, and a PR on another's would program that one's port.
		if all := names[p.card]; len(all) > 1 {
			sick[p.card] = fmt.Sprintf("its card %s has the FMEs %s: none of them is used", p.card, strings.Join(all, ", "))
			s.skip(p.dir, "%s", sick[p.card])
			continue
		}
		fme, err := s.fme(l, p)
		if err != nil {
			sick[p.card] = fmt.Sprintf("its FME %s cannot be used: %v", p.name, err)
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
			s.skip(p.dir, "%s", sick[p.card])
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
		fme := &s.inv.FMEs[i]
		fme.Ports = append(fme.Ports, port)
	}
	for i := first; i < len(s.inv.FMEs); i++ {
		s.order(&s.inv.FMEs[i])
	}
}

// order sorts an FME's ports by number. A PR names its port by number only: of ports that share one nobody knows which
// would be programmed, so none of them is used.
func (s *scan) order(fme *fpga.FME) {
	names := map[uint32][]string{}
	for _, port := range fme.Ports {
		names[port.ID] = append(names[port.ID], port.Name)
	}
	fme.Ports = slices.DeleteFunc(fme.Ports, func(port fpga.Port) bool {
		if len(names[port.ID]) == 1 {
			return false
		}
		others := slices.DeleteFunc(slices.Clone(names[port.ID]), func(name string) bool { return name == port.Name })
		s.skip(port.SysPath, "%s has port number %d too: none of them is used", strings.Join(others, ", "), port.ID)
		return true
	})
	slices.SortFunc(fme.Ports, func(a, b fpga.Port) int { return cmp.Compare(a.ID, b.ID) })
}

// pciDir gives the deepest PCI function in a sysfs path.
func pciDir(dir string) (string, bool) {
	for ; dir != "/" && dir != "."; dir = path.Dir(dir) {
		if pciaddr.Valid(path.Base(dir)) {
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
	return s.unique(found)
}

// unique leaves out devices that share a name: a node and a resource's device can be one of them only, and nobody knows
// which.
func (s *scan) unique(places []place) []place {
	many := map[string]int{}
	for _, p := range places {
		many[p.name]++
	}
	return slices.DeleteFunc(places, func(p place) bool {
		if many[p.name] == 1 {
			return false
		}
		s.skip(p.dir, "%d devices are named %s: none of them is used", many[p.name], p.name)
		return true
	})
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
	fme.SocketID = s.detail(p.dir, "socket_id")
	fme.BitstreamID = s.detail(p.dir, "bitstream_id")
	fme.BitstreamMetadata = s.detail(p.dir, "bitstream_metadata")
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
