package qat

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Config is where the family finds things.
type Config struct {
	Root *hostfs.Root
	Log  logrus.FieldLogger

	readOnly bool
}

// Family implements plugin.Family and its optional abilities. It is safe for concurrent use.
type Family struct {
	c      Config
	binder *vfio.Binder

	// Scan's own, which is never called twice at a time.
	heart   *heart
	offered map[string]string // resource that a VF was offered as while it was well, by address
	leftOut string            // what was last said of VFs beyond the most

	mu      sync.Mutex
	options Options
	places  map[string]place // by address; replaced as a whole, never changed
	watch   plugin.Watch
}

// place is where a VF sits.
type place struct{ pf string }

var (
	_ plugin.Family    = (*Family)(nil)
	_ plugin.Watcher   = (*Family)(nil)
	_ plugin.Allocator = (*Family)(nil)
	_ plugin.Preferrer = (*Family)(nil)
	_ plugin.Diagnoser = (*Family)(nil)
)

// New makes the family; o is valid. Nothing is read or written before the first Scan.
func New(c Config, o Options) *Family {
	return &Family{
		c: c, binder: vfio.NewBinder(c.Root, c.Log), options: o, heart: &heart{root: c.Root, beats: map[string]beat{}}, offered: map[string]string{},
		watch: c.watching(Inventory{}, o, false),
	}
}

// Name implements plugin.Family.
func (f *Family) Name() string { return "qat" }

// ReadOnly gives a family that looks at the same node and binds nothing: it shows what would be offered.
func (f *Family) ReadOnly() *Family {
	c := f.c
	c.readOnly = true
	return New(c, f.current())
}

// Configure changes the options, which are valid; the next Scan uses them. It tells whether that is a change.
func (f *Family) Configure(o Options) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed = !f.options.equal(o)
	f.options = o
	return changed
}

func (f *Family) current() Options {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.options
}

// Scan implements plugin.Family. It binds VFs first, where the options say so and the family is not ReadOnly.
func (f *Family) Scan(ctx context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	o := f.current()
	found := f.look(ctx, o)
	f.sayLeftOut(found, o)

	inv, skipped := plugin.Inventory{}, found.Skipped
	places, offered := map[string]place{}, map[string]string{}
	unsettled := len(skipped) > 0
	addresses := make([]string, 0, len(found.VFs))
	for i := range found.VFs {
		v := &found.VFs[i]
		addresses = append(addresses, v.Address)
		resource := Domain + v.Kind
		grant, err := f.ready(ctx, v, o)
		d := plugin.Device{ID: v.Address, Health: plugin.Healthy, NUMA: v.NUMA, Grant: grant}
		switch {
		case err != nil && f.offered[v.Address] == "":
			unsettled = unsettled || !v.obscure // a card's services are a value that is looked at
			skipped = append(skipped, plugin.Skipped{Path: v.path(), Reason: err.Error()})
			continue
		case err != nil: // the kubelet has it, and so may a pod: it does not go, it falls sick
			unsettled, resource = unsettled || !v.obscure, f.offered[v.Address]
			d.Health, d.Reason, d.Grant = plugin.Unhealthy, err.Error(), plugin.Grant{}
		case v.sick() != "":
			d.Health, d.Reason = plugin.Unhealthy, v.sick()
		}
		offered[v.Address] = resource
		places[v.Address] = place{pf: v.pfAddress()}
		inv[resource] = append(inv[resource], d)
	}
	f.binder.Keep(addresses)
	f.offered = offered
	watch := f.c.watching(found, o, unsettled)
	watch.Answered = f.heart.answered
	f.heart.keep(found.PFs, len(watch.Queries) > 0)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.places, f.watch = places, watch
	return inv, skipped, nil
}

// look is discover with what the family knows of the cards' heartbeats. Who looks once has no audit after it: a card that
// gave no answer is asked again.
func (f *Family) look(ctx context.Context, o Options) Inventory {
	listen := func(p *PF) string { return f.heart.listen(p).reason() }
	found := discover(f.c.Root, o, listen)
	if f.c.readOnly && f.heart.settle(ctx) {
		found = discover(f.c.Root, o, listen)
	}
	return found
}

// path is the VF's folder, for messages.
func (v *VF) path() string {
	if v.SysPath != "" {
		return v.SysPath
	}
	return vfio.Devices + "/" + v.Address
}

func (v *VF) pfAddress() string {
	if v.PF != nil {
		return v.PF.Address
	}
	return ""
}

