package npu

import (
	"context"
	"fmt"
	"path"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Resource is the name of this family's only resource.
const Resource = "npu.intel.com/accel"

// Config is the world: what main makes once.
type Config struct {
	Root *hostfs.Root // the host's tree; everything is read through it
	Log  logrus.FieldLogger
}

// Family implements plugin.Family and its optional abilities. It is safe for concurrent use.
type Family struct {
	c      Config
	memory map[string]Unit // what was offered last, by name; Scan's own, which is never called twice at a time

	mu   sync.Mutex
	o    Options
	sick bool // a unit of the last scan is
}

var (
	_ plugin.Family    = (*Family)(nil)
	_ plugin.Watcher   = (*Family)(nil)
	_ plugin.Diagnoser = (*Family)(nil)
)

// New makes the family; o is valid. Nothing is read before the first Scan.
func New(c Config, o Options) *Family { return &Family{c: c, o: o, memory: map[string]Unit{}} }

// Name implements plugin.Family.
func (f *Family) Name() string { return "npu" }

// Configure changes the options, which are valid; the next Scan uses them. It tells whether that is a change.
func (f *Family) Configure(o Options) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed, f.o = f.o != o, o
	return changed
}

// Scan implements plugin.Family.
func (f *Family) Scan(context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	found, err := Discover(f.c.Root)
	if err != nil {
		return nil, nil, err
	}
	units, skipped, sick := f.remember(found)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sick = sick
	return offer(units, f.o), skipped, nil
}

// remember adds the units that were offered and cannot be read any more: they are sick and not gone. What was never
// offered stays skipped.
func (f *Family) remember(found Inventory) (units []Unit, skipped []plugin.Skipped, sick bool) {
	units = found.Units
	for _, s := range found.Skipped {
		u, known := f.memory[path.Base(s.Path)]
		dir, err := f.c.Root.Resolve(s.Path)
		if !known || err != nil || dir != u.Dir {
			skipped = append(skipped, s)
			continue
		}
		u.Sick, sick = s.Reason, true
		units = append(units, u)
	}
	clear(f.memory)
	for _, u := range units {
		f.memory[u.Name] = u
		if u.NUMAErr != nil {
			f.c.Log.WithError(u.NUMAErr).WithField("device", u.Name).Debug("no NUMA hint")
		}
	}
	return units, skipped, sick
}

// offer turns units into the kubelet's devices. The shares of a unit have all but the id in common.
func offer(units []Unit, o Options) plugin.Inventory {
	inv := plugin.Inventory{}
	for i := range units {
		u := &units[i]
		d := plugin.Device{Health: plugin.Healthy, NUMA: u.NUMA, Grant: plugin.Grant{
			Nodes: []plugin.Node{{HostPath: u.Node, ContainerPath: u.Node, Permissions: "rw"}},
		}}
		if u.Sick != "" {
			d.Health, d.Reason = plugin.Unhealthy, u.Sick
		}
		for share := range o.SharedDevNum {
			d.ID = fmt.Sprintf("%s-%d", u.Name, share)
			inv[Resource] = append(inv[Resource], d)
		}
	}
	return inv
}

// Watch implements plugin.Watcher: the kernel tells of units that come and go, and devtmpfs makes their nodes.
func (f *Family) Watch() plugin.Watch {
	w := plugin.Watch{
		Subsystems: []string{"accel"},
		Folders:    []plugin.Folder{{Path: f.c.Root.Join(nodeDir), Match: func(name string) bool { return number(name) >= 0 }}},
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.sick { // without values every audit is a scan
		w.Values = []string{f.c.Root.Join(classDir)}
	}
	return w
}
