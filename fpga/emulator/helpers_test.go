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
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// helpers are the programs that run as COMMAND; each gets the host tree and says what was not as it should be.
var helpers = map[string]func(root string, args []string) error{
	"nothing":    func(string, []string) error { return nil },
	"dfl":        helpDFL,
	"opae":       helpOPAE,
	"opens":      helpOpens,
	"pr":         helpPR,
	"status":     helpStatus,
	"release":    helpRelease,
	"mapped":     helpMapped,
	"unrelated":  helpUnrelated,
	"drop":       helpDrop,
	"chroot":     helpChroot,
	"relative":   helpRelative,
	"killed":     helpKilled,
	"concurrent": helpConcurrent,
	"gone":       helpGone,
	"wait":       helpWait,
	"late":       helpLate,
	"open":       helpOpen,
	"hold":       helpHold,
	"namespace":  helpNamespace,
	"cgroup":     helpCgroup,
	"shrunk":     helpShrunk,
	"stuck":      helpStuck,
	"meanwhile":  helpMeanwhile,
	"orphan":     helpOrphan,
}

// child starts this program again as another helper, under the same emulator.
func child(root, helper string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), helperVariable+"="+helper, treeVariable+"="+root)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd, cmd.Start()
}

// helpDFL makes every call of the DFL ABI once with good and once with bad arguments.
func helpDFL(root string, _ []string) error {
	fme, err := openNode(root, "dfl-fme.0", 0)
	if err != nil {
		return err
	}
	port, err := openNode(root, "dfl-port.0", unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	short := func(size int) []byte {
		s := make([]byte, size)
		binary.LittleEndian.PutUint32(s, uint32(size-1))
		return s
	}
	full := func(size int) []byte {
		s := make([]byte, size)
		binary.LittleEndian.PutUint32(s, uint32(size))
		return s
	}
	with := func(s []byte, at int, v uint32) []byte { binary.LittleEndian.PutUint32(s[at:], v); return s }
	data := []byte{1}
	for _, c := range []struct {
		name    string
		fd      int
		request uint32
		arg     []byte
		want    error
	}{
		{"port info", port, dflPortInfo, full(16), nil},
		{"port info, short", port, dflPortInfo, short(16), unix.EINVAL},
		{"region info", port, dflRegionInfo, full(32), nil},
		{"region info, no such region", port, dflRegionInfo, with(full(32), 8, 1), unix.EINVAL},
		{"region info, padding", port, dflRegionInfo, with(full(32), 12, 1), unix.EINVAL},
		{"irq number", port, dflErrIRQNum, full(4), nil},
		{"irq set", port, dflErrSetIRQ, full(8), unix.EINVAL},
		{"reset with argument", port, dflPortReset, full(4), unix.EINVAL},
		{"unknown request", port, 0xb67f, full(4), unix.EINVAL},
		{"OPAE's request", port, opaePortInfo, full(24), unix.EINVAL},
		{"port request on FME", fme, dflPortInfo, full(16), unix.EINVAL},
		{"FME request on port", port, dflPR, prArgument(24, 0, data), unix.EINVAL},
		{"PR, short", fme, dflPR, with(prArgument(24, 0, data), 0, 23), unix.EINVAL},
		{"PR, flags", fme, dflPR, with(prArgument(24, 0, data), 4, 1), unix.EINVAL},
		{"PR, no such port", fme, dflPR, prArgument(24, 7, data), unix.EINVAL},
		{"PR, nothing", fme, dflPR, with(prArgument(24, 0, data), 12, 0), unix.ENOMEM},
		{"PR, bad buffer", fme, dflPR, with(prArgument(24, 0, data), 20, 0x7fff0000), unix.EFAULT},
		{"PR, unknown payload", fme, dflPR, prArgument(24, 0, data), unix.EIO},
		{"release, no such port", fme, dflRelease, []byte{9, 0, 0, 0}, unix.ENODEV},
		{"release, open", fme, dflRelease, []byte{0, 0, 0, 0}, unix.EBUSY},
		{"assign, not released", fme, dflAssign, []byte{0, 0, 0, 0}, unix.EBUSY},
	} {
		if err := ioctlBytes(c.fd, c.request, c.arg); !errors.Is(err, c.want) {
			return fmt.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := ioctl(port, dflPortInfo, 8); !errors.Is(err, unix.EFAULT) {
		return fmt.Errorf("port info at a bad address: %v", err)
	}
	for _, request := range []uint32{dflGetAPIVersion, dflCheckExtension} {
		if v, err := ioctl(fme, request, 0); err != nil || v != 0 {
			return fmt.Errorf("request %#x: %d, %v", request, v, err)
		}
	}
	info, region := full(16), full(32)
	if err := errors.Join(ioctlBytes(port, dflPortInfo, info), ioctlBytes(port, dflRegionInfo, region)); err != nil {
		return err
	}
	return errors.Join(
		expect("regions", binary.LittleEndian.Uint32(info[8:]), 1),
		expect("region flags", binary.LittleEndian.Uint32(region[4:]), 7),
		expect("region size", binary.LittleEndian.Uint64(region[16:]), regionSize),
		expect("region offset", binary.LittleEndian.Uint64(region[24:]), 0),
	)
}

// helpOPAE reads a payload from stdin and programs the only port.
func helpOPAE(root string, args []string) error {
	want, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	fme, err := openNode(root, "intel-fpga-fme.0", 0)
	if err != nil {
		return err
	}
	port, err := openNode(root, "intel-fpga-port.0", 0)
	if err != nil {
		return err
	}
	info := make([]byte, 24)
	info[0] = 24
	fmeInfo := make([]byte, 12)
	fmeInfo[0] = 12
	arg := prArgument(opaePRSize, 0, data)
	binary.LittleEndian.PutUint64(arg[24:], 0x5555)
	err = ioctlBytes(fme, opaePR, arg)
	if status := binary.LittleEndian.Uint64(arg[24:]); status != want || (err == nil) != (want == 0) {
		return fmt.Errorf("PR: status %#x, want %#x, error %v", status, want, err)
	}
	if err := errors.Join(ioctlBytes(port, opaePortInfo, info), ioctlBytes(fme, opaeFMEInfo, fmeInfo)); err != nil {
		return err
	}
	release := make([]byte, 12)
	release[0] = 12
	if err := ioctlBytes(fme, opaeRelease, release); !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("release of an open port: %v", err)
	}
	return expect("regions", binary.LittleEndian.Uint32(info[12:]), 1)
}

// helpOpens goes through the rules of opening and closing.
func helpOpens(root string, _ []string) error {
	const scratch = 0x100
	node := "dfl-port.0"
	first, err := openNode(root, node, 0)
	if err != nil {
		return err
	}
	if flags, _ := unix.FcntlInt(uintptr(first), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
		return errors.New("O_CLOEXEC was lost")
	}
	second, err := openNode(root, node, 0)
	if err != nil {
		return fmt.Errorf("shared open: %w", err)
	}
	if _, err := openNode(root, node, unix.O_EXCL); !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("O_EXCL beside others: %v", err)
	}
	mem, err := unix.Mmap(first, 0, regionSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	mem[scratch] = 42
	unix.Close(first)
	unix.Close(second)
	// The mapping alone keeps it open.
	if _, err := openNode(root, node, unix.O_EXCL); !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("O_EXCL beside a mapping: %v", err)
	}
	third, err := openNode(root, node, 0)
	if err != nil {
		return err
	}
	if mem[scratch] != 42 {
		return errors.New("reset although it was open all the time")
	}
	if err := unix.Munmap(mem); err != nil {
		return err
	}
	// So does a duplicate.
	duplicate, err := unix.Dup(third)
	if err != nil {
		return err
	}
	unix.Close(third)
	if _, err := openNode(root, node, unix.O_EXCL); !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("O_EXCL beside a duplicate: %v", err)
	}
	unix.Close(duplicate)
	for range 100 { // the last close counts at once
		fd, err := openNode(root, node, unix.O_EXCL)
		if err != nil {
			return fmt.Errorf("O_EXCL alone: %w", err)
		}
		if _, err := openNode(root, node, 0); !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("open beside O_EXCL: %v", err)
		}
		mem, err := unix.Mmap(fd, 0, regionSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		if mem[scratch] != 0 {
			return errors.New("not reset at the last close")
		}
		mem[scratch] = 42
		if _, err := ioctl(fd, dflPortReset, 0); err != nil {
			return err
		}
		if mem[scratch] != 0 {
			return errors.New("not reset by PORT_RESET")
		}
		mem[scratch] = 42
		if err := unix.Munmap(mem); err != nil {
			return err
		}
		unix.Close(fd)
	}
	return openedAgain(root, node)
}

// openedAgain opens through the other doors: openat2 below the root, and an own O_PATH descriptor.
func openedAgain(root, node string) error {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	fd, err := unix.Openat2(dir, "/dev/"+node, &unix.OpenHow{Flags: unix.O_RDWR | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return fmt.Errorf("openat2: %w", err)
	}
	afu, err := mappedAFU(fd)
	if err != nil {
		return fmt.Errorf("openat2: %w", err)
	}
	unix.Close(fd)
	path, err := unix.Open(filepath.Join(root, "dev", node), unix.O_PATH, 0)
	if err != nil {
		return err
	}
	if fd, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", path), unix.O_RDWR, 0); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	again, err := mappedAFU(fd)
	if err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	return errors.Join(expect("afu", afu, nlb0), expect("afu again", again, nlb0))
}

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

// helpUnrelated opens a file of no interest for reading and writing, many times, and prints the time of one.
func helpUnrelated(root string, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	path := filepath.Join(root, "run/some-file")
	begin := time.Now()
	for range n {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	return os.WriteFile(args[1], []byte(strconv.FormatInt(time.Since(begin).Nanoseconds()/int64(n), 10)), 0o644)
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

// helpMeanwhile opens other files and the other port while a PR is under way: payload file.
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
