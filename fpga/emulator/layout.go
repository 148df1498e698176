package emulator

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

type entryKind int

const (
	dirEntry entryKind = iota
	fileEntry
	linkEntry // text = target
	nodeEntry // character device
)

// entry is one object of a host tree; path is a host path.
type entry struct {
	kind         entryKind
	path         string
	text         string
	major, minor uint32
}

// Majors of the samples in spec 1.7, all from the range that the kernel keeps for local use. FME and port have different ones, as with both drivers.
const (
	dflFMEMajor, dflPortMajor   = 242, 243
	opaeFMEMajor, opaePortMajor = 241, 240
)

// slot is where a card sits: the PCI path above it and its own address.
type slot struct{ bus, bridge, pf string }

// layout is the growing list of entries plus the counters from which a kernel would number devices.
type layout struct {
	entries                     []entry
	regions, dflFMEs, dflPorts  int
	devs, opaeFMEs, opaePorts   int
	slots                       map[string]bool
	dflSlots, opaeSlots, spares int
	bridges                     map[string]bool
	late                        []func() // VFs are enabled after every PF was probed, so they get the higher numbers
}

// layoutOf turns cards into the entries of a host tree; a pure function.
func layoutOf(cards []Card) ([]entry, error) {
	l := &layout{slots: map[string]bool{}, bridges: map[string]bool{}}
	complete := make([]Card, len(cards))
	for i, c := range cards {
		var err error
		if complete[i], err = c.complete(); err != nil {
			return nil, fmt.Errorf("card %d: %w", i, err)
		}
		if pf := complete[i].PCI; pf != "" {
			if l.slots[pf] {
				return nil, fmt.Errorf("card %d: PCI address %s is taken", i, pf)
			}
			l.slots[pf] = true
		}
	}
	for _, d := range baseDirs {
		l.dir(d)
	}
	l.entries = append(l.entries, entry{kind: linkEntry, path: "/var/run", text: "../run"})
	for _, c := range complete {
		s := l.slotFor(c)
		if c.Driver == DFL {
			l.dflCard(c, s)
		} else {
			l.opaeCard(c, s)
		}
	}
	for _, f := range l.late {
		f()
	}
	return l.entries, nil
}

// baseDirs are there on every node, card or none.
var baseDirs = []string{
	"/dev", "/run/inlay", "/run/cdi", "/srv/intel.com/fpga", "/var/lib/inlay", "/var/lib/kubelet/device-plugins",
	"/sys/class", "/sys/dev/char", "/sys/bus/pci/devices", "/sys/bus/pci/drivers", "/sys/bus/platform/devices",
}

func (l *layout) dir(p string) { l.entries = append(l.entries, entry{kind: dirEntry, path: p}) }

func (l *layout) file(p, format string, args ...any) {
	l.entries = append(l.entries, entry{kind: fileEntry, path: p, text: fmt.Sprintf(format, args...) + "\n"})
}

// link makes a relative link, as sysfs has them, so that it holds inside and outside a root.
func (l *layout) link(p, target string) {
	rel, err := filepath.Rel(path.Dir(p), target)
	if err != nil { // both are absolute host paths
		panic(err)
	}
	l.entries = append(l.entries, entry{kind: linkEntry, path: p, text: rel})
}

func (l *layout) node(name string, major uint32, minor int, sysDir string) {
	l.file(sysDir+"/dev", "%d:%d", major, minor)
	l.file(sysDir+"/uevent", "MAJOR=%d\nMINOR=%d\nDEVNAME=%s", major, minor, name)
	l.link(fmt.Sprintf("/sys/dev/char/%d:%d", major, minor), sysDir)
	l.link("/sys/bus/platform/devices/"+name, sysDir)
	l.entries = append(l.entries, entry{kind: nodeEntry, path: "/dev/" + name, major: major, minor: uint32(minor)})
}

