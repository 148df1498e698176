package region

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/hostfs"
)

// Holder names the processes that have a node open, as far as this process may see. It is for messages only.
func Holder(node string, dev hostfs.Dev) string {
	if found := Holders("/proc", node, dev); len(found) > 0 {
		return strings.Join(found, ", ")
	}
	return "another process"
}

// Holders gives up to three other processes that have a node open, as far as this process may see: "process 4711 (nlb3)".
// proc is where the host's /proc is found.
func Holders(proc, node string, dev hostfs.Dev) []string {
	procs, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	if err != nil {
		return nil
	}
	self := filepath.Join(proc, strconv.Itoa(os.Getpid()))
	var found []string
	for _, process := range procs {
		if process == self || !hasOpen(process, node, dev) {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(process, "comm"))
		found = append(found, fmt.Sprintf("process %s (%s)", filepath.Base(process), strings.TrimSpace(string(comm))))
		if len(found) == 3 {
			break
		}
	}
	return found
}

// hasOpen looks for a descriptor of the device. Names are looked at first, because they cost no look at the file: they
// end in the node's path in every container. What is a device must have the number too.
func hasOpen(proc, node string, dev hostfs.Dev) bool {
	dir := filepath.Join(proc, "fd")
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range fds {
		file := filepath.Join(dir, fd.Name())
		link, err := os.Readlink(file)
		if err != nil || !strings.HasSuffix(strings.TrimSuffix(link, " (deleted)"), node) {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(file, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
			return true // an emulated device is an ordinary file
		}
		if (hostfs.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}) == dev {
			return true
		}
	}
	return false
}
