package racktest

import (
	"fmt"
	"strings"
)

// device is all that a host has of one device.
func device(family string, i int) files {
	switch family {
	case "gpu":
		return gpu(i)
	case "npu":
		return npu(i)
	case "qat":
		return qat(i)
	case "dsa":
		return queue("dsa", "dsa", i/8, i, 235, "0x0b25", "80")
	case "iaa":
		return queue("iax", "iax", iaxNumber(i), i, 236, "0x0cfe", "90")
	case "dlb":
		return dlb(i)
	}
	return variant(family, i)
}

// most bounds the devices of a family.
const most = 1024

// others are the files that the i-th device has together with others of its family: a physical function, a driver's
// folder, a device of eight queues. They stay when it goes.
func others(family string, i int) map[string]bool {
	names := map[string]bool{}
	for j := max(0, i-16); j < min(most, i+16); j++ { // no more of them share anything but what all share
		if j == i {
			continue
		}
		for name := range device(family, j) {
			names[name] = true
		}
	}
	return names
}

// pci is the address of the i-th function on a bus that has 32 devices.
func pci(bus string, i int) string { return fmt.Sprintf("%04x:%s:%02x.0", i/32, bus, i%32) }

// function is a PCI function of Intel's with what sysfs says of each.
func function(f files, dir, id, class, driver string) string {
	address := dir[strings.LastIndexByte(dir, '/')+1:]
	up := strings.Repeat("../", strings.Count(dir, "/"))
	f[dir+"/vendor"], f[dir+"/device"], f[dir+"/class"] = "0x8086", id, class
	f[dir+"/numa_node"], f[dir+"/local_cpulist"] = "0", "0-27"
	f[dir+"/driver"] = "-> " + up + "bus/pci/drivers/" + driver
	f["sys/bus/pci/devices/"+address] = "-> ../../../" + strings.TrimPrefix(dir, "sys/")
	f["sys/bus/pci/drivers/"+driver+"/"+address] = "-> ../../../../" + strings.TrimPrefix(dir, "sys/")
	f["sys/bus/pci/drivers/"+driver+"/bind"], f["sys/bus/pci/drivers/"+driver+"/unbind"] = "", ""
	return address
}

func gpu(i int) files { return card("a0", "xe", "0x56c0", i, i) }

// card is the i-th GPU of a bus, with the number that the kernel gave it.
func card(bus, driver, id string, i, number int) files {
	f := files{}
	dir := fmt.Sprintf("sys/devices/pci0000:%s/%s", bus, pci(bus, i))
	address := function(f, dir, id, "0x038000", driver)
	for k, name := range []string{fmt.Sprintf("card%d", number), fmt.Sprintf("renderD%d", 128+number)} {
		minor := number + 128*k
		f["sys/class/drm/"+name] = "-> ../../" + strings.TrimPrefix(dir, "sys/") + "/drm/" + name
		f[fmt.Sprintf("%s/drm/%s/dev", dir, name)] = fmt.Sprintf("226:%d", minor)
		f[fmt.Sprintf("%s/drm/%s/device", dir, name)] = "-> ../../../" + address
		f[fmt.Sprintf("sys/dev/char/226:%d", minor)] = "-> ../../" + strings.TrimPrefix(dir, "sys/") + "/drm/" + name
		f["dev/dri/"+name] = fmt.Sprintf("c 226:%d", minor)
		f["dev/dri/by-path/pci-"+address+[]string{"-card", "-render"}[k]] = "-> ../" + name
	}
	return f
}

func npu(i int) files {
	f := files{}
	dir := "sys/devices/pci0000:a1/" + pci("a1", i)
	address := function(f, dir, "0x7d1d", "0x120000", "intel_vpu")
	name := fmt.Sprintf("accel%d", i)
	f["sys/class/accel/"+name] = "-> ../../" + strings.TrimPrefix(dir, "sys/") + "/accel/" + name
	f[dir+"/accel/"+name+"/dev"] = fmt.Sprintf("261:%d", i)
	f[dir+"/accel/"+name+"/device"] = "-> ../../../" + address
	f[fmt.Sprintf("sys/dev/char/261:%d", i)] = "-> ../../" + strings.TrimPrefix(dir, "sys/") + "/accel/" + name
	f["dev/accel/"+name] = fmt.Sprintf("c 261:%d", i)
	return f
}

