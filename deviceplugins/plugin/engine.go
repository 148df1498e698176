package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/internal/folderwatch"
	"github.com/inlay-project/inlay/internal/uevent"
)

// Config is what an Engine is made of. Only Folder and Families are needed.
type Config struct {
	// Folder is the kubelet's device plugin folder as this process sees it, e.g. /var/lib/kubelet/device-plugins.
	// It and the kubelet may come later.
	Folder string
	// HostFolder is the same folder as the kubelet sees it; empty means Folder. Only its length matters: it decides
	// whether a socket's path fits into the address by which the kubelet dials it.
	HostFolder string
	Families   []Family
	Log        logrus.FieldLogger // nil: nothing is logged
	Observer   Observer           // nil: nobody is told
	// Events is where uevents come from; nil is the kernel. Tests bring their own.
	Events Events
	// Audit is how often values that change without an event are read while there are devices, or were in the last five
	// minutes, or the process is as young (default 5 s). Everything is scanned in full every 60 audits, what has no devices
	// every 12.
	Audit time.Duration
	// Linger is how long a resource that has lost its last device is still served, with an empty list (default 1 min).
	Linger time.Duration
	// RegisterTimeout is for one attempt to register (default 10 s: the kubelet gives itself that to dial back).
	RegisterTimeout time.Duration
	// Interests are folders of the caller's own, watched by the one inotify instance that the process has.
	Interests []Interest
}

// Interest is a folder that somebody beside the families wants to hear of.
type Interest struct {
	Folder Folder
	// Changed says that something in the folder may be another. It is called at every change, and where changes are not
	// told with every audit, on a goroutine of the engine: it must not block.
	Changed func()
}

// Events is a source of uevents; the kernel's is one.
type Events interface {
	// Receive waits for the next event. After ErrEventOverflow it can be called again, after any other error not.
	Receive(ctx context.Context) (Event, error)
	Close() error
}

// Engine offers the devices of its families to the kubelet. Make it with New, then Run it once.
type Engine struct {
	conf      *settings
	audit     time.Duration
	events    Events
	scanners  []*scanner
	interests []Interest

	mu        sync.Mutex
	resources map[string]*resource
	retiring  map[string]*resource
	ctx       context.Context // of Run; resources begin and end within it
	tasks     sync.WaitGroup
	ticker    *ticker
	deaf      []string // sources of events that are not available, in words
}

// settings is what the resources need of the Config.
type settings struct {
	folder, hostFolder string
	linger             time.Duration
	registerTimeout    time.Duration
	log                logrus.FieldLogger
	observer           Observer
	watched            bool // the folder's changes are told; else it has to be polled
}

// poll is when to look again at something that a folder event would tell of: zero where it will.
func (s *settings) poll() time.Duration {
	if s.watched {
		return 0
	}
	return time.Second
}

// New checks the configuration.
func New(c Config) (*Engine, error) {
	if !filepath.IsAbs(c.Folder) {
		return nil, fmt.Errorf("device plugin folder %q is not an absolute path", c.Folder)
	}
	if len(c.Families) == 0 {
		return nil, errors.New("no device family to offer")
	}
	log := c.Log
	if log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		log = silent
	}
	e := &Engine{
		conf: &settings{
			folder: filepath.Clean(c.Folder), hostFolder: filepath.Clean(orDefault(c.HostFolder, c.Folder)),
			linger: orDefault(c.Linger, time.Minute), registerTimeout: orDefault(c.RegisterTimeout, 10*time.Second),
			log: log, observer: c.Observer,
		},
		audit: orDefault(c.Audit, 5*time.Second), events: c.Events, interests: slices.Clone(c.Interests),
		resources: map[string]*resource{}, retiring: map[string]*resource{},
	}
	if e.conf.observer == nil {
		e.conf.observer = NopObserver{}
	}
	names := map[string]bool{}
	for _, f := range c.Families {
		if names[f.Name()] {
			return nil, fmt.Errorf("device family %s is there twice", f.Name())
		}
		names[f.Name()] = true
		e.scanners = append(e.scanners, newScanner(f, e))
	}
	return e, nil
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Run offers devices until ctx ends; then it takes the sockets away and waits for everything that it has begun. An error
// means that it could not begin. Hardware, the kubelet and missing sources of events never end it.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer e.tasks.Wait()
	defer cancel()
	tick, err := newTicker()
	if err != nil {
		return err
	}
	defer tick.close()

	// The folder is watched before anybody registers: a kubelet that restarts in between would be missed.
	folders, err := folderwatch.New()
	if err == nil {
		_, err = folders.Add(Folder{Path: e.conf.folder, Match: isSocket}, func(string) { e.lookAtSockets() })
	}
	if err != nil {
		e.isDeaf(err, "folders are polled")
	} else {
		e.conf.watched = true
		e.tasks.Go(func() {
			if err := folders.Run(ctx); err != nil {
				e.isDeaf(err, "folders are only looked at with the audits")
			}
		})
	}
	if folders != nil && !e.conf.watched {
		e.tasks.Go(func() { _ = folders.Run(ctx) }) // closes it in the end; that we poll has been told
	}
	if e.events == nil {
		conn, err := uevent.Open()
		if err != nil {
			e.isDeaf(err, "device events are not heard")
		} else {
			e.events = conn
		}
	}
	e.mu.Lock()
	e.ctx, e.ticker = ctx, tick
	e.mu.Unlock()
	e.setPace()
	e.attend(folders)
	for _, s := range e.scanners {
		s.folders = folders
		e.tasks.Go(func() { s.run(ctx) })
	}
	if e.events != nil {
		e.tasks.Go(func() { e.listen(ctx) })
	}
	e.tasks.Go(func() { e.audits(ctx) })
	<-ctx.Done()
	return nil
}

