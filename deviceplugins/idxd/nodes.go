package idxd

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
)

const charFolder = "/dev/char"

// queueNodes checks both paths of a queue's node and gives them; major is known as soon as the node is there, and 0
// before. The kernel makes the node while it enables the queue; udev makes the companion link a moment later.
func queueNodes(root *hostfs.Root, kind Kind, d device, q queue) (nodes []plugin.Node, major uint32, err error) {
	node := "/dev/" + kind.facts().prefix + "/" + q.name
	dev, err := queueNumber(root, kind, node, d, q)
	if err != nil {
		return nil, dev.Major, err
	}
	companion := charFolder + "/" + dev.String()
	place, err := root.Resolve(node)
	if err != nil {
		return nil, dev.Major, unreadable("its node "+node, err)
	}
	target, err := root.Resolve(companion)
	switch {
	case err != nil && hostfs.Absent(err):
		return nil, dev.Major, udev("its companion link %s is missing or leads nowhere", companion)
	case err != nil:
		return nil, dev.Major, unreadable("its companion link "+companion, err)
	case target != place:
		return nil, dev.Major, udev("its companion link %s leads to %s, not to %s", companion, target, node)
	}
	return []plugin.Node{
		{HostPath: node, ContainerPath: node, Permissions: "rw"},
		{HostPath: companion, ContainerPath: companion, Permissions: "rw"},
	}, dev.Major, nil
}

// udev is an error that udev would mend.
func udev(format string, args ...any) error {
	return &vfio.Obstacle{
		Reason: fmt.Sprintf(format, args...),
		Remedy: "udevadm trigger --action=add --subsystem-match=" + subsystem + " && udevadm settle; the plugin must see the host's /dev",
	}
}

// queueNumber is the device number of a queue, for which its node and sysfs must agree. An error may come with a number.
func queueNumber(root *hostfs.Root, kind Kind, node string, d device, q queue) (hostfs.Dev, error) {
	shown, known, err := sysfsNumber(root, kind, d, q)
	if err != nil {
		return hostfs.Dev{}, err
	}
	dev, err := root.Node(node)
	switch {
	case errors.Is(err, hostfs.ErrPlainNode) && known:
		return shown, nil
	case errors.Is(err, hostfs.ErrPlainNode):
		return linkedNumber(root, node)
	case err != nil && hostfs.Absent(err):
		return shown, udev("its node %s is missing", node)
	case errors.Is(err, fs.ErrPermission):
		return shown, unreadable("its node "+node, err)
	case err != nil:
		return shown, fmt.Errorf("its node %s is no character device", node)
	case known && dev != shown:
		return shown, udev("its node %s is %s, sysfs says %s", node, dev, shown)
	}
	return dev, nil
}

// sysfsNumber is what sysfs shows as a queue's device number: in the node's own folder, which is called after the node's
// path with an exclamation mark for the slash, or as two attributes of device and queue. In a tree made for tests the
// queue's own folder may have it. Unknown is no error.
func sysfsNumber(root *hostfs.Root, kind Kind, d device, q queue) (dev hostfs.Dev, known bool, err error) {
	text, err := root.ReadAttr(q.dir + "/" + kind.facts().prefix + "!" + q.name + "/dev")
	if err != nil && hostfs.Absent(err) {
		text, err = root.ReadAttr(q.dir + "/dev")
	}
	if err != nil && hostfs.Absent(err) {
		// No such folder in a tree made for tests, or no node at all: then the attributes say ENXIO.
		if text, known = attributeNumber(root, d, q); !known {
			return hostfs.Dev{}, false, nil
		}
		err = nil
	}
	if err != nil {
		return hostfs.Dev{}, false, unreadable("its device number", err)
	}
	if dev, err = hostfs.ParseDev(text); err != nil {
		return hostfs.Dev{}, false, fmt.Errorf("its device number in sysfs: %w", err)
	}
	return dev, true, nil
}

// attributeNumber puts a number together from cdev_major of the device and cdev_minor of the queue.
func attributeNumber(root *hostfs.Root, d device, q queue) (number string, known bool) {
	major, errMajor := root.ReadAttr(d.dir + "/cdev_major")
	minor, errMinor := root.ReadAttr(q.dir + "/cdev_minor")
	return major + ":" + minor, errMajor == nil && errMinor == nil
}

// linkedNumber serves trees made for tests, where a plain file stands for the node and sysfs does not show a number: the
// companion link has it in its name.
func linkedNumber(root *hostfs.Root, node string) (hostfs.Dev, error) {
	place, err := root.Resolve(node)
	if err != nil {
		return hostfs.Dev{}, unreadable("its node "+node, err)
	}
	names, err := root.ReadDir(charFolder)
	if err != nil && !hostfs.Absent(err) {
		return hostfs.Dev{}, unreadable(charFolder, err)
	}
	for _, name := range names {
		dev, err := hostfs.ParseDev(name)
		if err != nil {
			continue
		}
		if target, err := root.Resolve(charFolder + "/" + name); err == nil && target == place {
			return dev, nil
		}
	}
	return hostfs.Dev{}, udev("no companion link below %s leads to its node %s", charFolder, node)
}
