package emulator

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// fileID is one file of the system, under whatever path.
type fileID struct{ dev, ino uint64 }

// devNumber is a character device.
type devNumber struct{ major, minor uint32 }

func (d devNumber) String() string { return fmt.Sprintf("%d:%d", d.major, d.minor) }

func parseDev(s string) (devNumber, error) {
	major, minor, ok := strings.Cut(strings.TrimSpace(s), ":")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return devNumber{}, fmt.Errorf("device number %q", s)
	}
	return devNumber{uint32(a), uint32(b)}, nil
}

// board is the hardware below one host tree: what is in it now, and how to find it from what a caller names.
type board struct {
	root string
	log  func(format string, args ...any)

	mu     sync.Mutex   // guards what follows, and every node
	seen   [2]time.Time // of the class directories when they were last scanned
	fmes   map[string]*fme
	ports  map[string]*port
	byDev  map[devNumber]*node
	byFile map[fileID]*node // nodes that are plain files
	byMem  map[fileID]*node // the files that callers get; never forgotten, they may be open
}

var (
	fmeName  = regexp.MustCompile(`^(dfl|intel-fpga)-fme\.[0-9]+$`)
	portName = regexp.MustCompile(`^(dfl|intel-fpga)-port\.[0-9]+$`)
)

var classDirs = [2]string{"sys/class/fpga_region", "sys/class/fpga"}

func newBoard(root string, log func(string, ...any)) (*board, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	b := &board{
		root: abs, log: log,
		fmes: map[string]*fme{}, ports: map[string]*port{},
		byDev: map[devNumber]*node{}, byFile: map[fileID]*node{}, byMem: map[fileID]*node{},
	}
	if _, err := os.Stat(filepath.Join(abs, "sys")); err != nil {
		return nil, fmt.Errorf("host root: %w", err)
	}
	if err := b.refresh(true); err != nil {
		return nil, err
	}
	return b, b.recallReleased()
}

// refresh reads the tree again if a card came or went since the last time, or if the caller knows better.
func (b *board) refresh(force bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var now [2]time.Time
	for i, d := range classDirs {
		if st, err := os.Stat(filepath.Join(b.root, d)); err == nil {
			now[i] = st.ModTime()
		}
	}
	if now == b.seen && !force {
		return nil
	}
	b.seen = now
	return b.scan()
}

// scan finds FMEs and ports below the class directories. A device that is as it was keeps its state; one that the
// emulator itself took out of the tree stays known.
func (b *board) scan() error {
	found := map[string]string{} // name → sysfs directory
	for _, class := range classDirs {
		entries, err := os.ReadDir(filepath.Join(b.root, class))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			dir, err := b.resolve(filepath.Join("/", class, e.Name()))
			if err != nil {
				continue // a link into nothing: not a card
			}
			children, err := os.ReadDir(dir)
			if err != nil {
				continue
			}
			for _, c := range children {
				if fmeName.MatchString(c.Name()) || portName.MatchString(c.Name()) {
					found[c.Name()] = filepath.Join(dir, c.Name())
				}
			}
		}
	}
	for name, f := range b.fmes {
		if !f.withdrawn() && found[name] != f.dir {
			delete(b.fmes, name)
			b.forget(&f.node)
		}
	}
	for name, p := range b.ports {
		if !p.withdrawn() && found[name] != p.dir {
			delete(b.ports, name)
			b.forget(&p.node)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if err := b.add(name, found[name]); err != nil {
			b.log("%s: skipped: %v", name, err)
		}
	}
	return b.connect()
}

func (b *board) forget(n *node) {
	n.dropMemory()
	if b.byDev[n.dev] == n {
		delete(b.byDev, n.dev)
	}
	for id, other := range b.byFile {
		if other == n {
			delete(b.byFile, id)
		}
	}
}

// add makes the device if it is new, and in any case learns the inode of a plain node.
func (b *board) add(name, dir string) error {
	var n *node
	switch {
	case b.fmes[name] != nil:
		n = &b.fmes[name].node
	case b.ports[name] != nil:
		n = &b.ports[name].node
	default:
		made, err := newNode(b.root, name, dir)
		if err != nil {
			return err
		}
		b.byMem[made.memID] = made
		if made.fme != nil {
			b.fmes[name] = made.fme
		} else {
			b.ports[name] = made.port
		}
		n = made
	}
	b.byDev[n.dev] = n
	var st unix.Stat_t
	err := unix.Lstat(filepath.Join(b.root, "dev", name), &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		b.byFile[fileID{st.Dev, st.Ino}] = n
	}
	return nil
}

// connect gives every port its FME: the one on its own PCI function, or on the physical function of its VF.
func (b *board) connect() error {
	byPCI := map[string]*fme{}
	for _, f := range b.fmes {
		f.ports = nil
		if !f.withdrawn() {
			f.pci = pciDir(f.dir)
		}
		byPCI[f.pci] = f
	}
	for _, name := range slices.Sorted(maps.Keys(b.ports)) {
		p := b.ports[name]
		if !p.withdrawn() {
			p.pci = pciDir(p.dir)
			p.onVF = false
			p.home = p.pci
			if pf, err := filepath.EvalSymlinks(filepath.Join(p.pci, "physfn")); err == nil {
				p.home, p.onVF = pf, true
			}
		}
		p.parent = byPCI[p.home]
		if p.parent == nil {
			b.log("%s: no FME on %s", name, p.home)
			continue
		}
		p.parent.ports = append(p.parent.ports, p)
		if err := p.recover(); err != nil {
			b.log("%s: %v", name, err)
		}
	}
	return nil
}

var pciFunction = regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)

// pciDir is the directory of the PCI function that a device directory lies in.
func pciDir(dir string) string {
	for d := dir; d != "/" && d != "."; d = filepath.Dir(d) {
		if pciFunction.MatchString(filepath.Base(d)) {
			return d
		}
	}
	return ""
}

// resolve follows all links of a host path inside the root; the result is a path of this process.
func (b *board) resolve(hostPath string) (string, error) {
	fd, err := openInRoot(b.root, hostPath, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
}

func openInRoot(root, hostPath string, flags uint64) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	fd, err := openat2(dir, hostPath, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: filepath.Join(root, hostPath), Err: err}
	}
	return fd, nil
}

// openat2 tries again when a rename somewhere on the machine got into the kernel's way (EAGAIN).
func openat2(dir int, path string, how *unix.OpenHow) (int, error) {
	for try := 0; ; try++ {
		fd, err := unix.Openat2(dir, path, how)
		if err == nil || try >= 100 || !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// find gives the node that a file is, nil if it is none of ours.
func (b *board) find(st *unix.Stat_t) *node {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return b.byDev[devNumber{unix.Major(st.Rdev), unix.Minor(st.Rdev)}]
	case unix.S_IFREG:
		return b.byFile[fileID{st.Dev, st.Ino}]
	}
	return nil
}

// opened gives the node whose file a caller has open.
func (b *board) opened(st *unix.Stat_t) *node {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byMem[fileID{st.Dev, st.Ino}]
}
