package emulator

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// regionSize is the size of port region 0, the AFU's registers.
const regionSize = 0x40000

// noFunction is the AFU id of a port whose function nobody knows, after an emulator died in the middle of a PR.
const noFunction = "00000000000000000000000000000000"

// node is one device node and what both kinds of device have. All fields but the first block are guarded by board.mu.
type node struct {
	name   string // dfl-port.0
	driver Driver
	dev    devNumber
	dir    string // sysfs directory
	dirID  fileID
	mem    *os.File // what callers get: one file a node, so that all openers map the same registers
	memID  fileID
	fme    *fme  // set for an FME
	port   *port // set for a port

	pci      string // directory of its PCI function
	nextByte int64  // lock byte of the next opening
	dead     bool   // fault: reads all ones
	removed  bool   // fault: taken out of the machine
	stash    *withdrawal
}

// fme is a management engine, and the FPGA manager below it.
type fme struct {
	node
	turn     sync.Mutex // PRs on one FME go one after the other
	iface    string
	portsNum uint32
	ports    []*port
}

// port is a slot for one function.
type port struct {
	node
	id          uint32
	parent      *fme
	home        string // PCI directory of its FME
	onVF        bool
	released    bool // FME_PORT_RELEASE
	function    string
	noFile      bool // has no afu_id file (the kernel has none for a port without AFU feature)
	programming bool // a PR is under way
	stuck       bool // fault: left in reset by a PR that failed
	lost        bool // found unreadable: another emulator's PR is under way, or one was killed in the middle
}

// newNode reads one FME or port directory.
func newNode(root, name, dir string) (*node, error) {
	driver := DFL
	if strings.HasPrefix(name, "intel-") {
		driver = OPAE
	}
	dev, err := readTrimmed(filepath.Join(dir, "dev"))
	if err != nil {
		return nil, err
	}
	number, err := parseDev(dev)
	if err != nil {
		return nil, err
	}
	base := node{name: name, driver: driver, dev: number, dir: dir, nextByte: firstByte - 1}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, err
	}
	base.dirID = fileID{st.Dev, st.Ino}
	var n *node
	if fmeName.MatchString(name) {
		f := &fme{node: base}
		if err := f.load(); err != nil {
			return nil, err
		}
		f.fme, n = f, &f.node
	} else {
		p := &port{node: base}
		if err := p.load(); err != nil {
			return nil, err
		}
		p.port, n = p, &p.node
	}
	return n, n.makeMemory(root)
}

func (n *node) hostPath() string { return "/dev/" + n.name }

// withdrawn tells whether the emulator itself took the device out of the tree, alone or with its card.
func (n *node) withdrawn() bool {
	return n.stash != nil || n.port != nil && n.port.parent != nil && n.port.parent.stash != nil
}

func (f *fme) load() error {
	text, err := readTrimmed(filepath.Join(f.dir, "ports_num"))
	if err != nil {
		return err
	}
	num, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return fmt.Errorf("ports_num: %w", err)
	}
	f.portsNum = uint32(num)
	for _, file := range f.interfaceFiles() {
		if f.iface, err = readTrimmed(file); err != nil {
			return err
		}
	}
	return nil
}

// interfaceFiles are the files that show the FME's interface id: one, or under DFL one a port.
func (f *fme) interfaceFiles() []string {
	if f.driver == OPAE {
		return []string{filepath.Join(f.dir, "pr/interface_id")}
	}
	files, _ := filepath.Glob(filepath.Join(f.dir, "dfl-fme-region.*/fpga_region/region*/compat_id")) // the pattern is a constant
	return files
}

func (p *port) load() error {
	text, err := readTrimmed(filepath.Join(p.dir, "id"))
	if err != nil {
		return err
	}
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return fmt.Errorf("id: %w", err)
	}
	p.id = uint32(id)
	p.function = noFunction
	switch text, err := readTrimmed(filepath.Join(p.dir, "afu_id")); {
	case errors.Is(err, fs.ErrNotExist):
		p.noFile = true
	case errors.Is(err, unix.EISDIR):
		p.lost = true
	case err != nil:
		return err
	default:
		p.function = text
	}
	return nil
}

func readTrimmed(path string) (string, error) {
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err
}