// slotFor gives the first two cards of a driver the slots of the spec's samples, later ones a bus of their own.
func (l *layout) slotFor(c Card) slot {
	if c.PCI != "" {
		m := pciAddress.FindStringSubmatch(c.PCI)
		return slot{"pci" + m[1] + ":00", m[1] + ":00:1f.0", c.PCI}
	}
	known := map[Driver][]slot{
		DFL:  {{"pci0000:3a", "0000:3a:00.0", "0000:3b:00.0"}, {"pci0000:80", "0000:80:02.0", "0000:82:00.0"}},
		OPAE: {{"pci0000:00", "0000:00:03.2", "0000:06:00.0"}, {"pci0000:40", "0000:40:02.0", "0000:42:00.0"}},
	}[c.Driver]
	used := &l.dflSlots
	if c.Driver == OPAE {
		used = &l.opaeSlots
	}
	for {
		var s slot
		if *used < len(known) {
			s = known[*used]
			*used++
		} else {
			bus := 0x90 + 2*(l.spares%48)
			domain := l.spares / 48
			l.spares++
			s = slot{fmt.Sprintf("pci%04x:%02x", domain, bus), fmt.Sprintf("%04x:%02x:00.0", domain, bus), fmt.Sprintf("%04x:%02x:00.0", domain, bus+1)}
		}
		if !l.slots[s.pf] {
			l.slots[s.pf] = true
			return s
		}
	}
}

// pciDevice writes what every PCI function has and returns its directory.
func (l *layout) pciDevice(c Card, s slot, address, device, driver string) string {
	bridge := path.Join("/sys/devices", s.bus, s.bridge)
	if !l.bridges[bridge] {
		l.bridges[bridge] = true
		l.file(bridge+"/vendor", "0x8086")
		l.file(bridge+"/device", "0x2030")
		l.file(bridge+"/class", "0x060400")
		l.file(bridge+"/numa_node", "%d", c.NUMA)
		l.file(bridge+"/local_cpulist", "%s", cpuList(c.NUMA))
		l.link("/sys/bus/pci/devices/"+s.bridge, bridge)
	}
	dir := path.Join(bridge, address)
	l.file(dir+"/vendor", "0x8086")
	l.file(dir+"/device", "%s", device)
	l.file(dir+"/subsystem_vendor", "0x8086")
	l.file(dir+"/subsystem_device", "0x0000")
	l.file(dir+"/class", "0x120000")
	l.file(dir+"/numa_node", "%d", c.NUMA)
	l.file(dir+"/local_cpulist", "%s", cpuList(c.NUMA))
	l.file(dir+"/uevent", "DRIVER=%s\nPCI_CLASS=120000\nPCI_ID=8086:%s\nPCI_SLOT_NAME=%s", driver, strings.ToUpper(strings.TrimPrefix(device, "0x")), address)
	l.link(dir+"/driver", "/sys/bus/pci/drivers/"+driver)
	l.link(dir+"/subsystem", "/sys/bus/pci")
	l.link("/sys/bus/pci/drivers/"+driver+"/"+address, dir)
	l.link("/sys/bus/pci/devices/"+address, dir)
	return dir
}

// physical adds the SR-IOV files of a PF.
func (l *layout) physical(c Card, dir, vf string) {
	vfs := 0
	if c.VF {
		vfs = 1
		l.link(dir+"/virtfn0", path.Join(path.Dir(dir), vf))
	}
	l.file(dir+"/sriov_numvfs", "%d", vfs)
	l.file(dir+"/sriov_totalvfs", "1")
}

// vfAddress is the function after the PF's.
func vfAddress(pf string) string { return pf[:len(pf)-1] + string(pf[len(pf)-1]+1) }

// cpuList is a two-threaded 16-core socket per NUMA node; without a node, all of a two-socket machine.
func cpuList(numa int) string {
	if numa < 0 {
		return "0-63"
	}
	return fmt.Sprintf("%d-%d,%d-%d", 16*numa, 16*numa+15, 32+16*numa, 32+16*numa+15)
}
