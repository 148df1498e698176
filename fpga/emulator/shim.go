package emulator

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// shimVariable marks a process that Run started to become COMMAND; its value is the path of COMMAND.
const shimVariable = "INLAY_FPGA_EMULATOR_SHIM"

// shimSocket is where the shim finds its end of the socket pair (the first of exec.Cmd's ExtraFiles).
const shimSocket = 3

// Exit codes of a shim that could not become COMMAND, as shells have them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// Shim must be the first call in main (or TestMain) of every program that calls Run: Run starts the program's own
// executable again, and in that process Shim puts it under the filter and turns it into COMMAND. Elsewhere it returns at once.
func Shim() {
	path, ok := os.LookupEnv(shimVariable)
	if !ok {
		return
	}
	// The filter belongs to a thread, and only the thread that calls exec hands it on.
	runtime.LockOSThread()
	syscall.CloseOnExec(shimSocket)
	err := becomeCommand(path)
	_, _ = unix.Write(shimSocket, []byte(err.Error())) // nobody else could be told
	code := exitNotExecutable
	if errors.Is(err, unix.ENOENT) {
		code = exitNotFound
	}
	os.Exit(code) //nolint:forbidigo // this process is main's replacement; it has nothing to return to
}

// becomeCommand returns only with an error.
func becomeCommand(path string) error {
	env := make([]string, 0, len(os.Environ()))
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, shimVariable+"=") {
			env = append(env, kv)
		}
	}
	listener, err := installFilter()
	if err != nil {
		return fmt.Errorf("seccomp user notification: %w", err)
	}
	if err := unix.Sendmsg(shimSocket, []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
		return fmt.Errorf("hand over the listener: %w", err)
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, os.Args, env))
}

// installFilter puts the calling thread under the filter. no_new_privs is set only where the kernel asks for it (a
// caller without CAP_SYS_ADMIN), because it would also reach every container that a runtime starts below us.
func installFilter() (listener int, err error) {
	filter, err := sockFilter()
	if err != nil {
		return -1, err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	install := func() (int, error) {
		// WAIT_KILLABLE_RECV: once we have the call only a fatal signal ends the caller's wait, so that Go's own SIGURG does not repeat a PR.
		const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		runtime.KeepAlive(filter)
		if errno != 0 {
			return -1, errno
		}
		return int(fd), nil
	}
	listener, err = install()
	if errors.Is(err, unix.EACCES) {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return -1, fmt.Errorf("no_new_privs: %w", err)
		}
		listener, err = install()
	}
	if errors.Is(err, unix.EBUSY) {
		return -1, errors.New("this process is under such a filter already (emulators cannot be nested)")
	}
	return listener, err
}
