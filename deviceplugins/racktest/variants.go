package racktest

import (
	"fmt"
	"strings"
)

// Variants are further devices of some families, offered as other resources. Fill makes none of them; Plug and Unplug take
// their names like those of families.
var Variants = map[string]string{ //nolint:gochecknoglobals // a table that nobody changes
	"gpu-i915": "gpu.intel.com/i915",
	"qat-dc":   "qat.intel.com/dc",
	"dsa-vfio": "dsa.intel.com/vfio",
	"iaa-vfio": "iaa.intel.com/vfio",
}

// Where the numbers of variants begin: beyond those of 100 devices of a family.
const (
	firstI915 = 100 // of a GPU's card and, from 128 on, render nodes
	dcGroups  = 400 // IOMMU groups
	dsaGroups = 500
	iaaGroups = 600
)

// variant is all that a host has of one device of a variant.
func variant(name string, i int) files {
	switch name {
	case "gpu-i915":
		return card("a2", "i915", "0x56c0", i, firstI915+i)
	case "qat-dc": // before the other cards in the order of PCI addresses
		return virtual("98", "dc", i, dcGroups+i)
	case "dsa-vfio":
		return whole("81", "0x11fb", i, dsaGroups+i)
	case "iaa-vfio": // before those of DSA
		return whole("71", "0x1216", i, iaaGroups+i)
	}
	return nil
}

// whole is a function that vfio-pci has as a whole, of a model that vfio-pci does not refuse.
func whole(bus, id string, i, group int) files {
	f := files{}
	dir := fmt.Sprintf("sys/devices/pci0000:%s/%s", bus, pci(bus, i))
	function(f, dir, id, "0x088000", "vfio-pci")
	inGroup(f, dir, group)
	return f
}

// inGroup gives a function that vfio-pci has its IOMMU group, and the nodes by which a container uses it.
func inGroup(f files, dir string, group int) {
	address := dir[strings.LastIndexByte(dir, '/')+1:]
	f[dir+"/iommu_group"] = fmt.Sprintf("-> %skernel/iommu_groups/%d", strings.Repeat("../", strings.Count(dir, "/")), group)
	f[fmt.Sprintf("sys/kernel/iommu_groups/%d/name", group)] = ""
	f[fmt.Sprintf("sys/kernel/iommu_groups/%d/devices/%s", group, address)] = "-> ../../../../" + strings.TrimPrefix(dir, "sys/")
	f[fmt.Sprintf("sys/class/vfio/%d/dev", group)] = fmt.Sprintf("239:%d", group-firstGroup)
	f["sys/class/misc/vfio/dev"] = "10:196"
	f["dev/vfio/vfio"] = "c 10:196"
	f[fmt.Sprintf("dev/vfio/%d", group)] = fmt.Sprintf("c 239:%d", group-firstGroup)
}
