package integration

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeHostDev makes a folder that can stand for a host's /dev: the nodes that runtimes and
// containers need, and those of the emulated cards.
func (n *Node) makeHostDev() (dir string) {
	n.t.Helper()
	dir = n.path("dev")
	for _, d := range []string{dir, dir + "/pts", dir + "/shm", dir + "/mqueue"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	var errs []error
	for _, link := range [][2]string{{"/proc/self/fd", "fd"}, {"fd/0", "stdin"}, {"fd/1", "stdout"}, {"fd/2", "stderr"}} {
		errs = append(errs, os.Symlink(link[0], filepath.Join(dir, link[1])))
	}
	nodes := []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}
	cards, err := filepath.Glob(n.HostPath("dev/*-*.*"))
	errs = append(errs, err)
	for _, from := range append(nodes, cards...) {
		var st unix.Stat_t
		if err := unix.Stat(from, &st); err != nil {
			errs = append(errs, err)
			continue
		}
		to := filepath.Join(dir, filepath.Base(from))
		errs = append(errs, unix.Mknod(to, st.Mode, int(st.Rdev)), os.Chmod(to, os.FileMode(st.Mode&0o777)))
	}
	if err := errors.Join(errs...); err != nil {
		n.t.Fatal(err)
	}
	return dir
}
