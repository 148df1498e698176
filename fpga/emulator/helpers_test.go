package emulator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

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
	"busy":       helpBusy,
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
	for range 100 { // the last close counts
		fd, err := openAlone(root, node)
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
