// Package ioctl makes the ioctl calls of the FPGA drivers: typed arguments that stay alive and in place until the
// kernel is done with them.
package ioctl

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call gives the kernel the address of arg; the result is the call's return value.
func Call[T any](f *os.File, request uintptr, arg *T) (int, error) {
	// The conversion to uintptr stands in the call itself: only there does the runtime keep *arg alive and in place.
	return result(f, request, func(fd uintptr) (uintptr, unix.Errno) {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(arg)))
		return n, errno
	})
}

// Plain is a call whose argument is 0.
func Plain(f *os.File, request uintptr) (int, error) {
	return result(f, request, func(fd uintptr) (uintptr, unix.Errno) {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, 0)
		return n, errno
	})
}

func result(f *os.File, request uintptr, call func(fd uintptr) (uintptr, unix.Errno)) (int, error) {
	defer runtime.KeepAlive(f)
	n, errno := call(f.Fd())
	if errno != 0 { // EINTR too: whether a driver that answers it has begun is not for us to guess
		return 0, fmt.Errorf("%s: ioctl %#x: %w", f.Name(), request, errno)
	}
	return int(n), nil
}
