package gpu

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/gpu/health"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Config is the world: what main makes once.
type Config struct {
	Root   *hostfs.Root // the host's tree; everything is read through it
	CDI    *cdi.Folder  // nil: no CDI file is written
	RunDir string       // as this process sees it; empty: no by-path folders are kept
	// Kick makes the engine look at this family again; nil is nobody. It is called from Run.
	Kick func()
	Log  logrus.FieldLogger
}

// Runner is a family that has something to do beside scans. Main runs it for as long as the engine.
type Runner interface {
	// Run works until ctx ends, and waits for what it has begun.
	Run(ctx context.Context) error
}

// Family implements plugin.Family and its optional abilities. It is safe for concurrent use.
type Family struct {
	c Config

	// Scan's own, which is never called twice at a time.
	wsl    *windows
	memory memory

	mu      sync.Mutex
	o       Options
	source  *health.Source // nil where nobody is asked for health
	renewed chan struct{}  // closed when source is another
	places  map[string]place
	watch   plugin.Watch
}

// place is where a card sits, by its name.
type place struct {
	address string
	sysPath string
	numa    []int
}

var (
	_ plugin.Family    = (*Family)(nil)
	_ plugin.Watcher   = (*Family)(nil)
	_ plugin.Allocator = (*Family)(nil)
	_ plugin.Preferrer = (*Family)(nil)
	_ plugin.Diagnoser = (*Family)(nil)
	_ Runner           = (*Family)(nil)
)

// New makes the family; o is valid. Nothing is read before the first Scan, nobody asked before Run.
func New(c Config, o Options) *Family {
	if c.Kick == nil {
		c.Kick = func() {}
	}
	f := &Family{c: c, wsl: &windows{}, memory: memory{}, renewed: make(chan struct{})}
	f.o, f.source = o, c.newSource(o)
	return f
}

// Name implements plugin.Family.
func (f *Family) Name() string { return "gpu" }

// Configure changes the options, which are valid; the next Scan uses them. It tells whether that is a change.
func (f *Family) Configure(o Options) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.o == o {
		return false
	}
	asked := f.o.healthOptions() != o.healthOptions()
	f.o = o
	if asked {
		f.source = f.c.newSource(o)
		close(f.renewed)
		f.renewed = make(chan struct{})
	}
	return true
}

// healthOptions are those that a source is made of.
func (o Options) healthOptions() Options {
	return Options{
		HealthManagement: o.HealthManagement, LevelZeroSocket: o.LevelZeroSocket, XPUMDEndpoint: o.XPUMDEndpoint, XPUMDSeverity: o.XPUMDSeverity,
		TempLimit: o.TempLimit, GPUTempLimit: o.GPUTempLimit, MemoryTempLimit: o.MemoryTempLimit,
		HealthPeriod: o.HealthPeriod, HealthGrace: o.HealthGrace,
	}
}

// newSource makes the source of health that the options ask for.
func (c Config) newSource(o Options) *health.Source {
	hc := health.Config{
		Grace: o.HealthGrace.duration(), Period: o.HealthPeriod.duration(), Kick: c.Kick, Log: c.Log,
		Limits: health.Limits{Global: o.TempLimit, GPU: o.GPUTempLimit, Memory: o.MemoryTempLimit},
	}
	switch {
	case o.HealthManagement:
		hc.Socket = o.LevelZeroSocket
		return health.LevelZero(hc)
	case o.XPUMDEndpoint != "":
		hc.Socket = o.XPUMDEndpoint
		hc.Severity = map[string]health.Severity{
			SeverityWarning: health.Warning, SeverityCritical: health.Critical, SeverityFailed: health.Failed,
		}[o.XPUMDSeverity]
		return health.XPUMD(hc)
	}
	return nil
}

// current is what the next scan works with.
func (f *Family) current() (Options, *health.Source, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.o, f.source, f.renewed
}

// Run follows the health of the cards until ctx ends, and a source after the other as Configure wants it.
func (f *Family) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		_, source, renewed := f.current()
		inner, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		if source != nil {
			go func() { done <- source.Run(inner) }()
		} else {
			done <- nil
		}
		select {
		case <-ctx.Done():
		case <-renewed:
		}
		cancel()
		if err := <-done; err != nil {
			f.c.Log.WithError(err).Error("the health of GPUs is not followed")
		}
	}
	return nil
}

// Ask asks for the health of the cards once, for a look from outside: the next Scan knows it. Run is not to run.
func (f *Family) Ask(ctx context.Context) {
	o, source, _ := f.current()
	if source == nil {
		return
	}
	found, err := Discover(f.c.Root, o)
	if err != nil {
		return // the scan says so
	}
	if err := source.Ask(ctx, addresses(found)); err != nil {
		f.c.Log.WithError(err).Error("the health of GPUs is not known")
	}
}

