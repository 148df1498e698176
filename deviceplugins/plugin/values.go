package plugin

import (
	"bytes"
	"encoding/binary"
	"hash"
	"hash/fnv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// value is a file or folder whose content an audit compares: its path, closed by a zero byte.
type value []byte

func newValues(paths []string) []value {
	values := make([]value, len(paths))
	for i, p := range paths {
		values[i] = append([]byte(p), 0)
	}
	return values
}

// valueBytes is how much of a value counts; sysfs gives no more than a page.
const valueBytes = 4096

// mostReads bounds the reads of one folder: some thousand names.
const mostReads = 64

// fingerprint reads all values and gives a hash of what they say, errors included. buf has valueBytes.
//
// The system calls are made raw, without telling the Go scheduler: telling it wakes its monitor thread, which then looks
// about several times before it sleeps again, and those wake-ups, every 5 s and for ever, are most of what an idle
// process would cost its node. The price is that a read which blocks holds up a Go processor; the attributes of a device
// are copied from memory or registers and do not.
func fingerprint(values []value, buf []byte) uint64 {
	h := fnv.New64a()
	for _, v := range values {
		v.read(h, buf)
	}
	return h.Sum64()
}

// ask reads a query and gives what it said, of at most a page.
func (v value) ask(buf []byte) ([]byte, error) {
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, atFDCWD, uintptr(unsafe.Pointer(&v[0])),
		unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0, 0, 0)
	if errno != 0 {
		return nil, errno
	}
	n, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0) // it was only read
	if errno != 0 {
		return nil, errno
	}
	return buf[:n], nil
}

func (v value) read(h hash.Hash, buf []byte) {
	mark := [2]byte{0, 0}
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, atFDCWD, uintptr(unsafe.Pointer(&v[0])),
		unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0, 0, 0)
	if errno == 0 {
		var n uintptr
		n, _, errno = unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		switch errno {
		case 0:
			h.Write(buf[:n])
		case unix.EISDIR:
			errno = readNames(h, fd, buf)
		}
		_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0) // it was only read
	}
	mark[1] = byte(errno)
	h.Write(mark[:]) // also the end of the value
}

// atFDCWD as the kernel takes it: relative paths from the working folder. Ours are absolute.
const atFDCWD = ^uintptr(99) // -100

// direntHead is the part of struct linux_dirent64 before the name: inode, offset, length of the entry, type.
const direntHead = 8 + 8 + 2 + 1

// readNames writes the names in an open folder. The kernel gives them in one order for as long as nothing changes.
func readNames(h hash.Hash, fd uintptr, buf []byte) unix.Errno {
	for range mostReads {
		n, _, errno := unix.RawSyscall(unix.SYS_GETDENTS64, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		if errno != 0 || n == 0 {
			return errno
		}
		for rest := buf[:n]; len(rest) > direntHead; {
			size := int(binary.NativeEndian.Uint16(rest[16:]))
			if size <= direntHead || size > len(rest) {
				break
			}
			name, _, _ := bytes.Cut(rest[direntHead:size], []byte{0})
			h.Write(name)
			h.Write([]byte{0})
			rest = rest[size:]
		}
	}
	return 0
}
