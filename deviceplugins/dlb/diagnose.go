package dlb

import (
	"context"
	"fmt"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Diagnose implements plugin.Diagnoser.
func (f *Family) Diagnose(context.Context) []plugin.Finding { return Diagnose(f.c.Root) }

// PassedOver are the cards that are well and not offered because their VFs are: for a person who looks, where a scan has
// nothing to skip.
func (f *Family) PassedOver(context.Context) (list []plugin.Skipped) {
	for _, d := range Discover(f.c.Root).Devices {
		if d.VFs > 0 {
			list = append(list, plugin.Skipped{
				Path: class + "/" + d.Name, Reason: fmt.Sprintf("the card has %d VFs, so they are offered and it is not", d.VFs),
			})
		}
	}
	return list
}

// Diagnose tells why a host offers no DLB devices, or fewer than it has. It writes nothing.
func Diagnose(root *hostfs.Root) []plugin.Finding {
	var findings []plugin.Finding
	functions, skipped := vfio.Functions(root, vfio.Intel, func(id string) bool { return id == pfID || id == vfID })
	for _, fn := range functions {
		d, err := vfio.Look(root, fn.Address)
		if err != nil {
			findings = append(findings, vfio.Finding(vfio.Devices+"/"+fn.Address, err, driver))
			continue
		}
		if d.Driver != driver {
			findings = append(findings, notDriven(root, d))
		}
	}
	found := Discover(root)
	skipped = append(skipped, found.Skipped...)
	for _, d := range found.Devices {
		if d.Sick != (plugin.Skipped{}) {
			skipped = append(skipped, d.Sick)
		}
	}
	for _, s := range skipped {
		findings = append(findings, plugin.Finding{Path: s.Path, Reason: s.Reason, Remedy: plugin.Remedy(s.Reason, driver)})
	}
	return append(findings, unconfigured(found)...)
}

// notDriven is a function that the driver does not have.
func notDriven(root *hostfs.Root, d vfio.Device) plugin.Finding {
	what := "DLB card"
	if d.ID == vfID {
		what = "DLB VF"
	}
	f := plugin.Finding{Path: d.SysPath}
	switch {
	case d.Driver != "":
		f.Reason = fmt.Sprintf("a %s that %s has, so it has no node", what, d.Driver)
		f.Remedy = vfio.Command(d, driver)
	case !root.Exists(vfio.Drivers + "/" + driver):
		f.Reason = "a " + what + " without driver: the module " + driver + " is not loaded"
		f.Remedy = "modprobe " + driver + "   (it is not part of the kernel: Intel's DLB release has it)"
	case d.ID == vfID:
		f.Reason = "a DLB VF that the driver does not have: it is not configured yet"
		f.Remedy = fmt.Sprintf("set its vf<N>_resources below its card's folder, then: echo %s > %s/%s/bind", d.Address, vfio.Drivers, driver)
	default:
		f.Reason = "a DLB card without driver, although " + driver + " is loaded: it could not start the card"
		f.Remedy = "dmesg | grep " + d.Address
	}
	return f
}

// unconfigured are cards with VFs where no VF has a node, so that nothing of the card is offered.
func unconfigured(found Inventory) []plugin.Finding {
	for _, d := range found.Devices {
		if d.Resource == ResourceVF {
			return nil
		}
	}
	var findings []plugin.Finding
	for _, d := range found.Devices {
		if d.Resource != "" || d.Sick != (plugin.Skipped{}) {
			continue
		}
		file := class + "/" + d.Name + "/device/sriov_numvfs"
		findings = append(findings, plugin.Finding{
			Path: file, Reason: fmt.Sprintf("the card has %d VFs and is not offered as a whole, but no VF has a node", d.VFs),
			Remedy: "bind the VFs to " + driver + ", or to have the whole card: echo 0 > " + file,
		})
	}
	return findings
}
