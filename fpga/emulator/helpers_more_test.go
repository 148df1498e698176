package emulator

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// helpOpen opens port 0: flags, wanted errno.
func helpOpen(root string, args []string) error {
	flags, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	want, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var errno unix.Errno
	if flags == unix.O_EXCL && want == 0 {
		_, err = openAlone(root, "dfl-port.0")
	} else {
		_, err = openNode(root, "dfl-port.0", flags)
	}
	if err != nil && !errors.As(err, &errno) {
		return err
	}
	return expect("open", errno, unix.Errno(want))
}

// helpHold has port 0 open alone, and says so, until stdin ends.
func helpHold(root string, _ []string) error {
	if _, err := openNode(root, "dfl-port.0", unix.O_EXCL); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "run/holding"), nil, 0o644); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// helpNamespace opens port 0 as root of a user namespace that knows no id of the host's root: wanted errno.
func helpNamespace(root string, args []string) error {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 1000}}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"namespace", "0", args[0]},
		Env:    append(os.Environ(), helperVariable+"=open", treeVariable+"="+root),
		Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Credential: &syscall.Credential{},
		},
	}
	return cmd.Run()
}

// helpCgroup opens port 0 in a device cgroup that first allows nothing and then the port.
func helpCgroup(root string, args []string) error {
	group := args[0]
	write := func(file, text string) error {
		return os.WriteFile(filepath.Join(group, file), []byte(text), 0o644)
	}
	if err := errors.Join(write("devices.deny", "a"), write("cgroup.procs", strconv.Itoa(os.Getpid()))); err != nil {
		return err
	}
	if _, err := openNode(root, "dfl-port.0", 0); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("open in a cgroup that allows nothing: %v", err)
	}
	if err := write("devices.allow", "c "+strconv.Itoa(dflPortMajor)+":* rwm"); err != nil {
		return err
	}
	_, err := openNode(root, "dfl-port.0", 0)
	return err
}

// helpShrunk programs from a mapped file that lost its end meanwhile.
func helpShrunk(root string, _ []string) error {
	f, err := os.Create(filepath.Join(root, "run/bitstream"))
	if err != nil {
		return err
	}
	const size = 3 << 20
	if err := f.Truncate(size); err != nil {
		return err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if err := f.Truncate(size / 2); err != nil {
		return err
	}
	if err := pr(root, "dfl-fme.0", 0, data); !errors.Is(err, unix.EFAULT) {
		return fmt.Errorf("PR from a file that shrank: %v", err)
	}
	return nil
}

// helpLate opens a port that was not there when the emulator started; stdin ends when it is.
func helpLate(root string, _ []string) error {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	fd, err := openNode(root, "dfl-port.0", 0)
	if err != nil {
		return err
	}
	afu, err := mappedAFU(fd)
	return errors.Join(err, expect("afu", afu, nlb0))
}

// helpBusy opens port 0 and asks it something from many threads at once, over and over.
func helpBusy(root string, args []string) error {
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	const threads = 16
	failed := make(chan error, threads)
	for range threads {
		go func() {
			for range rounds {
				if err := askRegion(root); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range threads {
		err = errors.Join(err, <-failed)
	}
	return err
}

func askRegion(root string) error {
	fd, err := openNode(root, "dfl-port.0", 0)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer unix.Close(fd)
	s := make([]byte, regionInfoSize)
	s[0] = regionInfoSize
	if err := ioctlBytes(fd, dflRegionInfo, s); err != nil {
		return fmt.Errorf("region info: %w", err)
	}
	return nil
}
