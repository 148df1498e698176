package npu

import (
	"context"
	"fmt"
	"path"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
)

const pciDir = "/sys/bus/pci/devices"

// Diagnose implements plugin.Diagnoser.
func (f *Family) Diagnose(context.Context) []plugin.Finding {
	found, err := Discover(f.c.Root)
	if err != nil {
		return []plugin.Finding{{Path: classDir, Reason: err.Error(), Remedy: "give the daemon the host's /sys"}}
	}
	return diagnose(f.c.Root, found)
}

// PassedOver are Intel's accelerators that are not offered because nobody knows what they are: for a person who looks, where
// a scan has nothing to skip.
func (f *Family) PassedOver(context.Context) (list []plugin.Skipped) {
	found, err := Discover(f.c.Root)
	if err != nil {
		return nil // the scan says so
	}
	for _, u := range found.Unknown {
		list = append(list, plugin.Skipped{Path: u.SysPath, Reason: u.unknown()})
	}
	return list
}

func (u Unit) unknown() string {
	return fmt.Sprintf("%s has the PCI device id %.40s, which is no NPU that this release knows", u.Name, u.DeviceID)
}

// diagnose says why units are not offered: a pure function of the host tree.
func diagnose(root *hostfs.Root, found Inventory) (findings []plugin.Finding) {
	seen := map[string]bool{}
	for _, s := range found.Skipped {
		findings = append(findings, plugin.Finding{Path: s.Path, Reason: s.Reason, Remedy: plugin.Remedy(s.Reason, "accel")})
		if real, err := root.Resolve(s.Path + "/device"); err == nil {
			seen[real] = true
		}
	}
	for _, u := range found.Unknown {
		findings = append(findings, plugin.Finding{Path: u.SysPath, Reason: u.unknown(), Remedy: "a newer release of Inlay, if it is one"})
	}
	for _, u := range found.Units {
		seen[u.SysPath] = true
	}
	addresses, _ := root.ReadDir(pciDir) // without a PCI bus there is nothing to tell
	for _, address := range addresses {
		dir := pciDir + "/" + address
		vendor, _ := root.ReadAttr(dir + "/vendor")
		id, _ := root.ReadAttr(dir + "/device")
		family, ok := known(id)
		real, err := root.Resolve(dir)
		if vendor != intel || !ok || err != nil || seen[real] {
			continue
		}
		finding := plugin.Finding{Path: real, Reason: "no driver is bound to this NPU (" + family + ")", Remedy: "modprobe intel_vpu"}
		if driver, err := root.Resolve(dir + "/driver"); err == nil {
			finding.Reason = "its driver " + path.Base(driver) + " has made no accelerator device"
			finding.Remedy = "dmesg | grep " + address
		}
		findings = append(findings, finding)
	}
	return findings
}
