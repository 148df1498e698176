package hostfs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrPlainNode says that a device node is an ordinary file, as in a tree made without root: its numbers are those of
// the sysfs file dev.
var ErrPlainNode = errors.New("a plain file stands for the node")

// Dev is a device number.
type Dev struct{ Major, Minor uint32 }

func (d Dev) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// ParseDev reads the form of the sysfs file dev, "243:0".
func ParseDev(s string) (Dev, error) {
	major, minor, ok := strings.Cut(strings.TrimSpace(s), ":")
	a, errA := strconv.ParseUint(major, 10, 32)
	b, errB := strconv.ParseUint(minor, 10, 32)
	if !ok || errA != nil || errB != nil {
		return Dev{}, fmt.Errorf("device number %.40q is not major:minor", s)
	}
	return Dev{Major: uint32(a), Minor: uint32(b)}, nil
}

// Node gives the numbers of a character device. An ordinary file gives ErrPlainNode, anything else an error.
func (r *Root) Node(hostPath string) (Dev, error) {
	st, err := r.stat(hostPath)
	if err != nil {
		return Dev{}, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}, nil
	case unix.S_IFREG:
		return Dev{}, ErrPlainNode
	}
	return Dev{}, fmt.Errorf("%s is not a character device", r.Join(hostPath))
}

// Owner is what decides who may open a node: its owner, its group and its permission bits.
type Owner struct {
	UID, GID uint32
	Mode     uint32
}

// Owner reads a node's owner and permission bits.
func (r *Root) Owner(hostPath string) (Owner, error) {
	st, err := r.stat(hostPath)
	if err != nil {
		return Owner{}, err
	}
	return Owner{UID: st.Uid, GID: st.Gid, Mode: st.Mode & 0o777}, nil
}

func (r *Root) stat(hostPath string) (unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := r.open(hostPath, unix.O_PATH)
	if err != nil {
		return st, err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return st, r.fail("stat", hostPath, err)
	}
	return st, nil
}

// CheckNode compares a node with the number that sysfs gives for it: nil if the node has it or is a plain file that
// stands for one.
func (r *Root) CheckNode(hostPath string, want Dev) error {
	got, err := r.Node(hostPath)
	switch {
	case errors.Is(err, ErrPlainNode):
		return nil
	case err != nil:
		return err
	case got != want:
		return fmt.Errorf("node %s is %s, sysfs says %s", r.Join(hostPath), got, want)
	}
	return nil
}
