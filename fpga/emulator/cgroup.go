package emulator

import (
	"os"
	"path/filepath"
	"strings"
)

// deviceAllowed is the device cgroup's word on opening a character device for reading and writing, where cgroup v1
// keeps it in a file. Under v2 it is a BPF program which only the kernel can ask, and everything is allowed.
func (c caller) deviceAllowed(dev devNumber) bool {
	text, err := os.ReadFile(c.proc("cgroup"))
	if err != nil {
		return true
	}
	group, ok := devicesCgroup(string(text))
	if !ok {
		return true
	}
	list, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/devices", group, "devices.list"))
	if err != nil {
		return true
	}
	return deviceListed(string(list), dev)
}

// devicesCgroup finds the path of the devices controller in /proc/PID/cgroup.
func devicesCgroup(text string) (string, bool) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(fields[1], ",") {
			if controller == "devices" {
				return fields[2], true
			}
		}
	}
	return "", false
}

// deviceListed looks for a line of devices.list, like "c 243:* rwm", that allows to read and write dev.
func deviceListed(list string, dev devNumber) bool {
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "a" && f[0] != "c" || !strings.Contains(f[2], "r") || !strings.Contains(f[2], "w") {
			continue
		}
		want := strings.Split(dev.String(), ":")
		have := strings.Split(f[1], ":")
		if len(have) == 2 && (have[0] == "*" || have[0] == want[0]) && (have[1] == "*" || have[1] == want[1]) {
			return true
		}
	}
	return false
}
