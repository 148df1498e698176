package emulator

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// copyChunk bounds what one PR takes of our memory: the payload is hashed while it is copied, and kept nowhere.
const copyChunk = 1 << 20

// program is FME_PORT_PR: the driver's checks in the driver's order, then the reconfiguration. size is that of the driver's structure.
func (c *call) program(size int) unix.Errno {
	s, errno := c.structure(size)
	if s == nil {
		return errno
	}
	portID, length, address := le.Uint32(s[8:]), le.Uint32(s[12:]), le.Uint64(s[16:])
	c.rec.PortID, c.rec.BufferSize = &portID, &length
	f := c.n.fme
	if errno != 0 || *c.rec.Flags != 0 || portID >= f.portsNum {
		return unix.EINVAL
	}
	if length == 0 {
		return unix.ENOMEM // the kernel's allocation of nothing fails
	}
	sum, err := c.hash(address, length)
	if err != nil {
		return unix.EFAULT
	}
	c.rec.Payload = sum
	turn, err := c.takeTurn(f)
	if err != nil {
		return unix.EINTR
	}
	defer turn()
	// Under a driver a killed caller lives on until its PR is done. Here it is gone, others may have taken over meanwhile, and what it had not begun must not happen behind their backs.
	if !c.listener.valid(c.id) {
		c.rec.Abandoned = true
		return unix.EINTR
	}
	status, errno := c.reconfigure(f, portID, int64(length), sum)
	c.rec.Status = status
	c.rec.Abandoned = !c.listener.valid(c.id)
	if c.n.driver == OPAE && !c.rec.Abandoned {
		var out [8]byte
		le.PutUint64(out[:], status)
		if err := c.write(out[:], c.arg+opaePRSize-8); err != nil {
			return unix.EFAULT
		}
	}
	return errno
}

// turnPoll is how often a PR looks whether another emulator's PR on the FME has ended.
const turnPoll = 2 * time.Millisecond

// takeTurn waits until no other PR runs on the FME, here or under another emulator on this tree; the function ends the turn.
func (c *call) takeTurn(f *fme) (func(), error) {
	f.turn.Lock()
	for {
		fd, err := f.describe(turnByte, 0)
		if err == nil {
			return func() { unix.Close(fd); f.turn.Unlock() }, nil
		}
		if errors.Is(err, unix.EAGAIN) {
			select {
			case <-time.After(turnPoll):
				continue
			case <-c.stopping:
			}
		}
		f.turn.Unlock()
		return nil, err
	}
}

// hash copies the payload out of the caller and gives its SHA-256 in hex.
func (c *call) hash(address uint64, length uint32) (string, error) {
	h := sha256.New()
	buf := make([]byte, min(copyChunk, int(length)))
	for left := int(length); left > 0; {
		n := min(left, len(buf))
		if err := c.read(buf[:n], address); err != nil {
			return "", err
		}
		h.Write(buf[:n])
		left, address = left-n, address+uint64(n)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// verdict is how a PR will end.
type verdict struct {
	effect
	function string // what is loaded on success
}

// judge decides before the PR begins how it will end. It takes its time (the store may have to be hashed), so it works without the board's lock.
func (c *call) judge(f *fme, p *port, dead bool, function string, size int64, sum string) verdict {
	v := verdict{effect: c.faults.of(f.name, p.name), function: function}
	switch {
	case dead:
		v.prErrno, v.status = unix.EIO, statusAll
	case v.prErrno == unix.EIO && v.status == 0:
		v.status = statusOperation
	case v.prErrno != 0 || v.loads == loadsNone:
	case v.loads != "":
		v.function = v.loads
	default:
		head, known := c.store.identify(size, sum, f.iface)
		if !known || head.iface != f.iface { // a card takes no image that was not made for its static part
			v.prErrno, v.status = unix.EIO, statusIncompatible
		}
		v.function = head.afu
	}
	return v
}

// reconfigure runs the PR from begin to end, whatever becomes of its caller. The caller holds the FME's turn.
func (c *call) reconfigure(f *fme, portID uint32, size int64, sum string) (status uint64, errno unix.Errno) {
	b := c.board
	c.refreshFaults()
	b.mu.Lock()
	p := f.portByID(portID)
	if p == nil {
		b.mu.Unlock()
		return 0, unix.EINVAL
	}
	err := p.reload()
	dead, function := p.isDead(), p.function
	b.mu.Unlock()
	if err != nil {
		c.log("%s: %v", p.name, err)
	}
	c.rec.Port = p.name
	v := c.judge(f, p, dead, function, size, sum)
	fromHardware := v.prErrno == 0 || v.prErrno == unix.EIO || v.prErrno == unix.ETIMEDOUT
	if !fromHardware {
		return v.status, v.prErrno
	}
	c.change(func() error {
		p.programming = true
		return errors.Join(p.publish(), f.manager("write", 0))
	})
	time.Sleep(v.delay)
	if v.hang && !c.heal(f, p) && v.prErrno == 0 {
		v.prErrno, v.status = unix.EIO, statusOperation // the emulator ends; the function stays as it was
	}
	c.change(func() error {
		p.programming = false
		state := "operating"
		switch {
		case f.withdrawn() || p.withdrawn() && !p.released:
			v.prErrno, v.status = unix.ENODEV, 0
		case f.dead || p.dead:
			v.prErrno, v.status = unix.EIO, statusAll
		}
		if v.prErrno == 0 {
			p.function, p.stuck = v.function, false
			c.rec.Loaded = p.function
		} else {
			p.stuck = p.stuck || v.leavesReset
			state = "write complete error"
		}
		return errors.Join(p.publish(), f.manager(state, v.status))
	})
	return v.status, v.prErrno
}

// change alters the board's state; what cannot be written to the tree is logged, the state holds all the same.
func (c *call) change(alter func() error) {
	c.board.mu.Lock()
	defer c.board.mu.Unlock()
	if err := alter(); err != nil {
		c.log("%s: %v", c.n.name, err)
	}
}

// hangPoll is how often a hanging PR looks whether it may go on.
const hangPoll = 10 * time.Millisecond

// heal waits until the faults say that the PR hangs no more; false if the emulator ends first.
func (c *call) heal(f *fme, p *port) bool {
	for c.faults.of(f.name, p.name).hang {
		select {
		case <-c.stopping:
			return false
		case <-time.After(hangPoll):
			c.refreshFaults()
		}
	}
	return true
}
