package region

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Holder names the processes that have a node open, as far as this process may see: "process 4711 (nlb3)". It is for
// messages only.
func Holder(node string) string {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(procs) == 0 {
		return "another process"
	}
	self := os.Getpid()
	var found []string
	for _, proc := range procs {
		if proc == fmt.Sprintf("/proc/%d", self) || !hasOpen(proc, node) {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(proc, "comm"))
		found = append(found, fmt.Sprintf("process %s (%s)", filepath.Base(proc), strings.TrimSpace(string(comm))))
		if len(found) == 3 {
			break
		}
	}
	if len(found) == 0 {
		return "another process"
	}
	return strings.Join(found, ", ")
}

// hasOpen looks for a descriptor whose name ends in the node's path: a container's /dev is another folder under the
// same name.
func hasOpen(proc, node string) bool {
	dir := filepath.Join(proc, "fd")
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range fds {
		link, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if err == nil && strings.HasSuffix(strings.TrimSuffix(link, " (deleted)"), node) {
			return true
		}
	}
	return false
}