// Scan implements plugin.Family.
func (f *Family) Scan(ctx context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	o, source, _ := f.current()
	if o.WSL {
		return f.scanWSL(ctx, o)
	}
	found, err := Discover(f.c.Root, o)
	if err != nil {
		return nil, nil, err
	}
	var verdict func(string) health.Verdict
	if source != nil {
		source.Follow(addresses(found))
		verdict = source.Verdict
	}
	inv := offer(found, o, verdict, o.CDI == cdi.On)
	skipped, sick := f.memory.keep(f.c.Root, inv, found, o)
	err = f.keepCDI(found, o)
	if err != nil {
		makeUnhealthy(inv, err)
	}
	skipped = append(skipped, unobserved(found, o)...)
	skipped = append(skipped, f.prepare(found, o.ByPath)...)
	f.note(found, o, sick || err != nil && len(inv) > 0)
	return inv, skipped, nil
}

// addresses of the cards that are offered.
func addresses(found Inventory) (list []string) {
	for i := range found.Cards {
		if c := &found.Cards[i]; c.VFs == 0 && c.Address != "" {
			list = append(list, c.Address)
		}
	}
	return list
}

// keepCDI has the CDI files in place before a card is offered. That of a card which is there and cannot be read stays as it
// is. An error is one that containers would meet.
func (f *Family) keepCDI(found Inventory, o Options) error {
	if f.c.CDI == nil {
		return nil
	}
	switch o.CDI {
	case cdi.On:
		return f.c.CDI.Keep(Kind, specsOf(found, o), found.unread()...)
	case cdi.Off:
		found = Inventory{}
	}
	if err := f.c.CDI.Refresh(Kind, specsOf(found, o), found.unread()...); err != nil {
		f.c.Log.WithError(err).Debug("CDI files that nobody is told of")
	}
	return nil
}

// makeUnhealthy keeps what needs a CDI file from being given out.
func makeUnhealthy(inv plugin.Inventory, err error) {
	for _, devices := range inv {
		for i := range devices {
			if d := &devices[i]; len(d.Grant.CDI) > 0 && d.Health == plugin.Healthy {
				d.Health, d.Reason = plugin.Unhealthy, fmt.Sprintf("its CDI file cannot be written: %v", err)
			}
		}
	}
}

// note keeps what Allocate, Prefer and Watch need of a scan.
func (f *Family) note(found Inventory, o Options, unsettled bool) {
	places := make(map[string]place, len(found.Cards))
	for i := range found.Cards {
		c := &found.Cards[i]
		places[c.Name] = place{address: c.Address, sysPath: c.SysPath, numa: c.NUMA}
		if c.NUMAErr != nil {
			f.c.Log.WithError(c.NUMAErr).WithField("device", c.Name).Debug("no NUMA hint")
		}
	}
	w := f.watching(found, o, unsettled)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.places, f.watch = places, w
}

// Watch implements plugin.Watcher.
func (f *Family) Watch() plugin.Watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watch
}

// watching says what a change looks like after a scan. The kernel tells of cards and of management engines; udev makes
// the links later. The number of virtual functions becomes 0 only after the event of the last one that goes.
func (f *Family) watching(found Inventory, o Options, unsettled bool) plugin.Watch {
	w := plugin.Watch{
		Subsystems: []string{"drm"},
		Folders: []plugin.Folder{{Path: f.c.Root.Join(nodeDir), Match: func(name string) bool {
			return numbered(name, "card") || numbered(name, "renderD") || name == filepath.Base(byPathDir)
		}}},
	}
	if o.EnableMonitoring {
		w.Subsystems = append(w.Subsystems, engines)
		w.Folders = append(w.Folders, plugin.Folder{Path: f.c.Root.Join("/dev"), Match: func(name string) bool { return numbered(name, "mei") }})
	}
	if o.ByPath != ByPathNone {
		w.Folders = append(w.Folders, plugin.Folder{Path: f.c.Root.Join(byPathDir)})
	}
	if f.c.RunDir != "" && o.ByPath == ByPathSingle {
		w.Folders = append(w.Folders, plugin.Folder{Path: f.byPathRoot(), Match: func(name string) bool { return numbered(name, "card") }})
	}
	if f.c.CDI != nil && o.CDI == cdi.On {
		w.Folders = append(w.Folders, f.c.CDI.Watch(Kind))
	}
	if unsettled {
		return w // without values every audit is a scan
	}
	w.Values = append(w.Values, f.c.Root.Join(classDir))
	for i := range found.Cards {
		if c := &found.Cards[i]; c.SRIOV != "" {
			w.Values = append(w.Values, f.c.Root.Join(c.SRIOV))
		}
	}
	return w
}