// isSocket picks the names in the kubelet's folder that matter: it keeps its checkpoint there too and writes it often.
func isSocket(name string) bool {
	return strings.HasSuffix(name, ".sock") && !strings.HasPrefix(name, ".")
}

// isDeaf notes that a source of events is missing.
func (e *Engine) isDeaf(err error, so string) {
	e.conf.log.WithError(err).Warn(so)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deaf = append(e.deaf, fmt.Sprintf("%s: %v", so, err))
}

// attend has the caller's own folders watched; those that cannot be are left to the audits.
func (e *Engine) attend(folders *folderwatch.Watcher) {
	if folders == nil {
		return
	}
	unwatched := e.interests[:0]
	for _, i := range e.interests {
		if _, err := folders.Add(i.Folder, func(string) { i.Changed() }); err != nil {
			e.isDeaf(err, "folder "+i.Folder.Path+" is only looked at with the audits")
			unwatched = append(unwatched, i)
			continue
		}
		i.Changed() // what has changed before it was watched
	}
	e.interests = unwatched
}

// Offer says which families are offered from now on; until it is called all are. One that is not has no devices: its
// resources go as if the hardware had gone. It is not scanned either, so that what it has written for containers, such as
// CDI files, stays as it is: those of pods that still run may be made anew.
func (e *Engine) Offer(families ...string) {
	for _, s := range e.scanners {
		off := !slices.Contains(families, s.family.Name())
		if s.off.Swap(off) != off {
			s.trigger("kick", time.Now())
		}
	}
}

// Kick makes all families look again, or only the named ones.
func (e *Engine) Kick(families ...string) {
	for _, s := range e.scanners {
		if len(families) == 0 || slices.Contains(families, s.family.Name()) {
			s.trigger("kick", time.Now())
		}
	}
}

// listen turns uevents into triggers.
func (e *Engine) listen(ctx context.Context) {
	defer e.events.Close()
	for {
		event, err := e.events.Receive(ctx)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrEventOverflow):
			for _, s := range e.scanners {
				s.trigger("uevent", now)
			}
		case err != nil:
			e.isDeaf(err, "device events are not heard any more")
			return
		default:
			for _, s := range e.scanners {
				if s.wants(event) {
					s.trigger("uevent", now)
				}
			}
		}
	}
}

// lookAtSockets makes every resource check its socket and the kubelet's.
func (e *Engine) lookAtSockets() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.resources {
		r.look()
	}
}

// publish hands a family's inventory to its resources: each gets its newest devices, those that are not in it none. What
// cannot be offered is given back.
func (e *Engine) publish(owner *scanner, inv Inventory, since time.Time) (skipped []Skipped) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return nil
	}
	inv, skipped = Offerable(inv)
	for _, name := range slices.Sorted(maps.Keys(inv)) {
		r := e.resources[name]
		switch {
		case r == nil:
			e.begin(name, owner, newSnapshot(inv[name], since))
		case r.owner != owner:
			skipped = append(skipped, Skipped{Path: name, Reason: "family " + r.owner.family.Name() + " offers this resource already"})
		default:
			e.change(r, newSnapshot(inv[name], since))
		}
	}
	for name, r := range e.resources {
		if r.owner == owner && len(inv[name]) == 0 {
			e.change(r, newSnapshot(nil, since))
		}
	}
	return skipped
}

// begin starts a resource. Called with mu held.
func (e *Engine) begin(name string, owner *scanner, first *snapshot) {
	r := newResource(name, owner, first, e.conf)
	if old := e.retiring[name]; old != nil {
		r.after = old.done
	}
	e.resources[name] = r
	e.announce(r, first)
	ctx := e.ctx
	e.tasks.Go(func() {
		r.run(ctx, func() bool { return e.retire(r) })
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.retiring[name] == r {
			delete(e.retiring, name)
		}
	})
}

// change makes a snapshot the newest one of a resource and tells of the differences. Called with mu held.
func (e *Engine) change(r *resource, next *snapshot) {
	old := r.feed.load()
	if slices.EqualFunc(old.devices, next.devices, Device.equal) {
		return
	}
	for _, d := range next.devices {
		if was, ok := old.find(d.ID); ok && was.Health != d.Health {
			e.conf.observer.HealthChanged(r.name, d.ID, was.Health, d.Health)
			e.conf.log.WithFields(logrus.Fields{"resource": r.name, "device": d.ID, "from": was.Health, "to": d.Health, "reason": d.Reason}).Warn("health of a device changed")
		}
	}
	r.publish(next)
	e.announce(r, next)
}

func (e *Engine) announce(r *resource, s *snapshot) {
	healthy, unhealthy := s.count()
	e.conf.observer.Published(r.owner.family.Name(), r.name, healthy, unhealthy)
	entry := e.conf.log.WithFields(logrus.Fields{"resource": r.name, "healthy": healthy, "unhealthy": unhealthy})
	if s.err != nil {
		entry.WithError(s.err).Error("resource offered in part")
		return
	}
	entry.Info("resource offered")
}

// retire forgets a resource that is still without devices, and says whether it did.
func (e *Engine) retire(r *resource) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(r.feed.load().devices) > 0 {
		return false
	}
	delete(e.resources, r.name)
	e.retiring[r.name] = r
	e.conf.log.WithField("resource", r.name).Info("resource has had no device for long, it is served no more")
	return true
}
