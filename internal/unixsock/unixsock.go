package unixsock

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxPath is the longest path in bytes that fits into a unix socket address (sun_path, less its closing zero).
const MaxPath = 107

// Listener is a listening unix socket that knows which file it put in place.
type Listener struct {
	*net.UnixListener
	path string
	id   Identity
}

// Identity tells one file from the next one of the same name. The change time is part of it because a file system may
// give the inode number of a removed file to the next one.
type Identity struct {
	Dev, Ino  uint64
	CtimeNsec int64
}

// Stat gives the identity of the file at path itself; ok is false where there is none.
func Stat(path string) (id Identity, ok bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return Identity{}, false
	}
	return Identity{Dev: st.Dev, Ino: st.Ino, CtimeNsec: st.Ctim.Nano()}, true
}

// Listen makes a listening socket and renames it to path, replacing whatever is there; the caller has looked at that
// first. The socket is open to its owner only. The folder must exist.
func Listen(path string) (*Listener, error) {
	// A name of its own for each process and socket: two callers must never bind the same one.
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%d-%08x.sock", os.Getpid(), rand.Uint32()))
	var ln *net.UnixListener
	err := reach(temp, func(addr string) (err error) {
		ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: addr, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false) // by path: it would take away the socket of whoever came after us
	fail := func(err error) (*Listener, error) {
		ln.Close()
		os.Remove(temp)
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(temp, 0o600); err != nil {
		return fail(err)
	}
	id, ok := Stat(temp)
	if !ok {
		return fail(os.ErrNotExist)
	}
	if err := os.Rename(temp, path); err != nil {
		return fail(err)
	}
	return &Listener{UnixListener: ln, path: path, id: id}, nil
}

// Path is the name under which the socket was put in place.
func (l *Listener) Path() string { return l.path }

// InPlace reports whether the name still leads to this socket; there is false where the name is gone.
func (l *Listener) InPlace() (ours, there bool) {
	id, ok := Stat(l.path)
	// The rename, or somebody's chmod, moves the change time; our open socket keeps its inode number from being reused.
	return ok && id.Dev == l.id.Dev && id.Ino == l.id.Ino, ok
}

// Remove takes the name away if it still leads to this socket, and closes the socket.
func (l *Listener) Remove() {
	if ours, _ := l.InPlace(); ours {
		os.Remove(l.path)
	}
	l.Close()
}

// Dial connects to the socket at path, however long the path is.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	var conn net.Conn
	err := reach(path, func(addr string) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return conn, nil
}

// Server names the process that listens at the other end of a connection: "process 4711 (nlb3)". It is "" where this
// process may not see that one, as in a pod with processes of its own.
func Server(conn net.Conn) string {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return ""
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return ""
	}
	var peer *unix.Ucred
	err = raw.Control(func(fd uintptr) { peer, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || peer == nil || peer.Pid == 0 {
		return ""
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", peer.Pid)) // it may be gone
	return fmt.Sprintf("process %d (%s)", peer.Pid, strings.TrimSpace(string(comm)))
}

// reach calls use with a name of path that a socket address holds.
func reach(path string, use func(addr string) error) error {
	if len(path) <= MaxPath {
		return use(path)
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(dir)
	return use("/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path))
}
