package fpga

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/fpga/earlier"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/nodestate"
	"github.com/inlay-project/inlay/internal/podresources"
)

// Domain begins the names of this family's resources.
const Domain = "fpga.intel.com/"

// Mode is what a node offers of its cards.
type Mode string

const (
	ModeAF          Mode = "af"          // ports with the functions that they hold
	ModeRegion      Mode = "region"      // FMEs, programmed for the container
	ModeRegiondevel Mode = "regiondevel" // FMEs, for the container to program
)

// ParseMode reads a mode's name.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case ModeAF, ModeRegion, ModeRegiondevel:
		return m, nil
	}
	return "", fmt.Errorf("mode %.40q is none of af, region, regiondevel", s)
}

// Grant is who hands out device nodes.
type Grant string

const (
	GrantNRI      Grant = "nri"      // inlay-nri
	GrantAllocate Grant = "allocate" // Allocate itself: for runtimes without NRI
)

// Kubelet tells which devices containers hold.
type Kubelet interface {
	List(ctx context.Context) (*podresources.Listing, error)
	// Age is how long there has been a kubelet to ask; false where there is none.
	Age() (age time.Duration, there bool)
}

// Config is where the family finds things and what it hands out.
type Config struct {
	Root    *hostfs.Root
	Grant   Grant
	RunDir  string  // as this process sees it
	CDIDir  string  // as this process sees it
	Hook    Hook    // inlay-hook on the host
	Kubelet Kubelet // nil = nobody to ask
	// PodResources is the path of the socket that Kubelet asks: when it comes, the kubelet can be asked.
	PodResources string
	// Plugins is the kubelet's device-plugins folder as this process sees it; "" = nobody looks for an earlier plugin's
	// sockets there.
	Plugins string
	Log     logrus.FieldLogger

	readOnly   bool
	probeLimit time.Duration // for one socket in Plugins; zero is the usual one
	texts      *cdi.Texts
}

// Family implements plugin.Family and its optional abilities. It is safe for concurrent use.
type Family struct {
	c Config

	// memory and before are Scan's own, which is never called twice at a time.
	memory memory
	before predecessor

	mu       sync.Mutex
	mode     Mode
	places   map[string]place // by device id; of the scan that runs, else of the last one
	cards    bool             // the last scan found one
	ids      []fpga.InterfaceID
	answered map[string]answer
	watch    plugin.Watch
}

// place is where a device sits and what it is now.
type place struct {
	resource string // "" while it is sick
	sick     string
	address  string // PCI address of its FME
}

// answer is what Allocate said of a device last.
type answer struct {
	resource string
	at       time.Time
}

// fresh is how long a kubelet's answer is asked for again: it lists the pods of before its restart only when it has heard
// of them from the API server.
const fresh = 20 * time.Second

// admission is how long the kubelet may take from our answer to Allocate until its podresources API lists the device: it
// writes its checkpoint in between.
const admission = 3 * time.Second

var (
	_ plugin.Family     = (*Family)(nil)
	_ plugin.Watcher    = (*Family)(nil)
	_ plugin.Allocator  = (*Family)(nil)
	_ plugin.Preferrer  = (*Family)(nil)
	_ plugin.PreStarter = (*Family)(nil)
	_ plugin.Diagnoser  = (*Family)(nil)
)

// New makes the family. Nothing is read before the first Scan.
func New(c Config, mode Mode) *Family {
	c.texts = &cdi.Texts{}
	return &Family{c: c, mode: mode, memory: memory{}, places: map[string]place{}, answered: map[string]answer{}}
}

// Name implements plugin.Family.
func (f *Family) Name() string { return "fpga" }

// ReadOnly gives a family that looks at the same node and writes nothing.
func (f *Family) ReadOnly() *Family {
	c := f.c
	c.readOnly = true
	return New(c, f.Mode())
}

// SetMode changes the mode; the next Scan offers accordingly. It tells whether that is a change.
func (f *Family) SetMode(m Mode) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := f.mode != m
	f.mode = m
	return changed
}

// Mode is the mode of the next Scan.
func (f *Family) Mode() Mode {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mode
}

// Present tells whether the node has a card that its driver knows.
func (f *Family) Present() bool { return len(card.Discover(f.c.Root).FMEs) > 0 }

// Interfaces tells, of the last scan, whether there was a card, and the interface ids that could be read, sorted.
func (f *Family) Interfaces() (cards bool, ids []fpga.InterfaceID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cards, f.ids
}

