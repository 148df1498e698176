package uevent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrOverflow says that the kernel dropped events because nobody read in time: look at everything.
var ErrOverflow = errors.New("uevents were lost")

// queueBytes is room for some thousand events: a card with many functions that resets sends hundreds at once.
const queueBytes = 1 << 20

// maxMessage is the kernel's UEVENT_BUFFER_SIZE (2048) plus the head with the path.
const maxMessage = 8 << 10

// Conn is a socket that hears kernel uevents.
type Conn struct {
	file *os.File
	raw  syscall.RawConn
	buf  []byte
}

// Open binds the socket.
func Open() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("uevent socket: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueBytes) != nil {
		// Without CAP_NET_ADMIN: as much as net.core.rmem_max allows; ErrOverflow covers the rest.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, queueBytes)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("uevent socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "uevent")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("uevent socket: %w", err)
	}
	return &Conn{file: file, raw: raw, buf: make([]byte, maxMessage)}, nil
}

// Receive waits for the next event of the kernel. It gives ErrOverflow, after which it can be called again, or an error
// after which it cannot; ctx's error once the Conn was closed by ctx. One caller at a time.
func (c *Conn) Receive(ctx context.Context) (Event, error) {
	stop := context.AfterFunc(ctx, func() { c.file.Close() })
	defer stop()
	for {
		var n int
		var from unix.Sockaddr
		var errno error
		err := c.raw.Read(func(fd uintptr) bool {
			n, from, errno = unix.Recvfrom(int(fd), c.buf, 0)
			return errno != unix.EAGAIN && errno != unix.EINTR
		})
		switch {
		case ctx.Err() != nil:
			return Event{}, ctx.Err()
		case errors.Is(errno, unix.ENOBUFS):
			return Event{}, ErrOverflow
		case err != nil || errno != nil:
			return Event{}, fmt.Errorf("read uevent: %w", errors.Join(err, errno))
		}
		// Any process may send to our address; only port 0 is the kernel.
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
			continue
		}
		if event, err := Parse(c.buf[:n]); err == nil {
			return event, nil
		}
	}
}

// Close ends a pending Receive.
func (c *Conn) Close() error { return c.file.Close() }