// firstGroup is the first IOMMU group that a device of a rack is in.
const firstGroup = 300

// group is the IOMMU group of the i-th virtual function.
func group(i int) int { return firstGroup + i }

// qat is a virtual function; each 16 of them have a physical one.
func qat(i int) files { return virtual(qatBus(i), "sym;asym", i%16, group(i)) }

func qatBus(i int) string { return fmt.Sprintf("b%x", i/16) }

// virtualAddress is the address of the i-th virtual function of the QAT card of a bus, the first function of which is itself.
func virtualAddress(bus string, i int) string {
	return fmt.Sprintf("0000:%s:%02x.%d", bus, (i+1)/8, (i+1)%8)
}

// virtual is that function.
func virtual(bus, services string, i, group int) files {
	f := files{}
	root := "sys/devices/pci0000:" + bus
	pf := root + "/0000:" + bus + ":00.0"
	pfAddress := function(f, pf, "0x4940", "0x0b4000", "4xxx")
	f[pf+"/sriov_totalvfs"], f[pf+"/sriov_numvfs"] = "16", "16"
	f[pf+"/qat/state"], f[pf+"/qat/cfg_services"] = "up", services
	f[fmt.Sprintf("sys/kernel/debug/qat_4xxx_%s/heartbeat/status", pfAddress)] = "0"
	vf := root + "/" + virtualAddress(bus, i)
	address := function(f, vf, "0x4941", "0x0b4000", "vfio-pci")
	f[vf+"/physfn"] = "-> ../" + pfAddress
	f[fmt.Sprintf("%s/virtfn%d", pf, i)] = "-> ../" + address
	inGroup(f, vf, group)
	return f
}

// iaxNumber is the number of an IAA device: the kernel counts DSA and IAA together.
func iaxNumber(i int) int { return 101 + i/8 }

// queue is a dedicated user queue; each eight of them have a device.
func queue(prefix, folder string, number, i, major int, id, bus string) files {
	f := files{}
	dir := fmt.Sprintf("sys/devices/pci0000:%s/%s", bus, pci(bus, i/8))
	function(f, dir, id, "0x088000", "idxd")
	device := fmt.Sprintf("%s/%s%d", dir, prefix, number)
	f[fmt.Sprintf("sys/bus/dsa/devices/%s%d", prefix, number)] = "-> ../../../" + strings.TrimPrefix(device, "sys/")
	f[device+"/state"], f[device+"/pasid_enabled"], f[device+"/numa_node"] = "enabled", "1", "0"
	name := fmt.Sprintf("wq%d.%d", number, i%8)
	wq := device + "/" + name
	for attr, value := range map[string]string{
		"state": "enabled", "mode": "dedicated", "type": "user", "name": "app", "driver_name": "user", "cdev_minor": fmt.Sprint(i),
	} {
		f[wq+"/"+attr] = value
	}
	f["sys/bus/dsa/devices/"+name] = "-> ../../../" + strings.TrimPrefix(wq, "sys/")
	f[wq+"/"+prefix+"!"+name+"/dev"] = fmt.Sprintf("%d:%d", major, i)
	f[fmt.Sprintf("sys/dev/char/%d:%d", major, i)] = "-> ../../" + strings.TrimPrefix(wq, "sys/") + "/" + prefix + "!" + name
	f["dev/"+folder+"/"+name] = fmt.Sprintf("c %d:%d", major, i)
	f[fmt.Sprintf("dev/char/%d:%d", major, i)] = "-> ../" + folder + "/" + name
	return f
}

func dlb(i int) files {
	name := fmt.Sprintf("dlb%d", i)
	return files{
		"dev/" + name: fmt.Sprintf("c 240:%d", i),
		"sys/class/dlb2/" + name + "/device/sriov_numvfs": "0",
		"sys/class/dlb2/" + name + "/device/vendor":       "0x8086",
		"sys/class/dlb2/" + name + "/dev":                 fmt.Sprintf("240:%d", i),
	}
}
