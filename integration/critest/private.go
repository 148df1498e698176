package critest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv marks the process that Inside starts.
const insideEnv = "INLAY_CRITEST_INSIDE"

// Again runs this program once more with the same arguments, in namespaces of its own:
// network, mounts, IPC and host name. The result is its exit code. Where the process is
// in them already done is false, and it has to go on itself, with Prepare.
func Again(ctx context.Context) (code int, done bool, err error) {
	if os.Getenv(insideEnv) != "" {
		return 0, false, nil
	}
	for _, dir := range cniState {
		// An empty folder stays: taking it away would take it from another run at the same time.
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return 0, true, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 0, true, err
	}
	cmd := exec.Command(self, os.Args[1:]...) // not of the context: waitFor collects it
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:    syscall.SIGKILL,
	}
	// Whatever it leaves behind when it dies becomes our child, and is ended.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, true, err
	}
	runtime.LockOSThread() // the death signal is sent when the thread ends that started it
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, true, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	status, err := waitFor(cmd.Process.Pid)
	endChildren()
	switch {
	case err != nil:
		return 0, true, err
	case !status.Exited():
		return 0, true, fmt.Errorf("the run in namespaces of its own was ended by signal %v", status.Signal())
	}
	return status.ExitStatus(), true, nil
}

// waitFor collects all children until one of them is the wanted one. The others are orphans of the runtimes, and an init
// would collect them too: a PID namespace does not end while one of its processes waits for that, and with it a sandbox.
func waitFor(wanted int) (syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return status, fmt.Errorf("wait for the run in namespaces of its own: %w", err)
		case pid == wanted:
			return status, nil
		}
	}
}

// endChildren kills the children of this process, and theirs, which become ours.
func endChildren() {
	for {
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, file := range stats {
			data, _ := os.ReadFile(file) // empty: it has ended
			_, rest, _ := strings.Cut(string(data), ") ")
			if fields := strings.Fields(rest); len(fields) < 2 || fields[1] != strconv.Itoa(os.Getpid()) {
				continue
			}
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if _, err := syscall.Wait4(-1, nil, 0, nil); errors.Is(err, syscall.ECHILD) {
			return
		}
	}
}

// cniState are folders in which CNI keeps what it knows of pods; they cannot be chosen.
// Prepare hides them behind empty ones.
var cniState = [...]string{"/var/lib/cni", "/run/netns"}

// Prepare furnishes the namespaces: the loopback interface is up, packets are forwarded,
// and what CNI writes is unseen outside.
func Prepare() error {
	for _, dir := range cniState {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("a private %s: %w", dir, err)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	return loopbackUp()
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	return nil
}
