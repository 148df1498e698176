package dlb

import (
	"context"
	"sync"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Options are what a user can set: nothing.
type Options struct{}

// DefaultOptions are those of a node that sets nothing.
func DefaultOptions() Options { return Options{} }

// AddFlags defines the family's flags: none.
func (*Options) AddFlags(*pflag.FlagSet) {}

// Validate gives an error that names the flag and what is allowed.
func (Options) Validate() error { return nil }

// Config is where the family finds things.
type Config struct {
	Root *hostfs.Root
	Log  logrus.FieldLogger
}

// Family implements plugin.Family, plugin.Watcher and plugin.Diagnoser. It is safe for concurrent use. What a container
// gets is what the engine puts together of the devices' grants.
type Family struct {
	c Config
	// offered is the resource that a device was offered as while it was well, by name. It is Scan's own, which is never
	// called twice at a time.
	offered map[string]string

	mu    sync.Mutex
	watch plugin.Watch
}

var (
	_ plugin.Family    = (*Family)(nil)
	_ plugin.Watcher   = (*Family)(nil)
	_ plugin.Diagnoser = (*Family)(nil)
)

// New makes the family. Nothing is read before the first Scan.
func New(c Config, _ Options) *Family { return &Family{c: c, watch: c.watching(Inventory{})} }

// Name implements plugin.Family.
func (f *Family) Name() string { return "dlb" }

// ReadOnly gives a family that looks at the same node and writes nothing, as this one does too.
func (f *Family) ReadOnly() *Family { return New(f.c, Options{}) }

// Configure changes the options, which are none, so that is never a change.
func (f *Family) Configure(Options) (changed bool) { return false }

// Scan implements plugin.Family.
func (f *Family) Scan(context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	found := Discover(f.c.Root)
	inv, skipped, offered := plugin.Inventory{}, found.Skipped, map[string]string{}
	for _, d := range found.Devices {
		if d.NUMAErr != nil {
			f.c.Log.WithError(d.NUMAErr).WithField("device", d.Node()).Debug("topology is not known")
		}
		resource, health, reason := d.Resource, plugin.Healthy, ""
		if d.Sick != (plugin.Skipped{}) { // what the kubelet has, and a pod may hold, falls sick and does not go
			resource, health, reason = f.offered[d.Name], plugin.Unhealthy, d.Sick.String()
			if resource == "" {
				skipped = append(skipped, d.Sick)
			}
		}
		if resource == "" {
			continue
		}
		offered[d.Name] = resource
		node := plugin.Node{HostPath: d.Node(), ContainerPath: d.Node(), Permissions: "rw"}
		inv[resource] = append(inv[resource], plugin.Device{
			ID: d.Node(), Health: health, Reason: reason, NUMA: d.NUMA, Grant: plugin.Grant{Nodes: []plugin.Node{node}},
		})
	}
	f.offered = offered
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watch = f.c.watching(found)
	return inv, skipped, nil
}

// Watch implements plugin.Watcher.
func (f *Family) Watch() plugin.Watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watch
}

// watching says what a change looks like after a scan: nodes that come and go, and cards that get VFs.
func (c Config) watching(found Inventory) plugin.Watch {
	w := plugin.Watch{
		Subsystems: []string{driver, "pci"},
		Folders:    []plugin.Folder{{Path: c.Root.Join("/dev"), Match: isDevice}},
		Values:     []string{c.Root.Join(class)},
	}
	for _, d := range found.Devices {
		if d.Resource != ResourceVF {
			w.Values = append(w.Values, c.Root.Join(class+"/"+d.Name+"/device/sriov_numvfs"))
		}
	}
	return w
}
