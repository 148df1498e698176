package emulator

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is the kernel's struct seccomp_notif: a system call that waits for our answer.
type notification struct {
	id    uint64
	pid   uint32 // thread id of the caller; 0 = not visible from here
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// addFD is struct seccomp_notif_addfd.
type addFD struct {
	id       uint64
	flags    uint32
	source   uint32
	newFD    uint32
	newFlags uint32
}

// Not in x/sys: SECCOMP_IOCTL_NOTIF_ID_VALID, _ADDFD, _SET_FLAGS.
const (
	notifyIDValid  = 0x40082102
	notifyAddFD    = 0x40182103
	notifySetFlags = 0x40082104
)

// listener is the supervisor's end of the filter.
type listener struct{ fd int }

// ioctl goes on when a signal interrupts it: the Go runtime signals its own threads, and the kernel waits interruptibly
// for the listener's lock. An answer given up for that would leave its caller waiting, or hand its call to the kernel.
func (l listener) ioctl(request uintptr, arg unsafe.Pointer) (int, error) {
	for {
		if n, err := l.tryIoctl(request, arg); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func (l listener) tryIoctl(request uintptr, arg unsafe.Pointer) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), request, uintptr(arg))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// wakeUpHere asks the kernel to run supervisor and caller in turn on one CPU, which makes each answer cheaper. Kernels before 6.6 cannot; it is only speed.
func (l listener) wakeUpHere() {
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), notifySetFlags, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
}

// receive waits for the next call. ok is false when stop became readable or no process is under the filter any more.
func (l listener) receive(stop int) (n *notification, ok bool, err error) {
	for {
		fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return nil, false, err
		}
		if fds[1].Revents != 0 {
			return nil, false, nil
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			return nil, false, nil // POLLHUP: the last one is gone
		}
		n := new(notification)                                                 // zeroed, as the kernel demands
		_, err := l.tryIoctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(n)) // after EINTR stop is looked at again
		switch {
		case err == nil:
			return n, true, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT): // ENOENT: the caller died meanwhile
		default:
			return nil, false, err
		}
	}
}

// valid tells whether the caller still waits, so that its pid is still its own.
func (l listener) valid(id uint64) bool {
	_, err := l.ioctl(notifyIDValid, unsafe.Pointer(&id))
	return err == nil
}

// A caller that died meanwhile makes each of the following fail with ENOENT: there is nobody to answer.

// pass lets the kernel carry out the call.
func (l listener) pass(id uint64) {
	r := response{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	_, _ = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}

// answer ends the call with a value, or with errno if that is not 0.
func (l listener) answer(id uint64, value int64, errno unix.Errno) {
	r := response{id: id, value: value, errno: -int32(errno)}
	if errno != 0 {
		r.value = 0
	}
	_, _ = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}

// answerFD installs a copy of fd in the caller and ends the call with its number. It does so in two steps: the kernel's
// one step for both (SECCOMP_ADDFD_FLAG_SEND) answers 0 without a descriptor if a signal interrupts it.
func (l listener) answerFD(id uint64, fd int, closeOnExec bool) error {
	a := addFD{id: id, source: uint32(fd)}
	if closeOnExec {
		a.newFlags = unix.O_CLOEXEC
	}
	number, err := l.ioctl(notifyAddFD, unsafe.Pointer(&a))
	if err == nil {
		l.answer(id, int64(number), 0)
	}
	return err
}