func interfaces(cards card.Inventory) []fpga.InterfaceID {
	var ids []fpga.InterfaceID
	for i := range cards.FMEs {
		if fme := &cards.FMEs[i]; interfaceSick(fme) == "" {
			ids = append(ids, fme.Interface)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Scan implements plugin.Family.
func (f *Family) Scan(ctx context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	mode := f.Mode()
	cards := card.Discover(f.c.Root)
	s := &scan{
		c: f.c, mode: mode, memory: f.memory, holdings: holdings{ctx: ctx, kubelet: f.c.Kubelet},
		inv: plugin.Inventory{}, offered: memory{},
	}
	for _, skipped := range cards.Skipped {
		s.skip(skipped.Path, "%s", skipped.Reason)
	}
	var units []unit
	for i := range cards.FMEs {
		units = append(units, s.units(&cards.FMEs[i])...)
	}
	s.answered = f.turn(units)
	var signs []earlier.Sign
	if len(cards.FMEs) > 0 {
		signs = f.before.running(ctx, f.c)
		s.shared = len(signs) > 0
	}
	for _, u := range units {
		s.offer(u)
	}
	if len(cards.FMEs) > 0 {
		var replaced []string
		if !f.c.readOnly {
			var err error
			if replaced, err = f.c.prepare(mode, cards); err != nil {
				s.allUnhealthy(err.Error())
				s.unsettled = true
			}
		}
		f.before.tell(s, signs, replaced)
	}
	f.memory = s.offered
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watch = f.c.watching(mode, cards, s.unsettled)
	f.cards, f.ids = len(cards.FMEs) > 0, interfaces(cards)
	return s.inv, s.skipped, nil
}

// turn makes Allocate see the devices as they are now, and gives what it answered shortly before. It comes before the
// kubelet is asked who holds what: an allocation under a device's old name is either refused from here on, or the
// kubelet knows of it, or it is among the answers.
func (f *Family) turn(units []unit) map[string]answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.places = map[string]place{}
	for _, u := range units {
		f.places[u.id] = place{resource: u.resource, sick: u.sick, address: u.address}
	}
	recent := map[string]answer{}
	for id, a := range f.answered {
		if time.Since(a.at) < admission {
			recent[id] = a
		} else {
			delete(f.answered, id)
		}
	}
	return recent
}

// prepare has in place what a container needs, before its device is offered. It gives the CDI files of an earlier plugin
// that it replaced.
func (c Config) prepare(mode Mode, cards card.Inventory) (replaced []string, err error) {
	if replaced, err = c.ensureCDI(cards); err != nil {
		return replaced, err
	}
	return replaced, c.ensureMode(mode)
}

// ensureMode tells the mode to inlay-nri and to the hook. A region resource has one name in two modes, so they must know
// which it is before the kubelet gives the first one out.
func (c Config) ensureMode(mode Mode) error {
	want := nodestate.State{Mode: string(mode), Grant: string(c.Grant)}
	if have, err := nodestate.Read(c.RunDir); err == nil && have == want {
		return nil
	}
	if err := nodestate.Write(c.RunDir, want); err != nil {
		return fmt.Errorf("this node's mode cannot be told to inlay-nri: %w", err)
	}
	return nil
}

// Watch implements plugin.Watcher.
func (f *Family) Watch() plugin.Watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watch
}

// watching says what a change looks like after a scan. The kernel sends events for devices, none for the values of
// sysfs. While something waits for what no event announces, every audit is a scan.
func (c Config) watching(mode Mode, cards card.Inventory, unsettled bool) plugin.Watch {
	isOurs := func(name string) bool {
		_, ours := card.DriverOf(name)
		return ours
	}
	w := plugin.Watch{
		Subsystems: []string{"fpga_region", "fpga", "fpga_manager", "platform", "pci"},
		Folders: []plugin.Folder{
			{Path: c.Root.Join("/dev"), Match: isOurs},
			{Path: c.CDIDir, Content: true, Match: c.isCDIFile},
			{Path: c.RunDir, Content: true},
		},
	}
	if c.Plugins != "" {
		w.Folders = append(w.Folders, plugin.Folder{Path: c.Plugins, Match: earlier.IsSocket})
	}
	if c.Kubelet != nil {
		folder, socket := filepath.Split(c.PodResources)
		w.Folders = append(w.Folders, plugin.Folder{Path: filepath.Clean(folder), Match: func(name string) bool { return name == socket }})
	}
	if unsettled {
		return w
	}
	for _, d := range card.Drivers() {
		w.Values = append(w.Values, c.Root.Join(d.Layout().Class))
	}
	for _, fme := range cards.FMEs {
		for _, file := range fme.InterfaceFiles {
			w.Values = append(w.Values, c.Root.Join(file))
		}
		if mode != ModeAF {
			continue // what a port holds is no part of what is offered
		}
		for _, port := range fme.Ports {
			w.Values = append(w.Values, c.Root.Join(port.SysPath+"/afu_id"))
		}
	}
	return w
}
