package sgx

import (
	"context"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/record"
)

// Config is the world around the family.
type Config struct {
	Root *hostfs.Root
	CDI  *cdi.Folder // nil: no CDI file is written
	Log  logrus.FieldLogger
}

// Family implements plugin.Family and its optional abilities. It is safe for concurrent use.
type Family struct {
	c Config

	mu      sync.Mutex
	options Options
	offers  bool // the last scan found SGX
}

var (
	_ plugin.Family    = (*Family)(nil)
	_ plugin.Watcher   = (*Family)(nil)
	_ plugin.Allocator = (*Family)(nil)
	_ plugin.Diagnoser = (*Family)(nil)
)

// New makes the family. o is valid. Nothing is read before the first Scan.
func New(c Config, o Options) *Family { return &Family{c: c, options: o} }

// Name implements plugin.Family.
func (*Family) Name() string { return "sgx" }

// Configure changes the options; the next Scan offers accordingly. It tells whether that is a change.
func (f *Family) Configure(o Options) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed = f.options != o
	f.options = o
	return changed
}

func (f *Family) settings() Options {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.options
}

// Present tells whether the last scan found SGX.
func (f *Family) Present() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.offers
}

// Limited tells whether enclaves are to be held to the pods' limits of sgx.intel.com/epc.
func (f *Family) Limited() bool { return f.settings().EPCLimits }

// Scan implements plugin.Family.
func (f *Family) Scan(context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	o := f.settings()
	inv, skipped := Discover(f.c.Root, o)
	if err := f.keepCDI(inv, o, len(skipped) > 0); err != nil {
		if len(inv[Domain+"registration"]) > 0 {
			delete(inv, Domain+"registration")
			skipped = append(skipped, plugin.Skipped{Path: Domain + "registration", Reason: err.Error()})
		} else { // a file that nobody is told of
			f.c.Log.WithError(err).Debug("CDI file of registration")
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offers = len(inv) > 0
	return inv, skipped, nil
}

// keepCDI has the file in place by which a runtime finds what registration names. While a node cannot be used it stays as
// it is: a container that has registration may be made anew.
func (f *Family) keepCDI(inv plugin.Inventory, o Options, broken bool) error {
	if f.c.CDI == nil {
		return nil
	}
	var devices []specs.Device
	var stays []string
	if broken && o.DCAPInfraResources && o.CDI != cdi.Off {
		stays = append(stays, efivarfs)
	}
	if len(inv[Domain+"registration"]) > 0 {
		devices = append(devices, specs.Device{Name: efivarfs, ContainerEdits: specs.ContainerEdits{Mounts: []*specs.Mount{{
			HostPath: efivarfs, ContainerPath: "/run/efivars", Type: efivarfs,
			Options: []string{"rw", "nosuid", "nodev", "noexec", "relatime"},
		}}}})
	}
	return f.c.CDI.Keep(Kind, devices, stays...)
}

// Watch implements plugin.Watcher: the driver makes its nodes when it is loaded, and nothing else ever changes.
func (f *Family) Watch() plugin.Watch {
	w := plugin.Watch{
		Folders: []plugin.Folder{{
			Path: f.c.Root.Join("/dev"), Match: func(name string) bool { return strings.HasPrefix(name, "sgx_") },
		}},
		// Never another while the nodes are there: a family that names no value is scanned every 5 s.
		Values: []string{f.c.Root.Join("/sys/class/misc/sgx_enclave/dev")},
	}
	if f.c.CDI != nil && f.settings().DCAPInfraResources {
		w.Folders = append(w.Folders, f.c.CDI.Watch(Kind))
	}
	return w
}

// Allocate implements plugin.Allocator: what the devices grant, and the record by which inlay-nri knows a container whose
// enclaves may have a limit.
func (f *Family) Allocate(_ context.Context, resource string, devices []plugin.Device) (*v1beta1.ContainerAllocateResponse, error) {
	answer := plugin.Merge(devices)
	ids := make([]string, len(devices))
	for i, d := range devices {
		ids[i] = d.ID
	}
	if answer.Annotations == nil {
		answer.Annotations = map[string]string{}
	}
	answer.Annotations[record.KeyFor(resource)] = strings.Join(ids, ",")
	return answer, nil
}
