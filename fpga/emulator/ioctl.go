package emulator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Requests (spec 2.1, 2.2). The low byte is shared by both drivers up to REGION_INFO and for FME_PORT_PR.
const (
	dflGetAPIVersion  = 0xb600
	dflCheckExtension = 0xb601
	dflPortReset      = 0xb640
	dflPortInfo       = 0xb641
	dflRegionInfo     = 0xb642
	dflErrIRQNum      = 0x8004b645
	dflErrSetIRQ      = 0x4008b646
	dflUserIRQNum     = 0x8004b647
	dflUserSetIRQ     = 0x4008b648
	dflPR             = 0xb680
	dflRelease        = 0x4004b681
	dflAssign         = 0x4004b682
	dflFMEIRQNum      = 0x8004b683
	dflFMESetIRQ      = 0x4008b684

	opaeGetAPIVersion  = 0xb500
	opaeCheckExtension = 0xb501
	opaePortReset      = 0xb540
	opaePortInfo       = 0xb541
	opaeRegionInfo     = 0xb542
	opaePR             = 0xb580
	opaeRelease        = 0xb581
	opaeAssign         = 0xb582
	opaeFMEInfo        = 0xb583
)

// Structure sizes.
const (
	dflPortInfoSize, opaePortInfoSize = 16, 24
	regionInfoSize                    = 32
	dflPRSize, opaePRSize             = 24, 32
	opaeReleaseSize                   = 12
	opaeFMEInfoSize                   = 12
	irqSetSize                        = 8
)

// Flags of a port region.
const (
	regionRead = 1 << iota
	regionWrite
	regionMmap
)

// call is one ioctl on one of our nodes.
type call struct {
	caller
	*supervisor
	id      uint64
	n       *node
	request uint32
	arg     uint64
	rec     Record
}

var le = binary.LittleEndian

// run carries the call out and tells the result; it also fills the record.
func (c *call) run() (value int64, errno unix.Errno) {
	c.rec = Record{Node: c.n.hostPath(), Request: fmt.Sprintf("%#x", c.request), PID: c.pid, Start: time.Now()}
	value, errno = c.dispatch()
	c.rec.Result = value
	if errno != 0 {
		c.rec.fail(errno)
	}
	c.rec.End = time.Now()
	return value, errno
}

func (c *call) dispatch() (int64, unix.Errno) {
	if c.gone() {
		return 0, unix.ENODEV
	}
	if c.n.driver == DFL && c.n.fme != nil {
		return c.dflFME()
	}
	if c.n.driver == DFL {
		return c.dflPort()
	}
	if c.n.fme != nil {
		return c.opaeFME()
	}
	return c.opaePort()
}

// gone tells whether the device was taken away under its opener.
func (c *call) gone() bool {
	c.board.mu.Lock()
	defer c.board.mu.Unlock()
	return c.n.withdrawn() || c.board.byDev[c.n.dev] != c.n
}

func (c *call) dflFME() (int64, unix.Errno) {
	switch c.request {
	case dflGetAPIVersion, dflCheckExtension: // version 0; no extension is supported
		return 0, 0
	case dflPR:
		return 0, c.program(dflPRSize)
	case dflRelease, dflAssign:
		var id [4]byte
		if err := c.read(id[:], c.arg); err != nil {
			return 0, unix.EFAULT
		}
		return 0, c.setReleased(le.Uint32(id[:]), c.request == dflRelease)
	case dflFMEIRQNum:
		return c.noInterrupts()
	case dflFMESetIRQ:
		return c.setInterrupts()
	}
	return 0, unix.EINVAL // what both drivers say to a request they do not know
}

func (c *call) dflPort() (int64, unix.Errno) {
	switch c.request {
	case dflGetAPIVersion, dflCheckExtension:
		return 0, 0
	case dflPortReset:
		return 0, c.reset()
	case dflPortInfo:
		return 0, c.portInfo(dflPortInfoSize, 8)
	case dflRegionInfo:
		return 0, c.regionInfo()
	case dflErrIRQNum, dflUserIRQNum:
		return c.noInterrupts()
	case dflErrSetIRQ, dflUserSetIRQ:
		return c.setInterrupts()
	}
	return 0, unix.EINVAL
}

