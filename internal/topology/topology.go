package topology

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/internal/hostfs"
)

const devices = "/sys/devices/"

// OfNodes gives the NUMA nodes of a device by its nodes below /dev: ascending, without duplicates, empty where the
// hardware does not say. A node that does not exist or has no sysfs folder is an error.
func OfNodes(root *hostfs.Root, nodes ...string) ([]int, error) {
	var dirs []string
	for _, node := range nodes {
		dir, err := sysfsDir(root, node)
		if err != nil {
			return nil, fmt.Errorf("topology of %s: %w", node, err)
		}
		dirs = append(dirs, dir)
	}
	return OfDevices(root, dirs...)
}

// OfDevices is OfNodes for callers that know the sysfs folders (links are followed).
func OfDevices(root *hostfs.Root, dirs ...string) ([]int, error) {
	numa := []int{}
	for _, dir := range dirs {
		found, err := ofDevice(root, dir, 0)
		if err != nil {
			return nil, fmt.Errorf("topology of %s: %w", dir, err)
		}
		numa = append(numa, found...)
	}
	slices.Sort(numa)
	return slices.Compact(numa), nil
}

// Of is OfDevices for a device that has nodes too. A kernel's folders of devices are below /sys/devices, wherever links lead
// there from; in a tree made for tests the class may hold plain folders instead. Then the nodes' numbers say where the
// device is, if they can.
func Of(root *hostfs.Root, dir string, nodes ...string) ([]int, error) {
	if place, err := root.Resolve(dir); err == nil && !strings.HasPrefix(place, devices) {
		if numa, err := OfNodes(root, nodes...); err == nil {
			return numa, nil
		}
	}
	return OfDevices(root, dir)
}

// sysfsDir finds the sysfs folder of a device node.
func sysfsDir(root *hostfs.Root, node string) (string, error) {
	dev, err := root.Node(node)
	switch {
	case errors.Is(err, hostfs.ErrPlainNode):
		return plainNodeDir(root, node)
	case err != nil:
		return "", err
	case dev.Major == 0:
		return "", fmt.Errorf("device number %s is a virtual file system's", dev)
	}
	return root.Resolve("/sys/dev/char/" + dev.String())
}

// plainNodeDir serves trees made without root, where an ordinary file stands for the node: the class says which device
// has that name.
func plainNodeDir(root *hostfs.Root, node string) (string, error) {
	classes, err := root.ReadDir("/sys/class")
	if err != nil && !hostfs.Absent(err) {
		return "", err
	}
	for _, class := range classes {
		dir := "/sys/class/" + class + "/" + path.Base(node)
		if !root.Exists(dir + "/dev") {
			continue
		}
		place, err := root.Resolve(dir)
		if err == nil && !strings.HasPrefix(place, devices) { // a plain folder in the link's place
			if numbered, err := byNumber(root, dir+"/dev"); err == nil {
				return numbered, nil
			}
		}
		return place, err
	}
	numbers, err := root.ReadDir("/sys/dev/char")
	if err != nil && !hostfs.Absent(err) {
		return "", err
	}
	for _, number := range numbers {
		dir, err := root.Resolve("/sys/dev/char/" + number)
		if err == nil && path.Base(dir) == path.Base(node) {
			return dir, nil
		}
	}
	return "", errors.New("no device of this name in sysfs")
}

// byNumber is the sysfs folder of the device whose number a file has.
func byNumber(root *hostfs.Root, file string) (string, error) {
	text, err := root.ReadAttr(file)
	if err != nil {
		return "", err
	}
	dev, err := hostfs.ParseDev(text)
	if err != nil {
		return "", err
	}
	return root.Resolve("/sys/dev/char/" + dev.String())
}

// maxDepth bounds stacks of devices (a link of slaves that leads back to itself).
const maxDepth = 8

func ofDevice(root *hostfs.Root, dir string, depth int) ([]int, error) {
	if depth > maxDepth {
		return nil, errors.New("devices are stacked too deep")
	}
	dir, err := root.Resolve(dir)
	if err != nil {
		return nil, err
	}
	numa, _, err := walk(root, dir)
	if err != nil {
		return nil, err
	}
	// Block devices stand on others; a VFIO group is the devices of its IOMMU group, one that VFIO made for a machine
	// without IOMMU too. (IOMMUFD's node of a function is a device below that function, so it needs no rule.)
	below := []string{dir + "/slaves"}
	if group, ok := strings.CutPrefix(dir, devices+"virtual/vfio/"); ok && !strings.Contains(group, "/") {
		below = append(below, "/sys/kernel/iommu_groups/"+strings.TrimPrefix(group, "noiommu-")+"/devices")
	}
	for _, folder := range below {
		names, err := root.ReadDir(folder)
		if err != nil && !hostfs.Absent(err) {
			return nil, err
		}
		for _, name := range names {
			more, err := ofDevice(root, folder+"/"+name, depth+1)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			numa = append(numa, more...)
		}
	}
	return numa, nil
}

// walk goes up from dir while below /sys/devices/ and gives the NUMA nodes and the CPU list of the first folder that
// says anything.
func walk(root *hostfs.Root, dir string) (numa []int, cpus string, err error) {
	for ; strings.HasPrefix(dir, devices); dir = path.Dir(dir) {
		if cpus, err = attr(root, dir+"/local_cpulist"); err != nil {
			return nil, "", err
		}
		text, err := attr(root, dir+"/numa_node")
		if err != nil {
			return nil, "", err
		}
		if text == "-1" {
			text = ""
		}
		if text == "" && cpus == "" {
			continue
		}
		if numa, err = parseNodes(text); err != nil {
			return nil, "", fmt.Errorf("%s/numa_node: %w", dir, err)
		}
		if len(numa) > 0 && cpus == "" {
			// Some firmware puts the socket's number here, without CPUs. What a parent says goes before it; where
			// no parent has CPUs either, it counts as a socket's number and not as a node's.
			above, aboveCPUs, err := walk(root, path.Dir(dir))
			if err != nil {
				return nil, "", err
			}
			cpus = aboveCPUs
			if len(above) > 0 || cpus == "" {
				numa = above
			}
		}
		return numa, cpus, nil
	}
	return nil, "", nil
}

// attr reads a sysfs value; a missing one is empty.
func attr(root *hostfs.Root, file string) (string, error) {
	value, err := root.ReadAttr(file)
	if err != nil && hostfs.Absent(err) {
		return "", nil
	}
	return value, err
}

// parseNodes reads "1" or "1,2,3".
func parseNodes(text string) ([]int, error) {
	if text == "" {
		return nil, nil
	}
	var numa []int
	for _, field := range strings.Split(text, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(field), 10, 16)
		if err != nil {
			return nil, cmp.Or(errors.Unwrap(err), err)
		}
		numa = append(numa, int(n))
	}
	return numa, nil
}