// makeMemory opens the file that stands for the open device. It lies in the tree, so that emulators which run on one
// tree at the same time share openers and registers; where it cannot be made there it is this emulator's own. An FME has
// nothing to map.
func (n *node) makeMemory(root string) error {
	dir := filepath.Join(root, stashDir, "dev")
	fd, err := -1, os.MkdirAll(dir, 0o755)
	if err == nil {
		fd, err = unix.Open(filepath.Join(dir, n.name), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	}
	if err != nil {
		if fd, err = unix.MemfdCreate(n.hostPath(), unix.MFD_CLOEXEC); err != nil {
			return fmt.Errorf("memfd: %w", err)
		}
	}
	n.mem = os.NewFile(uintptr(fd), filepath.Join(dir, n.name))
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	n.memID = fileID{st.Dev, st.Ino}
	if n.port == nil {
		return nil
	}
	return unix.Ftruncate(fd, regionSize)
}

// dropMemory takes the file out of the tree when its device is gone for good: the next one of this name must not meet
// the old one's openers.
func (n *node) dropMemory() {
	var st unix.Stat_t
	if err := unix.Stat(n.mem.Name(), &st); err == nil && n.memID == (fileID{st.Dev, st.Ino}) {
		_ = os.Remove(n.mem.Name()) // left over at worst
	}
}

// An opening is a description of its own of that file, with a lock on one byte of it: byte 0 for O_EXCL, else one of
// its own. The lock lives as long as any descriptor or mapping of the description, in whatever process, so the kernel
// counts the openers for us. Nobody is told when the last one goes; so the reset at last close is done at the next
// open, before which nobody could see the difference.
const (
	exclusiveByte = 0
	firstByte     = 1
	turnByte      = 1 << 40 // of an FME: held while a PR runs
)

func (n *node) locked(from, length int64) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: from, Len: length}
	if err := unix.FcntlFlock(n.mem.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, fmt.Errorf("%s: look for openers: %w", n.name, err)
	}
	return lock.Type != unix.F_UNLCK, nil
}

func (n *node) inUse() (bool, error) { return n.locked(exclusiveByte, turnByte) }

// describe makes a new description of the file and locks one byte through it; EAGAIN if another has that.
func (n *node) describe(byteAt int64, extra int) (int, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", n.mem.Fd()), unix.O_RDWR|unix.O_CLOEXEC|extra, 0)
	if err != nil {
		return -1, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: byteAt, Len: 1}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// open is the driver's open: the descriptor for the caller, or the errno.
func (n *node) open(excl bool, extra int) (int, error) {
	if n.withdrawn() {
		return -1, unix.ENXIO // as for a node whose driver let go of it
	}
	inUse, err := n.inUse()
	if err != nil {
		return -1, err
	}
	exclusive, err := n.locked(exclusiveByte, 1)
	if err != nil {
		return -1, err
	}
	if exclusive || excl && inUse {
		return -1, unix.EBUSY
	}
	if !inUse && n.port != nil {
		if err := n.port.reset(); err != nil {
			return -1, err
		}
	}
	if excl {
		return n.describe(exclusiveByte, extra)
	}
	for {
		n.nextByte++
		fd, err := n.describe(n.nextByte, extra)
		if !errors.Is(err, unix.EAGAIN) { // else another emulator has that byte
			return fd, err
		}
	}
}

// reads is the id that software sees now; readable is false while the port is held in reset.
func (p *port) reads() (id string, readable bool) {
	switch {
	case p.isDead():
		return allOnes, true
	case p.programming || p.stuck:
		return allOnes, false
	}
	return p.function, true
}

func (p *port) isDead() bool { return p.dead || p.parent != nil && p.parent.dead }

// reset is the port reset: the AFU's registers get their initial values.
func (p *port) reset() error {
	if _, err := p.mem.WriteAt(p.registers(), 0); err != nil {
		return fmt.Errorf("%s: registers: %w", p.name, err)
	}
	return nil
}

// Registers of an AFU, as OPAE reads them: a device feature header and the two halves of its id.
const (
	headerTypeAFU   = 1 << 60
	headerEndOfList = 1 << 40
	headerRevision  = 1 << 12
	registerGUIDLow = 0x08
	registerGUIDTop = 0x10
)

// registers is the initial content of region 0. A port in reset or on a dead card answers all ones.
func (p *port) registers() []byte {
	out := make([]byte, regionSize)
	id, readable := p.reads()
	guid, err := hex.DecodeString(id)
	if !readable || id == allOnes || err != nil || len(guid) != 16 {
		for i := range out {
			out[i] = 0xff
		}
		return out
	}
	binary.LittleEndian.PutUint64(out, headerTypeAFU|headerEndOfList|headerRevision)
	binary.LittleEndian.PutUint64(out[registerGUIDLow:], binary.BigEndian.Uint64(guid[8:]))
	binary.LittleEndian.PutUint64(out[registerGUIDTop:], binary.BigEndian.Uint64(guid[:8]))
	return out
}

// reload believes the tree where somebody else changed it: a test that writes another function into afu_id, another emulator.
func (p *port) reload() error {
	if _, readable := p.reads(); !readable || p.isDead() || p.noFile || p.withdrawn() {
		return nil
	}
	text, err := readTrimmed(filepath.Join(p.dir, "afu_id"))
	switch {
	case errors.Is(err, unix.EISDIR): // another emulator's PR
		return nil
	case err != nil || text == p.function:
		return err
	}
	p.function, p.lost = text, false
	return p.reset()
}
