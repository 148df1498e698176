package fpga

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/internal/hostfs"
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

// Kubelet tells which devices containers hold. Absent tells that there is no kubelet to ask.
type Kubelet interface {
	List(ctx context.Context) (*podresources.Listing, error)
	Absent() bool
}

// Config is where the family finds things and what it hands out.
type Config struct {
	Root    *hostfs.Root
	Grant   Grant
	RunDir  string  // as this process sees it
	CDIDir  string  // as this process sees it
	Hook    Hook    // inlay-hook on the host
	Kubelet Kubelet // nil = nobody to ask
	// KubeletDir is the kubelet's folder as this process sees it; a change there may mean that it can be asked now.
	KubeletDir string
	Log        logrus.FieldLogger

	readOnly bool
}

// Family implements plugin.Family and its optional abilities. It is safe for concurrent use.
type Family struct {
	c Config

	mu     sync.Mutex
	mode   Mode
	memory memory
	cards  map[string]place // device id → where it is, of the last scan
	watch  plugin.Watch
}

// place is where a device sits, for the allocation record and for choosing devices that go well together.
type place struct {
	address string // PCI address of its FME
}

var (
	_ plugin.Family     = (*Family)(nil)
	_ plugin.Watcher    = (*Family)(nil)
	_ plugin.Allocator  = (*Family)(nil)
	_ plugin.Preferrer  = (*Family)(nil)
	_ plugin.PreStarter = (*Family)(nil)
)

// New makes the family. Nothing is read before the first Scan.
func New(c Config, mode Mode) *Family {
	return &Family{c: c, mode: mode, memory: memory{}}
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

// Scan implements plugin.Family.
func (f *Family) Scan(ctx context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	cards := card.Discover(f.c.Root)
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &scan{
		c: f.c, mode: f.mode, memory: f.memory,
		holdings: holdings{ctx: ctx, kubelet: f.c.Kubelet},
		inv:      plugin.Inventory{}, offered: memory{}, places: map[string]place{},
	}
	for _, skipped := range cards.Skipped {
		s.skip(skipped.Path, "%s", skipped.Reason)
	}
	for i := range cards.FMEs {
		s.fme(&cards.FMEs[i])
	}
	if len(s.inv) > 0 && !f.c.readOnly {
		if err := f.c.ensureCDI(); err != nil {
			s.allUnhealthy(err.Error())
			s.unsettled = true
		}
	}
	f.memory, f.cards = s.offered, s.places
	f.watch = f.watching(cards, s.unsettled)
	return s.inv, s.skipped, nil
}

// Watch implements plugin.Watcher.
func (f *Family) Watch() plugin.Watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watch
}

// watching says what a change looks like after a scan. The kernel sends events for devices, none for the values of
// sysfs. While something waits for what no event announces, every audit is a scan.
func (f *Family) watching(cards card.Inventory, unsettled bool) plugin.Watch {
	w := plugin.Watch{
		Subsystems: []string{"fpga_region", "fpga", "fpga_manager", "platform", "pci"},
		Folders: []plugin.Folder{
			{Path: f.c.Root.Join("/dev")},
			{Path: f.c.CDIDir, Content: true},
			{Path: f.c.RunDir, Content: true},
		},
	}
	if f.c.Kubelet != nil {
		w.Folders = append(w.Folders, plugin.Folder{Path: filepath.Join(f.c.KubeletDir, "pod-resources")})
	}
	if unsettled {
		return w
	}
	for _, d := range card.Drivers() {
		w.Values = append(w.Values, f.c.Root.Join(d.Layout().Class))
	}
	for _, fme := range cards.FMEs {
		for _, file := range fme.InterfaceFiles {
			w.Values = append(w.Values, f.c.Root.Join(file))
		}
		for _, port := range fme.Ports {
			w.Values = append(w.Values, f.c.Root.Join(port.SysPath+"/afu_id"))
		}
	}
	return w
}
