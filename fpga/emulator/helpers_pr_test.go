package emulator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// helpPR programs: payload file, FME, port id, wanted errno (0 = none).
func helpPR(root string, args []string) error {
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	id, err := strconv.ParseUint(args[2], 10, 32)
	if err != nil {
		return err
	}
	want, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	var errno unix.Errno
	if err := pr(root, args[1], uint32(id), data); err != nil && !errors.As(err, &errno) {
		return err
	}
	return expect("PR", errno, unix.Errno(want))
}

// helpStatus expects the manager's status text after a PR that fails: payload file, text.
func helpStatus(root string, args []string) error {
	if err := helpPR(root, []string{args[0], "dfl-fme.0", "0", strconv.Itoa(int(unix.EIO))}); err != nil {
		return err
	}
	text, err := readTrimmed(filepath.Join(root, "sys/class/fpga_manager/fpga0/status"))
	if err != nil {
		return err
	}
	return expect("status", text, args[1])
}

func helpRelease(root string, _ []string) error {
	fme, err := openNode(root, "dfl-fme.0", 0)
	if err != nil {
		return err
	}
	id := []byte{1, 0, 0, 0}
	if err := ioctlBytes(fme, dflRelease, id); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	if err := ioctlBytes(fme, dflRelease, id); !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("release again: %v", err)
	}
	for _, path := range []string{"dev/dfl-port.1", "sys/dev/char/243:1", "sys/bus/platform/devices/dfl-port.1"} {
		if _, err := os.Lstat(filepath.Join(root, path)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is still there: %v", path, err)
		}
	}
	if err := ioctlBytes(fme, dflAssign, id); err != nil {
		return fmt.Errorf("assign: %w", err)
	}
	fd, err := openNode(root, "dfl-port.1", 0)
	if err != nil {
		return fmt.Errorf("open after assign: %w", err)
	}
	if _, err := os.Stat(filepath.Join(root, "sys/bus/platform/devices/dfl-port.1/afu_id")); err != nil {
		return err
	}
	_, err = mappedAFU(fd)
	return err
}

