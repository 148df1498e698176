package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Faults is the content of the faults file: what is wrong, by device name ("dfl-fme.0", "dfl-port.1") or "*" for all.
// A PR takes its fields from the flags, then "*", then its FME, then its port; the later one wins, field by field.
type Faults map[string]Fault

// Fault is what is wrong with one device. The pr_ fields concern PRs, the rest the device itself.
type Fault struct {
	// PRErrno makes PRs fail, by name ("EIO") or number. EIO and ETIMEDOUT come after the delay, as from the hardware; others at once, as from the driver.
	PRErrno string `json:"pr_errno,omitempty"`
	// PRStatus are the error bits of a failed PR (see StatusBits); alone they imply EIO.
	PRStatus []string `json:"pr_status,omitempty"`
	// PRDelay is how long a PR takes, e.g. "400ms".
	PRDelay string `json:"pr_delay,omitempty"`
	// PRHang keeps a PR under way until the file says otherwise.
	PRHang bool `json:"pr_hang,omitempty"`
	// PRLoads is the AFU id that a PR loads whatever it was given, or "none": it succeeds and changes nothing.
	PRLoads string `json:"pr_loads,omitempty"`
	// PRLeavesReset leaves the port of a failed PR in reset: afu_id stays unreadable until a PR succeeds.
	PRLeavesReset bool `json:"pr_leaves_reset,omitempty"`
	// OpenErrno makes open fail, e.g. "EBUSY": of the very device, an FME's does not concern its ports.
	OpenErrno string `json:"open_errno,omitempty"`
	// Dead makes every id read all ones and PRs fail; on an FME it concerns the whole card.
	Dead bool `json:"dead,omitempty"`
	// Removed takes the device out of the tree; an FME takes its whole card along.
	Removed bool `json:"removed,omitempty"`
}

// statusBits names the bits of a failed PR, bit 0 first: OPAE returns them in the structure, DFL's manager shows the first five as text.
var statusBits = [...]string{"operation", "crc", "incompatible", "protocol", "fifo", "timeout", "secure"}

// StatusBits gives the names that Fault.PRStatus knows, bit 0 first.
func StatusBits() []string { return statusBits[:] }

const (
	statusOperation    = 1 << 0
	statusIncompatible = 1 << 2
	statusAll          = 1<<len(statusBits) - 1
)

// loadsNone is the PRLoads of a PR that changes nothing.
const loadsNone = "none"

// effect is a checked Fault.
type effect struct {
	prErrno, openErrno unix.Errno
	status             uint64
	delay              time.Duration
	hang, leavesReset  bool
	loads              string
	dead, removed      bool
}

// ParseErrno reads an errno by name or number.
func ParseErrno(s string) (unix.Errno, error) {
	if n, err := strconv.ParseUint(s, 10, 12); err == nil && unix.ErrnoName(unix.Errno(n)) != "" {
		return unix.Errno(n), nil
	}
	for n := unix.Errno(1); n < 134; n++ { // EHWPOISON is 133, the last one
		if strings.EqualFold(unix.ErrnoName(n), s) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("errno %q: want a name like EIO or the number of one", s)
}

func (f Fault) check() (effect, error) {
	e := effect{hang: f.PRHang, leavesReset: f.PRLeavesReset, loads: f.PRLoads, dead: f.Dead, removed: f.Removed}
	var err error
	if f.PRErrno != "" {
		if e.prErrno, err = ParseErrno(f.PRErrno); err != nil {
			return e, fmt.Errorf("pr_errno: %w", err)
		}
	}
	if f.OpenErrno != "" {
		if e.openErrno, err = ParseErrno(f.OpenErrno); err != nil {
			return e, fmt.Errorf("open_errno: %w", err)
		}
	}
	for _, name := range f.PRStatus {
		bit, err := statusBit(name)
		if err != nil {
			return e, err
		}
		e.status |= bit
	}
	if e.status != 0 && e.prErrno == 0 {
		e.prErrno = unix.EIO
	}
	if f.PRDelay != "" {
		if e.delay, err = time.ParseDuration(f.PRDelay); err != nil || e.delay < 0 {
			return e, fmt.Errorf("pr_delay: %q is not a duration", f.PRDelay)
		}
	}
	if e.loads != "" && e.loads != loadsNone {
		if e.loads, err = parseID(e.loads); err != nil {
			return e, fmt.Errorf("pr_loads: %w", err)
		}
	}
	return e, nil
}

func statusBit(name string) (uint64, error) {
	for bit, known := range statusBits {
		if name == known {
			return 1 << bit, nil
		}
	}
	return 0, fmt.Errorf("pr_status: %q is none of %s", name, strings.Join(statusBits[:], ", "))
}

// over lays the later effect over e, field by field.
func (e effect) over(later effect) effect {
	if later.prErrno != 0 {
		e.prErrno, e.status = later.prErrno, later.status
	}
	if later.openErrno != 0 {
		e.openErrno = later.openErrno
	}
	if later.delay != 0 {
		e.delay = later.delay
	}
	if later.loads != "" {
		e.loads = later.loads
	}
	e.hang = e.hang || later.hang
	e.leavesReset = e.leavesReset || later.leavesReset
	e.dead = e.dead || later.dead
	e.removed = e.removed || later.removed
	return e
}

// faultFile follows a file of faults; without a path it holds what the flags say.
type faultFile struct {
	path  string
	flags effect

	mu      sync.Mutex
	version fileVersion
	effects map[string]effect
}

type fileVersion struct {
	id    fileID
	size  int64
	mtime unix.Timespec
}

// reload reads the file if it changed. A file that is not there means no faults; one that cannot be understood leaves
// the last good ones.
func (f *faultFile) reload() (changed bool, err error) {
	if f.path == "" {
		return false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var version fileVersion
	var st unix.Stat_t
	switch err := unix.Stat(f.path, &st); {
	case err == nil:
		version = fileVersion{fileID{st.Dev, st.Ino}, st.Size, st.Mtim}
	case !errors.Is(err, unix.ENOENT):
		return false, fmt.Errorf("faults %s: %w", f.path, err)
	}
	if version == f.version {
		return false, nil
	}
	effects := map[string]effect{}
	if version != (fileVersion{}) {
		data, err := os.ReadFile(f.path)
		if err != nil {
			return false, fmt.Errorf("faults: %w", err)
		}
		if effects, err = parseFaults(data); err != nil {
			f.version = version // say it once
			return false, fmt.Errorf("faults %s: %w", f.path, err)
		}
	}
	f.version, f.effects = version, effects
	return true, nil
}

func parseFaults(data []byte) (map[string]effect, error) {
	effects := map[string]effect{}
	if len(bytes.TrimSpace(data)) == 0 {
		return effects, nil
	}
	var faults Faults
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&faults); err != nil {
		return nil, err
	}
	for name, fault := range faults {
		if name != "*" && !fmeName.MatchString(name) && !portName.MatchString(name) {
			return nil, fmt.Errorf("%q is not the name of an FME or port", name)
		}
		e, err := fault.check()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		effects[name] = e
	}
	return effects, nil
}

// of gives what holds for a device, named from the general to the particular.
func (f *faultFile) of(names ...string) effect {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.flags.over(f.effects["*"])
	for _, n := range names {
		e = e.over(f.effects[n])
	}
	return e
}

// WriteFaults replaces a faults file in one step.
func WriteFaults(path string, faults Faults) error {
	for name, fault := range faults {
		if _, err := fault.check(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	data, err := json.MarshalIndent(faults, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, string(data)+"\n")
}
