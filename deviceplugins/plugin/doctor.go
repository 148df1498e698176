package plugin

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Diagnoser is a Family that can say why it offers nothing, or less than there is.
type Diagnoser interface {
	// Diagnose looks at the host once and writes nothing. No finding means that nothing is amiss, which includes a
	// host without any device of the kind.
	Diagnose(ctx context.Context) []Finding
}

// Finding is one reason why devices are not offered, for a person at a terminal.
type Finding struct {
	// Path is where it was seen on the host: a device, a module, a folder.
	Path string `json:"path"`
	// Reason is what is wrong, in words: "2 of 16 VFs are bound to 4xxxvf, not to vfio-pci".
	Reason string `json:"reason"`
	// Remedy is the command or setting that would help: "modprobe idxd". Empty where nothing can be done on the host.
	Remedy string `json:"remedy,omitempty"`
}

// Remedy is what helps against a reason for which a family has no command of its own: a read that was refused, a node that
// is not there or is another device's, a device that cannot be read. subsystem is the kernel's, for whose devices udev
// makes the nodes: "drm". Without it only the first is known.
func Remedy(reason, subsystem string) string {
	trigger := "udevadm trigger --subsystem-match=" + subsystem
	switch {
	case says(reason, unix.EACCES.Error(), unix.EPERM.Error()):
		return "run inlay-deviceplugin as root, with the host's /sys and /dev"
	case subsystem == "":
		return ""
	case says(reason, "not a character device", "no character device"):
		return "take away what is in the place of the node, then: " + trigger
	case slices.ContainsFunc(strings.Fields(reason), func(word string) bool { return word == "node" || word == "nodes" }):
		return trigger + ", and see that the host's /dev is visible to this process"
	}
	return "look again, for a device that comes or goes reads like this for a moment; if it stays: dmesg"
}

func says(reason string, phrases ...string) bool {
	return slices.ContainsFunc(phrases, func(phrase string) bool { return strings.Contains(reason, phrase) })
}