// ready sees to it that a VF can be given out and says what a container gets with it.
func (f *Family) ready(ctx context.Context, v *VF, o Options) (plugin.Grant, error) {
	if v.Err != nil {
		return plugin.Grant{}, v.Err
	}
	if v.NUMAErr != nil {
		f.c.Log.WithError(v.NUMAErr).WithField("device", v.Address).Debug("topology is not known")
	}
	promise := false
	switch {
	case v.bound(o.DPDKDriver):
		f.binder.Bound(v.Address)
	case !o.Bind:
		return plugin.Grant{}, &vfio.Obstacle{
			Reason: fmt.Sprintf("it is bound to %s, not to %s, and --qat-bind is off", orNone(v.Driver), o.DPDKDriver),
			Remedy: vfio.Command(v.Device, o.DPDKDriver),
		}
	case f.c.readOnly:
		if err := vfio.Bindable(f.c.Root, v.Device, o.DPDKDriver, o.takenFrom()...); err != nil {
			return plugin.Grant{}, err
		}
		f.c.Log.WithFields(logrus.Fields{"device": v.Address, "from": orNone(v.Driver), "driver": o.DPDKDriver}).
			Info("the VF is not bound yet, inlay-deviceplugin does that when it runs")
		promise = true
	default:
		if err := f.binder.Bind(ctx, v.Device, o.DPDKDriver, o.takenFrom()...); err != nil {
			return plugin.Grant{}, err
		}
		now, err := vfio.Look(f.c.Root, v.Address) // its group and its node of its own came with the driver
		if err != nil {
			return plugin.Grant{}, err
		}
		v.Device = now
	}
	return v.grant(f.c.Root, o.DPDKDriver, promise)
}

// takenFrom are the drivers that a VF may be taken from.
func (o Options) takenFrom() []string {
	var names []string
	for _, k := range o.enabled() {
		names = append(names, k.vfDriver)
	}
	return names
}

func orNone(driver string) string {
	if driver == "" {
		return "no driver"
	}
	return driver
}

// sayLeftOut logs what is beyond the most that the node may offer, once for as long as it stays so.
func (f *Family) sayLeftOut(found Inventory, o Options) {
	text := leftOut(found, o)
	if text != "" && text != f.leftOut {
		f.c.Log.WithField("vfs", strings.Join(found.LeftOut, ",")).Warn(text)
	}
	f.leftOut = text
}

func leftOut(found Inventory, o Options) string {
	if len(found.LeftOut) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d QAT VFs are left out, %s and on: --qat-max-num-devices is %d",
		len(found.LeftOut), len(found.LeftOut)+len(found.VFs), found.LeftOut[0], o.MaxNumDevices)
}

// Watch implements plugin.Watcher.
func (f *Family) Watch() plugin.Watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watch
}

// watching says what a change looks like after a scan. VFs, drivers and modules come and go with events, nodes too; a
// card's services, and who has which VF where no events reach this process, are values. While something waits for another
// try, every audit is a scan. The heartbeat of the kernel's driver is a query, not a value (see the package's doc).
func (c Config) watching(found Inventory, o Options, unsettled bool) plugin.Watch {
	w := plugin.Watch{Subsystems: []string{"pci", "drivers", "module", "vfio", "vfio-dev", "uio"}}
	if o.DPDKDriver == DriverUIO {
		w.Folders = append(w.Folders, plugin.Folder{
			Path: c.Root.Join("/dev"), Match: func(name string) bool { return strings.HasPrefix(name, "uio") },
		})
	} else {
		w.Folders = append(w.Folders, plugin.Folder{Path: c.Root.Join("/dev/vfio")}, plugin.Folder{Path: c.Root.Join("/dev/vfio/devices")})
	}
	if unsettled {
		return w
	}
	var values []string
	for _, k := range o.enabled() {
		values = append(values, vfio.Drivers+"/"+k.pfDriver)
	}
	values = append(values, vfio.Drivers+"/"+o.DPDKDriver)
	for _, pf := range found.PFs {
		if pf.VFs == 0 {
			continue
		}
		values = append(values, pf.SysPath+"/qat/state")
		if queries(c.Root, pf) {
			w.Queries = append(w.Queries, c.Root.Join(pf.status()))
		} else {
			values = append(values, pf.status())
		}
		if pf.servicesFile != "" {
			values = append(values, pf.servicesFile)
		}
	}
	for _, v := range values {
		w.Values = append(w.Values, c.Root.Join(v))
	}
	return w
}
