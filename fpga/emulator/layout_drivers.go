package emulator

import (
	"fmt"
	"path"
)

// PCI ids of the Arria 10 PAC.
const (
	pfDevice = "0x09c4"
	vfDevice = "0x09c5"
)

// dflCard lays out a card under the in-tree driver (spec 1.6, 1.7): a base region, the FME with a manager and one PR region a port, the ports.
func (l *layout) dflCard(c Card, s slot) {
	pci := l.pciDevice(c, s, s.pf, pfDevice, "dfl-pci")
	vf := vfAddress(s.pf)
	l.physical(c, pci, vf)
	base := l.region(pci, "")
	fme := l.dflFMEs
	l.dflFMEs++
	fmeDir := fmt.Sprintf("%s/dfl-fme.%d", base, fme)
	l.node(path.Base(fmeDir), dflFMEMajor, fme, fmeDir)
	l.fmeFiles(c, fmeDir)
	manager := fmt.Sprintf("%s/dfl-fme-mgr.%d/fpga_manager/fpga%d", fmeDir, fme, fme)
	l.file(manager+"/name", "DFL FME FPGA Manager")
	l.file(manager+"/state", "operating")
	l.entries = append(l.entries, entry{kind: fileEntry, path: manager + "/status"}) // empty: no error bit set
	l.link(fmt.Sprintf("/sys/class/fpga_manager/fpga%d", fme), manager)
	for range c.Ports {
		l.region(fmt.Sprintf("%s/dfl-fme-region.%d", fmeDir, l.regions), c.Interface)
	}
	for id := range c.Ports {
		number := l.dflPorts
		l.dflPorts++
		if c.VF && id == c.Ports-1 { // released: its number is not used again
			continue
		}
		l.dflPort(c, base, number, id)
	}
	if !c.VF {
		return
	}
	l.late = append(l.late, func() {
		dir := l.pciDevice(c, s, vf, vfDevice, "dfl-pci")
		l.link(dir+"/physfn", pci)
		number := l.dflPorts
		l.dflPorts++
		l.dflPort(c, l.region(dir, ""), number, c.Ports-1)
	})
}

// region adds the next region<N> under parent; a base region has no compat_id file (reading the kernel's gives ENOENT too).
func (l *layout) region(parent, compatID string) string {
	name := fmt.Sprintf("region%d", l.regions)
	l.regions++
	dir := parent + "/fpga_region/" + name
	l.dir(dir)
	if compatID != "" {
		l.file(dir+"/compat_id", "%s", compatID)
	}
	l.link("/sys/class/fpga_region/"+name, dir)
	return dir
}

func (l *layout) dflPort(c Card, base string, number, id int) {
	dir := fmt.Sprintf("%s/dfl-port.%d", base, number)
	l.node(path.Base(dir), dflPortMajor, number, dir)
	l.file(dir+"/id", "%d", id)
	l.file(dir+"/afu_id", "%s", c.AFUs[id])
}

// fmeFiles writes the FME attributes that both drivers have.
func (l *layout) fmeFiles(c Card, dir string) {
	l.file(dir+"/ports_num", "%d", c.Ports)
	l.file(dir+"/bitstream_id", "0x23000410010310")
	l.file(dir+"/bitstream_metadata", "0x1807110")
	l.file(dir+"/socket_id", "%d", max(c.NUMA, 0))
}

// opaeCard lays out a card under Intel's out-of-tree driver.
func (l *layout) opaeCard(c Card, s slot) {
	pci := l.pciDevice(c, s, s.pf, pfDevice, "intel-fpga-pci")
	vf := vfAddress(s.pf)
	l.physical(c, pci, vf)
	dev := l.opaeDev(pci)
	fme := l.opaeFMEs
	l.opaeFMEs++
	fmeDir := fmt.Sprintf("%s/intel-fpga-fme.%d", dev, fme)
	l.node(path.Base(fmeDir), opaeFMEMajor, fme, fmeDir)
	l.fmeFiles(c, fmeDir)
	l.file(fmeDir+"/pr/interface_id", "%s", c.Interface)
	for id := range c.Ports {
		number := l.opaePorts
		l.opaePorts++
		if c.VF && id == c.Ports-1 {
			continue
		}
		l.opaePort(c, dev, number, id)
	}
	if !c.VF {
		return
	}
	l.late = append(l.late, func() {
		dir := l.pciDevice(c, s, vf, vfDevice, "intel-fpga-pci")
		l.link(dir+"/physfn", pci)
		number := l.opaePorts
		l.opaePorts++
		l.opaePort(c, l.opaeDev(dir), number, c.Ports-1)
	})
}

func (l *layout) opaeDev(pci string) string {
	name := fmt.Sprintf("intel-fpga-dev.%d", l.devs)
	l.devs++
	dir := pci + "/fpga/" + name
	l.dir(dir)
	l.link("/sys/class/fpga/"+name, dir)
	return dir
}

func (l *layout) opaePort(c Card, dev string, number, id int) {
	dir := fmt.Sprintf("%s/intel-fpga-port.%d", dev, number)
	l.node(path.Base(dir), opaePortMajor, number, dir)
	l.file(dir+"/id", "%d", id)
	l.file(dir+"/afu_id", "%s", c.AFUs[id])
}
