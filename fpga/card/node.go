package card

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/hostfs"
)

// OpenNode opens a device node read-write, with further O_ flags, and checks that it is the device that sysfs named. O_EXCL keeps everybody
// else out of it as long as it is open.
func OpenNode(root *hostfs.Root, node string, dev hostfs.Dev, flags int) (*os.File, error) {
	f, err := os.OpenFile(root.Join(node), os.O_RDWR|flags, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	got := hostfs.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && got != dev {
		f.Close()
		return nil, fmt.Errorf("node %s is %s, sysfs says %s", f.Name(), got, dev)
	}
	return f, nil
}
