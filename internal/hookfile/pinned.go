package hookfile

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxSize bounds what is read to find out whether it is the hook, in bytes.
const maxSize = 64 << 20

// settled is how old a file's last change must be before its identity stands for its content: the kernel's file times
// are as coarse as its tick, so a file could change twice within one.
const settled = time.Second

// identity changes whenever a file's content may have.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

func identityOf(st *unix.Stat_t) identity {
	return identity{dev: uint64(st.Dev), ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim} //nolint:unconvert // Dev is narrower on other architectures
}

// Pinned is the one program that may be run. It is safe for concurrent use.
type Pinned struct {
	digest Digest

	mu    sync.Mutex
	seen  identity // of the file whose content is known
	known bool
	wrong error // why that content is not the program; nil = it is
}

// Pin makes a Pinned of a program's digest.
func Pin(d Digest) *Pinned { return &Pinned{digest: d} }

// Check tells why the file is not the program, or could be made another one by somebody who is not root. It is read
// only if it is another file than at the last call. open opens it with the O_ flags given.
func (p *Pinned) Check(open func(flags int) (*os.File, error)) error {
	f, err := open(unix.O_PATH | unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := stat(f)
	if err != nil {
		return err
	}
	if err := program(st); err != nil {
		return fmt.Errorf("%s %w", f.Name(), err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if id := identityOf(st); p.known && p.seen == id {
		return p.wrong
	}
	return p.read(open)
}

// read finds out what the file holds.
func (p *Pinned) read(open func(flags int) (*os.File, error)) error {
	p.known = false
	f, err := open(unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK) // it may have become a FIFO since
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := stat(f)
	if err != nil {
		return err
	}
	if err := program(before); err != nil {
		return fmt.Errorf("%s %w", f.Name(), err)
	}
	got, err := Sum(f)
	if err != nil {
		return err
	}
	after, err := stat(f)
	if err != nil {
		return err
	}
	if identityOf(before) != identityOf(after) {
		return fmt.Errorf("%s is being written to", f.Name())
	}
	var wrong error
	if got != p.digest {
		wrong = fmt.Errorf("%s is not the one that inlay-nri was shipped with: its SHA-256 begins %.16s, expected %.16s",
			f.Name(), got, p.digest)
	}
	if age := time.Since(time.Unix(before.Ctim.Unix())); age > settled {
		p.seen, p.wrong, p.known = identityOf(before), wrong, true
	}
	return wrong
}

func stat(f *os.File) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return &st, nil
}

// program tells why a file is none that root could run without a thought. The text goes on behind the file's name.
func program(st *unix.Stat_t) error {
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return errors.New("is a link")
	case st.Mode&unix.S_IFMT != unix.S_IFREG, st.Mode&0o111 == 0:
		return errors.New("is not an executable file")
	case st.Size > maxSize:
		return fmt.Errorf("has %d bytes: it is not inlay-hook", st.Size)
	}
	return guarded(st)
}

// guarded tells who else than root could change a file or folder. Where this process is not root (a test, a bench) its
// own user counts as root.
func guarded(st *unix.Stat_t) error {
	if st.Uid != 0 && int64(st.Uid) != int64(os.Geteuid()) {
		return fmt.Errorf("belongs to uid %d, not to root", st.Uid)
	}
	if st.Mode&0o022 != 0 {
		return fmt.Errorf("has mode %04o: others than root can write it", st.Mode&0o7777)
	}
	return nil
}