// helpMapped keeps the port mapped while it is programmed, and reads the new function in the old mapping.
func helpMapped(root string, args []string) error {
	port, err := openNode(root, "dfl-port.0", 0)
	if err != nil {
		return err
	}
	mem, err := unix.Mmap(port, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	header := binary.LittleEndian.Uint64(mem)
	if err := errors.Join(expect("before", guid(mem), nlb0), expect("type of the first feature", header>>60, 1), expect("end of list", header>>40&1, 1)); err != nil {
		return err
	}
	if err := helpPR(root, []string{args[0], "dfl-fme.0", "0", "0"}); err != nil {
		return err
	}
	return expect("after", guid(mem), nlb3)
}

// helpUnrelated opens a file of no interest for reading and writing, many times, and writes the median time of one: how many, result file.
func helpUnrelated(root string, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	path := filepath.Join(root, "run/some-file")
	took := make([]time.Duration, n)
	for i := range took {
		begin := time.Now()
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		unix.Close(fd)
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return os.WriteFile(args[1], []byte(strconv.FormatInt(took[n/2].Nanoseconds(), 10)), 0o644)
}

// helpDrop opens as somebody who is not root: wanted errno.
func helpDrop(root string, args []string) error {
	const nobody = 65534
	if err := errors.Join(unix.Setgroups(nil), unix.Setgid(nobody), unix.Setuid(nobody)); err != nil {
		return err
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var errno unix.Errno
	if _, err := openNode(root, "dfl-port.0", 0); err != nil && !errors.As(err, &errno) {
		return err
	}
	return expect("open as nobody", errno, unix.Errno(want))
}

// helpChroot opens a node in a mount namespace and root of its own, under another name.
func helpChroot(root string, _ []string) error {
	runtime.LockOSThread() // a mount namespace, and with it root and working directory, is a thread's own
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	jail := filepath.Join(root, "run/jail")
	if err := os.MkdirAll(jail, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("none", jail, "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := os.MkdirAll(jail+"/dev", 0o755); err != nil {
		return err
	}
	if err := unix.Mknod(jail+"/dev/card", unix.S_IFCHR|0o666, int(unix.Mkdev(dflPortMajor, 0))); err != nil {
		return err
	}
	if err := os.Symlink("/dev/card", jail+"/link"); err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot(jail), unix.Chdir("/dev")); err != nil {
		return err
	}
	for _, path := range []string{"/dev/card", "card", "../link", "/dev/../../dev/card"} {
		fd, err := unix.Open(path, unix.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if afu, err := mappedAFU(fd); err != nil || afu != nlb0 {
			return fmt.Errorf("%s: afu %s, %v", path, afu, err)
		}
		unix.Close(fd)
	}
	return nil
}

// helpRelative opens relative to the working directory and to a directory's descriptor.
func helpRelative(root string, _ []string) error {
	if err := os.Chdir(filepath.Join(root, "sys")); err != nil {
		return err
	}
	fd, err := unix.Open("../dev/dfl-port.0", unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	if afu, err := mappedAFU(fd); err != nil || afu != nlb0 {
		return fmt.Errorf("afu %s, %v", afu, err)
	}
	dir, err := unix.Open(root+"/dev", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	if fd, err = unix.Openat(dir, "dfl-port.0", unix.O_RDWR, 0); err != nil {
		return err
	}
	_, err = mappedAFU(fd)
	return err
}

// helpKilled kills a process in the middle of its PR: payload file. It then sees the PR go on to its end.
func helpKilled(root string, args []string) error {
	cmd, err := child(root, "pr", args[0], "dfl-fme.0", "0", "0")
	if err != nil {
		return err
	}
	file := filepath.Join(root, "sys/bus/platform/devices/dfl-port.0/afu_id")
	busy := func() bool {
		_, err := unix.Openat2(unix.AT_FDCWD, file, &unix.OpenHow{Flags: unix.O_RDONLY})
		return errors.Is(err, unix.EBUSY)
	}
	if err := eventually("afu_id busy", busy); err != nil {
		return err
	}
	if _, err := os.ReadFile(file); err == nil {
		return errors.New("afu_id could be read during the PR")
	}
	if _, err := os.Stat(file); err != nil {
		return err
	}
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	_ = cmd.Wait() // killed
	if !busy() {
		return errors.New("the PR ended with its caller")
	}
	// The next PR waits for it, and then finds the function loaded.
	if err := helpPR(root, []string{args[0], "dfl-fme.0", "1", "0"}); err != nil {
		return err
	}
	text, err := readTrimmed(file)
	return errors.Join(err, expect("after the PR", text, nlb3))
}

// helpStuck sees a port left in reset by a failed PR, and healed by one that succeeds: payload file, faults file.
func helpStuck(root string, args []string) error {
	if err := helpPR(root, []string{args[0], "dfl-fme.0", "0", strconv.Itoa(int(unix.EIO))}); err != nil {
		return err
	}
	file := filepath.Join(root, "sys/bus/platform/devices/dfl-port.0/afu_id")
	if _, err := unix.Openat2(unix.AT_FDCWD, file, &unix.OpenHow{Flags: unix.O_RDONLY}); !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("afu_id of a port in reset: %v", err)
	}
	if err := WriteFaults(args[1], nil); err != nil {
		return err
	}
	if err := helpPR(root, []string{args[0], "dfl-fme.0", "0", "0"}); err != nil {
		return err
	}
	text, err := readTrimmed(file)
	return errors.Join(err, expect("after the PR", text, nlb3))
}

// helpMeanwhile opens other files and the other port while a PR hangs, and then lets it end: payload file, faults file.
func helpMeanwhile(root string, args []string) error {
	cmd, err := child(root, "pr", args[0], "dfl-fme.0", "0", "0")
	if err != nil {
		return err
	}
	file := filepath.Join(root, "sys/bus/platform/devices/dfl-port.0/afu_id")
	busy := func() bool { _, err := os.ReadFile(file); return err != nil }
	if err := eventually("PR begun", busy); err != nil {
		return err
	}
	if err := helpUnrelated(root, []string{"100", filepath.Join(root, "run/ns")}); err != nil {
		return err
	}
	fd, err := openNode(root, "dfl-port.1", 0)
	if err != nil {
		return err
	}
	if _, err := mappedAFU(fd); err != nil {
		return err
	}
	if !busy() {
		return errors.New("the PR was over before the opens were")
	}
	if err := WriteFaults(args[1], nil); err != nil {
		return err
	}
	return cmd.Wait()
}

// helpConcurrent programs several ports at once: payload file, then fme/port for each.
func helpConcurrent(root string, args []string) error {
	var children []*exec.Cmd
	for _, target := range args[1:] {
		fme, port, _ := strings.Cut(target, "/")
		cmd, err := child(root, "pr", args[0], fme, port, "0")
		if err != nil {
			return err
		}
		children = append(children, cmd)
	}
	var errs []error
	for _, c := range children {
		errs = append(errs, c.Wait())
	}
	return errors.Join(errs...)
}

// helpGone tells over stdin what it is to expect of the port that it keeps open: "there", "absent" or "dead".
func helpGone(root string, _ []string) error {
	port, err := openNode(root, "dfl-port.0", 0)
	if err != nil {
		return err
	}
	mem, err := unix.Mmap(port, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	_, err = ioctl(port, dflGetAPIVersion, 0)
	if err != nil {
		return err
	}
	word, err := io.ReadAll(io.LimitReader(os.Stdin, 16))
	if err != nil {
		return err
	}
	_, err = ioctl(port, dflGetAPIVersion, 0)
	switch string(bytes.TrimSpace(word)) {
	case "absent":
		if !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("ioctl on a device that is gone: %v", err)
		}
		if _, err := openNode(root, "dfl-port.0", 0); err == nil {
			return errors.New("opened a device that is gone")
		}
		return nil
	case "dead":
		return errors.Join(err, expect("registers of a dead card", guid(mem), allOnes))
	}
	return fmt.Errorf("stdin says %q", word)
}

// helpWait ends with exit code 3 when it gets SIGTERM.
func helpWait(root string, _ []string) error {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGTERM)
	if err := os.WriteFile(filepath.Join(root, "run/waiting"), nil, 0o644); err != nil {
		return err
	}
	<-ch
	os.Exit(3)
	return nil
}

// helpOrphan leaves a process behind that programs after this one has ended: payload file.
func helpOrphan(root string, args []string) error {
	if len(args) == 2 {
		for os.Getppid() == must(strconv.Atoi(args[1])) {
			time.Sleep(time.Millisecond)
		}
		return helpPR(root, []string{args[0], "dfl-fme.0", "0", "0"})
	}
	_, err := child(root, "orphan", args[0], strconv.Itoa(os.Getpid()))
	return err
}

func must(n int, err error) int {
	if err != nil {
		panic(err)
	}
	return n
}
