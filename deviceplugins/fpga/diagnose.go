package fpga

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/inlay-project/inlay/deviceplugins/fpga/earlier"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/internal/hostfs"
)

const pciDevices = "/sys/bus/pci/devices"

// physical are the PCI device ids, of vendor 0x8086, of cards whose physical function the kernel's DFL driver or Intel's
// own serves (drivers/fpga/dfl-pci.c).
var physical = []string{"0xbcbd", "0xbcc0", "0x09c4", "0x0b30", "0x0b2b", "0xbcce"}

// drivers are the kernel's names of the drivers that make FMEs of a card.
var drivers = []string{"dfl-pci", "intel-fpga-pci"}

// Diagnose implements plugin.Diagnoser: it tells of cards that no driver has made a device of, and of another FPGA device
// plugin, whether it runs or left something behind. Why a device is left out or unhealthy is what a scan says.
func (f *Family) Diagnose(ctx context.Context) []plugin.Finding {
	findings := undriven(f.c.Root)
	if !f.Present() {
		return findings
	}
	signs := append(new(predecessor).running(ctx, f.c), earlier.Leftovers(f.c.Root)...)
	for _, s := range signs {
		findings = append(findings, plugin.Finding{Path: s.Path, Reason: s.Reason, Remedy: s.Remedy})
	}
	return findings
}

// undriven finds the cards on the PCI bus of which there is no FME.
func undriven(root *hostfs.Root) []plugin.Finding {
	functions, err := root.ReadDir(pciDevices)
	if err != nil {
		return nil // a host without PCI
	}
	served := map[string]bool{}
	for _, fme := range card.Discover(root).FMEs {
		served[fme.PCI.Address] = true
	}
	var findings []plugin.Finding
	for _, address := range functions {
		dir := path.Join(pciDevices, address)
		vendor, _ := root.ReadAttr(dir + "/vendor") // what cannot be read is no card of ours
		device, _ := root.ReadAttr(dir + "/device")
		if vendor != "0x8086" || !slices.Contains(physical, device) || served[address] {
			continue
		}
		finding := plugin.Finding{Path: dir}
		driver, err := root.Resolve(dir + "/driver")
		switch name := path.Base(driver); {
		case err != nil:
			finding.Reason = fmt.Sprintf("an FPGA card (8086:%s) without a driver: the module dfl-pci is not loaded, or does not know it", device[2:])
			finding.Remedy = "modprobe dfl-pci"
		case !slices.Contains(drivers, name):
			finding.Reason = fmt.Sprintf("an FPGA card (8086:%s) that is bound to %s, which offers it to virtual machines and no FPGA to containers", device[2:], name)
			finding.Remedy = fmt.Sprintf("echo %s > /sys/bus/pci/drivers/%s/unbind && echo %s > /sys/bus/pci/drivers/dfl-pci/bind", address, name, address)
		default:
			finding.Reason = fmt.Sprintf("the driver %s has made no FME of this FPGA card (8086:%s)", name, device[2:])
			finding.Remedy = "modprobe dfl-fme; modprobe dfl-afu; dmesg | grep -i -e dfl -e fpga"
		}
		findings = append(findings, finding)
	}
	return findings
}
