package emulator

import (
	"errors"
	"path"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// supervisor answers the calls of everything that runs under the filter.
type supervisor struct {
	listener listener
	board    *board
	store    *store
	faults   *faultFile
	recorder *recorder
	log      func(format string, args ...any)
	stopping chan struct{} // closed when COMMAND has ended and nothing more is waited for
	calls    sync.WaitGroup
}

// serve answers calls until stop is readable or nobody is left.
func (s *supervisor) serve(stop int) error {
	s.listener.wakeUpHere()
	ended := make(chan error, 1)
	s.calls.Go(func() { s.next(stop, ended) })
	return <-ended
}

// next receives one call and answers it itself, while a goroutine of its own receives the one after: nobody waits for
// the start of a goroutine, and a PR that takes its time holds up nobody else.
func (s *supervisor) next(stop int, ended chan<- error) {
	n, ok, err := s.listener.receive(stop)
	if err != nil || !ok {
		ended <- err
		return
	}
	s.calls.Go(func() { s.next(stop, ended) })
	s.handle(n)
}

func (s *supervisor) handle(n *notification) {
	c := caller{int(n.pid)}
	switch {
	case n.pid == 0: // in a PID namespace that is not below ours
		s.listener.pass(n.id)
	case n.nr == unix.SYS_IOCTL:
		s.handleIoctl(n, c)
	case n.nr == unix.SYS_OPENAT:
		s.handleOpen(n.id, c, openArgs{dir: int32(n.args[0]), path: n.args[1], flags: n.args[2]})
	case n.nr == unix.SYS_OPENAT2:
		s.handleOpenat2(n, c)
	default: // open
		s.handleOpen(n.id, c, openArgs{dir: unix.AT_FDCWD, path: n.args[0], flags: n.args[1]})
	}
}

// openArgs are the arguments of the three calls that open.
type openArgs struct {
	dir     int32
	path    uint64 // where the string is
	flags   uint64
	resolve uint64
}

func (s *supervisor) handleOpen(id uint64, c caller, a openArgs) {
	const creates = unix.O_CREAT | unix.O_EXCL
	if a.flags&creates == creates || a.flags&(unix.O_PATH|unix.O_DIRECTORY) != 0 {
		s.listener.pass(id) // never opens a device node
		return
	}
	name, err := c.readPath(a.path)
	if err != nil {
		s.listener.pass(id)
		return
	}
	s.open(id, c, a, name)
}

// open decides about one open for reading and writing. Whatever cannot be looked up is the kernel's to refuse.
func (s *supervisor) open(id uint64, c caller, a openArgs, name string) {
	var st unix.Stat_t
	fd, err := c.resolve(a.dir, name, int(a.flags)&unix.O_NOFOLLOW, a.resolve)
	if err == nil {
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
	}
	if err != nil {
		s.listener.pass(id)
		return
	}
	n := s.lookUp(&st, name)
	if n == nil {
		s.listener.pass(id)
		return
	}
	cred, err := c.credentials()
	if err != nil || !s.listener.valid(id) { // valid: what was read of /proc was the caller's
		s.listener.pass(id)
		return
	}
	if !cred.mayReadWrite(st.Mode, st.Uid, st.Gid, c.maps) {
		s.listener.answer(id, 0, unix.EACCES)
		return
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && !c.deviceAllowed(n.dev) {
		s.listener.answer(id, 0, unix.EPERM)
		return
	}
	s.refreshFaults()
	if errno := s.faults.of(n.name).openErrno; errno != 0 {
		s.listener.answer(id, 0, errno)
		return
	}
	s.handOut(id, n, a.flags)
}

// lookUp finds the node a file is. For one that is a node, or is named like one, the tree is looked at again if it changed.
func (s *supervisor) lookUp(st *unix.Stat_t, name string) *node {
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFCHR && kind != unix.S_IFREG {
		return nil
	}
	n := s.board.find(st)
	if base := path.Base(name); n == nil && !fmeName.MatchString(base) && !portName.MatchString(base) {
		return nil
	}
	if err := s.board.refresh(n == nil); err != nil {
		s.log("%v", err)
	}
	return s.board.find(st)
}

// handOut opens the node and gives the caller its descriptor.
func (s *supervisor) handOut(id uint64, n *node, flags uint64) {
	s.board.mu.Lock()
	defer s.board.mu.Unlock()
	if n.port != nil {
		if err := n.port.reload(); err != nil {
			s.log("%s: %v", n.name, err)
		}
	}
	fd, err := n.open(flags&unix.O_EXCL != 0, int(flags)&unix.O_NONBLOCK)
	if err != nil {
		errno := unix.EIO
		if !errors.As(err, &errno) {
			s.log("%v", err)
		}
		s.listener.answer(id, 0, errno)
		return
	}
	// A caller that died meanwhile never had it open; closing our copy takes the lock away again.
	if err := s.listener.answerFD(id, fd, flags&unix.O_CLOEXEC != 0); err != nil && !errors.Is(err, unix.ENOENT) {
		s.log("%s: hand out: %v", n.name, err)
		errno := unix.EMFILE
		_ = errors.As(err, &errno)
		s.listener.answer(id, 0, errno)
	}
	unix.Close(fd)
}

// openHowSize is that of the first version of struct open_how: flags, mode, resolve.
const openHowSize = 24

func (s *supervisor) handleOpenat2(n *notification, c caller) {
	var how [openHowSize]byte
	if n.args[3] < openHowSize || c.read(how[:], n.args[2]) != nil {
		s.listener.pass(n.id)
		return
	}
	a := openArgs{dir: int32(n.args[0]), path: n.args[1], flags: le.Uint64(how[:]), resolve: le.Uint64(how[16:])}
	if a.flags&unix.O_ACCMODE == unix.O_RDWR {
		s.handleOpen(n.id, c, a)
		return
	}
	if readsBusyID(c, a) {
		s.listener.answer(n.id, 0, unix.EBUSY)
		return
	}
	s.listener.pass(n.id)
}

// readsBusyID tells whether a caller opens the afu_id of a port that is held in reset, which is a directory then
// (makeUnreadable). The driver would answer the read with EBUSY; the open is where we can.
func readsBusyID(c caller, a openArgs) bool {
	name, err := c.readPath(a.path)
	if err != nil || path.Base(name) != "afu_id" {
		return false
	}
	fd, err := c.resolve(a.dir, name, 0, a.resolve)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func (s *supervisor) handleIoctl(n *notification, c caller) {
	var st unix.Stat_t
	if err := unix.Stat(c.proc("fd/"+strconv.Itoa(int(int32(n.args[0])))), &st); err != nil {
		s.listener.pass(n.id)
		return
	}
	node := s.board.opened(&st)
	if node == nil || !s.listener.valid(n.id) {
		s.listener.pass(n.id)
		return
	}
	call := &call{caller: c, supervisor: s, id: n.id, n: node, request: uint32(n.args[1]), arg: n.args[2]}
	value, errno := call.run()
	if err := s.recorder.write(call.rec); err != nil {
		s.log("record: %v", err)
	}
	s.listener.answer(n.id, value, errno)
}

// refreshFaults takes over what the faults file says now.
func (s *supervisor) refreshFaults() {
	changed, err := s.faults.reload()
	if err != nil {
		s.log("%v", err)
	}
	if !changed {
		return
	}
	s.board.mu.Lock()
	defer s.board.mu.Unlock()
	if err := s.board.applyFaults(s.faults); err != nil {
		s.log("faults: %v", err)
	}
}
