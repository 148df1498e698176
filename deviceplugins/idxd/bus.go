package idxd

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/pciaddr"
)

// busFolder holds a link for each device, queue, group and engine of the driver; for each open queue too (file0).
const busFolder = "/sys/bus/dsa/devices"

// subsystem is that bus, of IAA too.
const subsystem = "dsa"

// The words of the attribute state, of devices and of queues.
const (
	stateEnabled  = "enabled"
	stateDisabled = "disabled"
	stateHalted   = "halted"
)

// device is one accelerator that the driver idxd runs.
type device struct {
	name  string // "dsa0"
	dir   string // below busFolder
	state string // "" where it cannot be read
	// queues are all that the hardware has, in the order of their numbers, configured or not.
	queues []queue
	err    error // why it could not be read
}

// queue is one work queue.
type queue struct {
	name string // "wq0.1"
	dir  string
	// state decides; mode and kind are read of enabled queues only.
	state, mode, kind string
	err               error // what could not be read of it
}

// address is the PCI address of a device, "" where sysfs does not show one.
func (d device) address(root *hostfs.Root) string {
	dir, err := root.Resolve(d.dir)
	if a := path.Base(path.Dir(dir)); err == nil && pciaddr.Valid(a) {
		return a
	}
	return ""
}

// readBus reads all devices of a kind. What cannot be read of one is in its err; an error says that there was no looking.
func readBus(root *hostfs.Root, kind Kind) (devices []device, err error) {
	names, err := root.ReadDir(busFolder)
	if err != nil {
		if hostfs.Absent(err) {
			return nil, nil
		}
		return nil, unreadable("it", err)
	}
	prefix := kind.facts().prefix
	for _, name := range natural(names, func(name string) ([2]uint64, bool) { return parseDevice(prefix, name) }) {
		devices = append(devices, readDevice(root, name))
	}
	return devices, nil
}

func readDevice(root *hostfs.Root, name string) device {
	d := device{name: name, dir: busFolder + "/" + name}
	entries, err := root.ReadDir(d.dir)
	if err != nil {
		d.err = unreadable("it", err)
		return d
	}
	d.state, _ = root.ReadAttr(d.dir + "/state") // the queues' own states decide; this one only tells of a halt
	for _, entry := range natural(entries, parseQueue) {
		d.queues = append(d.queues, readQueue(root, d.dir, entry))
	}
	return d
}

// readQueue reads the attributes of a queue. They are read one after the other while the driver may change them: what
// does not fit together is found by the caller, and the event that follows the change brings him back.
func readQueue(root *hostfs.Root, dir, name string) queue {
	q := queue{name: name, dir: dir + "/" + name}
	read := func(attr string) string {
		value, err := root.ReadAttr(q.dir + "/" + attr)
		if err != nil && q.err == nil {
			q.err = unreadable("its "+attr, err)
		}
		return value
	}
	if q.state = read("state"); q.state == stateEnabled {
		q.mode, q.kind = read("mode"), read("type")
	}
	return q
}

// unreadable says what could not be read.
func unreadable(what string, err error) error {
	return fmt.Errorf("%s cannot be read: %s", what, cause(err))
}

// cause is an error of the file system without the path, which stands beside it.
func cause(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}

// parseDevice reads "dsa0".
func parseDevice(prefix, name string) (number [2]uint64, ok bool) {
	text, ok := strings.CutPrefix(name, prefix)
	n, valid := parseNumber(text)
	return [2]uint64{n}, ok && valid
}

// parseQueue reads "wq0.1": the numbers of the device and of the queue.
func parseQueue(name string) (numbers [2]uint64, ok bool) {
	text, ok := strings.CutPrefix(name, "wq")
	device, number, dot := strings.Cut(text, ".")
	a, validA := parseNumber(device)
	b, validB := parseNumber(number)
	return [2]uint64{a, b}, ok && dot && validA && validB
}

// parseNumber reads a number as the kernel writes one: decimal, without a sign or leading zeros.
func parseNumber(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return n, err == nil && strconv.FormatUint(n, 10) == s
}

// natural keeps the names that parse reads and sorts them by their numbers: wq0.2 before wq0.10.
func natural(names []string, parse func(string) ([2]uint64, bool)) []string {
	type named struct {
		numbers [2]uint64
		name    string
	}
	var kept []named
	for _, name := range names {
		if numbers, ok := parse(name); ok {
			kept = append(kept, named{numbers, name})
		}
	}
	slices.SortFunc(kept, func(a, b named) int { return slices.Compare(a.numbers[:], b.numbers[:]) })
	sorted := make([]string, len(kept))
	for i, k := range kept {
		sorted[i] = k.name
	}
	return sorted
}
