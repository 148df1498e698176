package idxd

import (
	"context"
	"path"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/record"
	"github.com/inlay-project/inlay/internal/uevent"
)

// Config is where a family finds its devices.
type Config struct {
	Root *hostfs.Root
	Log  logrus.FieldLogger
}

// Family offers the devices of one kind. It implements plugin.Family, Watcher, Allocator and Diagnoser, writes nothing to
// the host, and is safe for concurrent use.
type Family struct {
	c    Config
	kind Kind

	mu      sync.Mutex
	options Options
	scanned Options         // of the last scan
	values  []string        // of the last scan
	majors  map[uint32]bool // of all scans: a queue that is enabled again has the number that it had
}

var (
	_ plugin.Family    = (*Family)(nil)
	_ plugin.Watcher   = (*Family)(nil)
	_ plugin.Allocator = (*Family)(nil)
	_ plugin.Diagnoser = (*Family)(nil)
)

// New makes the family of a kind; o is valid. Nothing is read before the first Scan.
func New(c Config, kind Kind, o Options) *Family {
	f := &Family{c: c, kind: kind, options: o, scanned: o, majors: map[uint32]bool{}}
	f.warn(o)
	return f
}

// Name implements plugin.Family: "dsa" or "iaa".
func (f *Family) Name() string { return string(f.kind) }

// Configure changes the options, which are valid; the next Scan offers accordingly. It tells whether that is a change.
func (f *Family) Configure(o Options) (changed bool) {
	f.mu.Lock()
	changed = f.options != o
	f.options = o
	f.mu.Unlock()
	if changed {
		f.warn(o)
	}
	return changed
}

// warn says what of the options means nothing.
func (f *Family) warn(o Options) {
	if o.Driver == DriverVFIO && o.SharedDevNum > 1 {
		f.c.Log.WithField("family", f.Name()).Warnf("%s-shared-dev-num %d is ignored: a device that is bound to %s belongs to one container",
			f.kind, o.SharedDevNum, DriverVFIO)
	}
}

func (f *Family) configured() Options {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.options
}

// Scan implements plugin.Family. It never gives an error: what cannot be read is skipped.
func (f *Family) Scan(context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	o := f.configured()
	inv := Discover(f.c.Root, f.kind, o)
	for _, note := range inv.Notes {
		f.c.Log.WithField("family", f.Name()).Debugf("%s", note)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scanned = o
	f.values = f.values[:0:0] // what Watch gave is the engine's
	for _, value := range inv.Values {
		f.values = append(f.values, f.c.Root.Join(value))
	}
	for major := range inv.majors {
		f.majors[major] = true
	}
	return inv.Devices, inv.Skipped, nil
}

// Watch implements plugin.Watcher.
//
// A queue that is enabled or disabled is a device of the bus dsa that is bound or unbound, and its node one that is added
// or removed: events of subsystem dsa. The companion link is udev's and comes after them. What the kernel tells nobody is
// that a device has halted and its queues with it: for that the states are read.
func (f *Family) Watch() plugin.Watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := plugin.Watch{Values: f.values}
	folder := func(path string, match func(string) bool) {
		w.Folders = append(w.Folders, plugin.Folder{Path: f.c.Root.Join(path), Match: match})
	}
	if f.scanned.Driver == DriverVFIO {
		w.Subsystems = []string{"pci", "vfio", "vfio-dev"}
		folder("/dev/vfio", nil)
		folder("/dev/vfio/devices", nil)
		return w
	}
	w.Subsystems, w.Ignore = []string{subsystem}, isOpened
	folder("/dev/"+f.kind.facts().prefix, func(name string) bool { _, ok := parseQueue(name); return ok })
	folder(charFolder, f.isCompanion)
	return w
}

// isOpened tells whether an event is about a file<n>: since Linux 6.4 each open of a queue is a device on the bus, added and
// removed with it. A workload may open its queue a thousand times a second.
func isOpened(e uevent.Event) bool {
	n, ok := strings.CutPrefix(path.Base(e.DevPath), "file")
	return ok && n != "" && strings.Trim(n, "0123456789") == ""
}

// isCompanion tells whether a name below /dev/char is the link of a queue of ours.
func (f *Family) isCompanion(name string) bool {
	dev, err := hostfs.ParseDev(name)
	if err != nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.majors[dev.Major]
}

// Allocate implements plugin.Allocator: the devices' nodes, and for whole functions the variables VFIO_BDF<n>, numbered
// from 0 in the order of the addresses, with the record from which inlay-nri numbers them over all of a container's
// resources.
func (f *Family) Allocate(_ context.Context, resource string, devices []plugin.Device) (*v1beta1.ContainerAllocateResponse, error) {
	answer := plugin.Merge(devices)
	if resource != f.kind.resource(vfioResource) {
		return answer, nil
	}
	addresses := make([]string, len(devices))
	entries := make([]record.Device, len(devices))
	for i, d := range devices {
		addresses[i] = d.ID
		entries[i] = record.Device{ID: d.ID, Address: d.ID}
	}
	answer.Envs = vfio.Variables(vfioVariable, addresses)
	answer.Annotations[record.KeyFor(resource)] = record.Value(entries)
	return answer, nil
}
