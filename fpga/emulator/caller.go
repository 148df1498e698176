package emulator

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// caller is the thread whose system call waits; its /proc directory and memory are ours to read until it is answered.
type caller struct{ pid int }

func (c caller) proc(name string) string { return fmt.Sprintf("/proc/%d/%s", c.pid, name) }

// read copies memory of the caller; EFAULT if part of it cannot be read (also a file mapping beyond the file's end).
func (c caller) read(buf []byte, address uint64) error {
	return c.transfer(buf, address, unix.ProcessVMReadv)
}

// write copies buf into the caller's memory.
func (c caller) write(buf []byte, address uint64) error {
	return c.transfer(buf, address, unix.ProcessVMWritev)
}

func (c caller) transfer(buf []byte, address uint64, move func(int, []unix.Iovec, []unix.RemoteIovec, uint) (int, error)) error {
	for len(buf) > 0 {
		local := []unix.Iovec{{Base: &buf[0]}}
		local[0].SetLen(len(buf))
		remote := []unix.RemoteIovec{{Base: uintptr(address), Len: len(buf)}}
		n, err := move(c.pid, local, remote, 0)
		runtime.KeepAlive(buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.EFAULT
		}
		buf, address = buf[n:], address+uint64(n)
	}
	return nil
}

// readPath copies a path. It goes page by page, for the page behind the string's end may not be there.
func (c caller) readPath(address uint64) (string, error) {
	const page = 4096
	path := make([]byte, 0, 256)
	for len(path) < unix.PathMax {
		chunk := make([]byte, min(256, page-int(address%page)))
		if err := c.read(chunk, address); err != nil {
			return "", err
		}
		if end := bytes.IndexByte(chunk, 0); end >= 0 {
			return string(append(path, chunk[:end]...)), nil
		}
		path, address = append(path, chunk...), address+uint64(len(chunk))
	}
	return "", unix.ENAMETOOLONG
}

// resolve opens (O_PATH) what the caller's path leads to in the caller's root and mount namespace. Any error means that
// the kernel had better answer itself. extra may hold O_NOFOLLOW or O_DIRECTORY, how is openat2's resolve field.
func (c caller) resolve(dirFD int32, path string, extra int, how uint64) (int, error) {
	if path == "" {
		return -1, unix.ENOENT
	}
	if fd, ok := c.ownDescriptor(path); ok && how == 0 {
		return unix.Open(c.proc("fd/"+fd), unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	start := "cwd"
	if dirFD != unix.AT_FDCWD {
		start = "fd/" + strconv.Itoa(int(dirFD))
	}
	if how&(unix.RESOLVE_IN_ROOT|unix.RESOLVE_BENEATH) == 0 {
		absolute, err := c.absolute(start, path)
		if err != nil {
			return -1, err
		}
		start, path, how = "root", absolute, how|unix.RESOLVE_IN_ROOT
	}
	dir, err := unix.Open(c.proc(start), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return openat2(dir, path, &unix.OpenHow{Flags: uint64(unix.O_PATH | unix.O_CLOEXEC | extra), Resolve: how})
}

// absolute makes path absolute in the caller's own root. /proc shows the start directory from the top of the mount
// namespace, so a chroot has to be taken off.
func (c caller) absolute(start, path string) (string, error) {
	if strings.HasPrefix(path, "/") {
		return path, nil
	}
	base, err := os.Readlink(c.proc(start))
	if err != nil {
		return "", err
	}
	root, err := os.Readlink(c.proc("root"))
	if err != nil {
		return "", err
	}
	if root != "/" {
		rest, ok := strings.CutPrefix(base+"/", root+"/")
		if !ok {
			return "", unix.EXDEV // started outside its root
		}
		base = "/" + rest
	}
	return base + "/" + path, nil
}

// ownDescriptor recognises the ways to open again what an own descriptor refers to; they are links that only the
// process itself can follow.
func (c caller) ownDescriptor(path string) (string, bool) {
	for _, prefix := range []string{"/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/", "/proc/" + strconv.Itoa(c.pid) + "/fd/"} {
		if fd, ok := strings.CutPrefix(path, prefix); ok {
			_, err := strconv.ParseUint(fd, 10, 31)
			return fd, err == nil
		}
	}
	return "", false
}

// credentials are what the kernel checks a file's mode against.
type credentials struct {
	uid, gid uint32 // of the file system
	groups   []uint32
	override bool // CAP_DAC_OVERRIDE
	foreign  bool // in another user namespace: the capability counts only for ids mapped there
}

const capDACOverride = 1 // bit in CapEff

func (c caller) credentials() (credentials, error) {
	text, err := os.ReadFile(c.proc("status"))
	if err != nil {
		return credentials{}, err
	}
	cred, err := parseCredentials(string(text))
	if err != nil {
		return credentials{}, err
	}
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return credentials{}, err
	}
	theirs, err := os.Readlink(c.proc("ns/user"))
	if err != nil {
		return credentials{}, err
	}
	cred.foreign = own != theirs
	return cred, nil
}

func parseCredentials(status string) (credentials, error) {
	var cred credentials
	seen := 0
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		var err error
		switch key {
		case "Uid", "Gid": // real, effective, saved, file system
			if len(fields) != 4 {
				return cred, errors.New("status: " + key + " has not four ids")
			}
			var id uint64
			id, err = strconv.ParseUint(fields[3], 10, 32)
			if key == "Uid" {
				cred.uid = uint32(id)
			} else {
				cred.gid = uint32(id)
			}
			seen++
		case "Groups":
			for _, f := range fields {
				var id uint64
				if id, err = strconv.ParseUint(f, 10, 32); err != nil {
					break
				}
				cred.groups = append(cred.groups, uint32(id))
			}
			seen++
		case "CapEff":
			var caps uint64
			caps, err = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			cred.override = caps&(1<<capDACOverride) != 0
			seen++
		}
		if err != nil {
			return cred, fmt.Errorf("status: %s: %w", key, err)
		}
	}
	if seen != 4 {
		return cred, errors.New("status: ids are missing")
	}
	return cred, nil
}

// mayReadWrite is the kernel's rule for mode bits: the first class that fits decides.
func (cred credentials) mayReadWrite(mode, uid, gid uint32, mapped func(uid, gid uint32) bool) bool {
	const rw = 6
	class := mode & 7
	if cred.uid == uid {
		class = mode >> 6 & 7
	} else if cred.inGroup(gid) {
		class = mode >> 3 & 7
	}
	if class&rw == rw {
		return true
	}
	return cred.override && (!cred.foreign || mapped(uid, gid))
}

func (cred credentials) inGroup(gid uint32) bool {
	if cred.gid == gid {
		return true
	}
	for _, g := range cred.groups {
		if g == gid {
			return true
		}
	}
	return false
}

// maps tells whether both ids exist in the caller's user namespace.
func (c caller) maps(uid, gid uint32) bool {
	return idMapped(c.proc("uid_map"), uid) && idMapped(c.proc("gid_map"), gid)
}

// idMapped looks for our id in the second column (id outside) of a map file.
func idMapped(file string, id uint32) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && uint64(id) >= outside && uint64(id) < outside+count {
			return true
		}
	}
	return false
}