func (c *call) opaeFME() (int64, unix.Errno) {
	switch c.request {
	case opaeGetAPIVersion, opaeCheckExtension:
		return 0, 0
	case opaePR:
		return 0, c.program(opaePRSize)
	case opaeRelease, opaeAssign:
		s, errno := c.structure(opaeReleaseSize)
		if errno == 0 && *c.rec.Flags != 0 {
			errno = unix.EINVAL
		}
		if errno != 0 {
			return 0, errno
		}
		return 0, c.setReleased(le.Uint32(s[8:]), c.request == opaeRelease)
	case opaeFMEInfo: // capability 0: no error interrupt
		s, errno := c.structure(opaeFMEInfoSize)
		if errno != 0 {
			return 0, errno
		}
		clear(s[4:])
		return 0, c.put(s)
	}
	return 0, unix.EINVAL
}

func (c *call) opaePort() (int64, unix.Errno) {
	switch c.request {
	case opaeGetAPIVersion, opaeCheckExtension:
		return 0, 0
	case opaePortReset:
		return 0, c.reset()
	case opaePortInfo:
		return 0, c.portInfo(opaePortInfoSize, 12)
	case opaeRegionInfo:
		return 0, c.regionInfo()
	}
	return 0, unix.EINVAL
}

// structure reads an argument that begins with argsz and flags: EFAULT if it is not readable, EINVAL if it says that it is shorter.
func (c *call) structure(size int) ([]byte, unix.Errno) {
	s := make([]byte, size)
	if err := c.read(s, c.arg); err != nil {
		return nil, unix.EFAULT
	}
	argsz, flags := le.Uint32(s), le.Uint32(s[4:])
	c.rec.Argsz, c.rec.Flags = &argsz, &flags
	if int64(argsz) < int64(size) {
		return s, unix.EINVAL
	}
	return s, 0
}

func (c *call) put(s []byte) unix.Errno {
	if err := c.write(s, c.arg); err != nil {
		return unix.EFAULT
	}
	return 0
}

func (c *call) reset() unix.Errno {
	if c.arg != 0 {
		return unix.EINVAL
	}
	c.board.mu.Lock()
	defer c.board.mu.Unlock()
	if err := c.n.port.reset(); err != nil {
		c.log("%v", err)
		return unix.EIO
	}
	return 0
}

// portInfo answers with one region (the AFU's), no user messages and no interrupts; regionsAt is where the drivers' structures differ.
func (c *call) portInfo(size, regionsAt int) unix.Errno {
	s, errno := c.structure(size)
	if errno != 0 {
		return errno
	}
	clear(s[4:])
	le.PutUint32(s[regionsAt:], 1)
	return c.put(s)
}

func (c *call) regionInfo() unix.Errno {
	s, errno := c.structure(regionInfoSize)
	if errno != 0 {
		return errno
	}
	if index, padding := le.Uint32(s[8:]), le.Uint32(s[12:]); padding != 0 || index != 0 {
		return unix.EINVAL
	}
	le.PutUint32(s[4:], regionRead|regionWrite|regionMmap)
	le.PutUint64(s[16:], regionSize)
	le.PutUint64(s[24:], 0)
	return c.put(s)
}

// noInterrupts is GET_IRQ_NUM of a device without interrupts.
func (c *call) noInterrupts() (int64, unix.Errno) {
	var count [4]byte
	return 0, c.put(count[:])
}

// setInterrupts is SET_IRQ: every range is beyond the zero interrupts.
func (c *call) setInterrupts() (int64, unix.Errno) {
	var s [irqSetSize]byte
	if err := c.read(s[:], c.arg); err != nil {
		return 0, unix.EFAULT
	}
	return 0, unix.EINVAL
}

// setReleased is FME_PORT_RELEASE and FME_PORT_ASSIGN. A released port's device goes away, as the driver deletes its
// platform device; assigning brings it back. A port that lives on a VF counts as released and cannot be assigned.
func (c *call) setReleased(id uint32, release bool) unix.Errno {
	c.rec.PortID = &id
	b := c.board
	b.mu.Lock()
	defer b.mu.Unlock()
	p := c.n.fme.portByID(id)
	if p == nil {
		return unix.ENODEV
	}
	if !release {
		if !p.released {
			return unix.EBUSY
		}
		p.released = false
	} else {
		inUse, err := p.inUse()
		if err != nil {
			c.log("%v", err)
			return unix.EIO
		}
		if p.released || p.onVF || inUse {
			return unix.EBUSY
		}
		p.released = true
	}
	if err := errors.Join(b.place(p), b.keepReleased()); err != nil {
		c.log("%v", err)
		return unix.EIO
	}
	return 0
}

func (f *fme) portByID(id uint32) *port {
	for _, p := range f.ports {
		if p.id == id {
			return p
		}
	}
	return nil
}
