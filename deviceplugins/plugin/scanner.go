package plugin

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/internal/folderwatch"
)

// The first event of a burst scans at once, the rest together after a pause: as long as the scan took, within these, and
// twice and four times that where the burst goes on. So a device that comes with several events is there soon, and events
// without end cost a fifth of a processor.
const (
	leastPause = 5 * time.Millisecond
	mostPause  = 100 * time.Millisecond
	mostBurst  = 2 // doublings
)

// settle is when to look again after an event that left something unreadable: drivers announce a device before all of
// it is there. After that the audits do.
var settle = [...]time.Duration{100 * time.Millisecond, time.Second}

// alert is how long a family's values are still read with every audit after its start, and after its last device has gone:
// drivers come up late, a queue is set up anew, and not every change of that is told.
const alert = 5 * time.Minute

// scanner keeps one family's inventory up to date. Its goroutine is the only one that calls Scan.
type scanner struct {
	family  Family
	engine  *Engine
	folders *folderwatch.Watcher // nil where there is no inotify
	log     logrus.FieldLogger
	signal  chan struct{} // one place: pending is set
	off     atomic.Bool   // not offered: see Engine.Offer

	mu      sync.Mutex
	pending *cause
	watch   Watch
	values  []value
	queries []value
	print   uint64    // fingerprint of values before the last scan
	lately  time.Time // of the start, or of the last scan that found devices or their end
	state   FamilyStatus

	// of the goroutine
	subs   map[string]*folderwatch.Subscription // by path
	warned map[Skipped]bool
	buf    []byte // for the values
}

// cause is why and since when a scan is due.
type cause struct {
	source string
	since  time.Time
}

// FamilyStatus is the state of one family.
type FamilyStatus struct {
	Family   string
	Scanned  time.Time // end of the last scan, zero before the first
	Scanning time.Time // begin of a scan that runs now
	Devices  int
	Skipped  []Skipped
	Err      error // of the last scan
}

// missing says in words what is not as it should be, empty if nothing.
func (s FamilyStatus) missing() string {
	switch {
	case s.Scanned.IsZero():
		return fmt.Sprintf("family %s has not been scanned yet", s.Family)
	case s.Err != nil:
		return fmt.Sprintf("family %s: last scan failed: %v", s.Family, s.Err)
	case !s.Scanning.IsZero() && time.Since(s.Scanning) > 30*time.Second:
		return fmt.Sprintf("family %s: a scan has been running for %v", s.Family, time.Since(s.Scanning).Round(time.Second))
	}
	return ""
}

func newScanner(f Family, e *Engine) *scanner {
	return &scanner{
		family: f, engine: e, log: e.conf.log.WithField("family", f.Name()),
		signal: make(chan struct{}, 1),
		state:  FamilyStatus{Family: f.Name()},
		subs:   map[string]*folderwatch.Subscription{},
		warned: map[Skipped]bool{},
		buf:    make([]byte, valueBytes),
	}
}

// trigger asks for a scan. Triggers that come before it begins are one.
func (s *scanner) trigger(source string, since time.Time) {
	s.engine.conf.observer.Triggered(s.family.Name(), source)
	s.mu.Lock()
	if s.pending == nil {
		s.pending = &cause{source, since}
	}
	s.mu.Unlock()
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// wants reports whether a uevent matters to the family.
func (s *scanner) wants(event Event) bool {
	s.mu.Lock()
	watch := s.watch
	s.mu.Unlock()
	return slices.Contains(watch.Subsystems, event.Subsystem) && (watch.Ignore == nil || !watch.Ignore(event))
}

func (s *scanner) run(ctx context.Context) {
	s.mu.Lock()
	s.lately = time.Now()
	s.mu.Unlock()
	s.follow()
	s.trigger("start", time.Now())
	settling, burst := len(settle), 0
	timer := time.NewTimer(time.Hour) // for settle; stopped while there is nothing to wait for
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.signal:
		case <-timer.C:
			s.trigger("settle", time.Now())
			<-s.signal
		}
		timer.Stop()
		s.mu.Lock()
		why := s.pending
		s.pending = nil
		s.mu.Unlock()
		if why == nil {
			continue
		}
		if why.source != "settle" && why.source != "audit" && why.source != "value" {
			settling = 0
		}
		began := time.Now()
		whole := s.scan(ctx, *why)
		pause := min(max(time.Since(began)<<burst, leastPause), mostPause)
		if s.follow() {
			s.trigger("start", time.Now()) // what has come into view may have changed before it was watched
		}
		if !whole && settling < len(settle) {
			timer.Reset(settle[settling])
			settling++
		}
		if why.source == "audit" {
			continue // the next is seconds away; a pause here would wake threads of an idle process
		}
		select { // a pause that nothing shortens
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if len(s.signal) == 0 {
			burst = 0
		} else if burst < mostBurst {
			burst++
		}
	}
}

// scan looks at the host once and publishes what it finds; whole reports that nothing was unreadable.
func (s *scanner) scan(ctx context.Context, why cause) (whole bool) {
	began := time.Now()
	s.mu.Lock()
	values := s.values
	s.mu.Unlock()
	now := fingerprint(values, s.buf) // before the scan reads them: what changes in between is seen at the next audit
	s.mu.Lock()
	s.print, s.state.Scanning = now, began
	s.mu.Unlock()

	inv, skipped, err := s.look(ctx)
	if ctx.Err() != nil {
		return true
	}
	s.engine.conf.observer.Scanned(s.family.Name(), time.Since(began), err)
	if inv != nil || err == nil {
		skipped = append(slices.Clone(skipped), s.engine.publish(s, inv, why.since)...)
	}
	s.warn(skipped)
	s.engine.conf.observer.LeftOut(s.family.Name(), len(skipped))

	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && (s.state.Err == nil || s.state.Err.Error() != err.Error()) {
		s.log.WithError(err).Error("scan failed, what is known stays in force")
	}
	s.state.Scanned, s.state.Scanning, s.state.Err, s.state.Skipped = time.Now(), time.Time{}, err, skipped
	had := s.state.Devices > 0
	if inv != nil || err == nil {
		s.state.Devices = 0
		for _, devices := range inv {
			s.state.Devices += len(devices)
		}
	}
	if had || s.state.Devices > 0 {
		s.lately = s.state.Scanned
	}
	return err == nil && len(skipped) == 0
}

// look calls Scan and turns a panic into an error. A family that is not offered is not even asked.
func (s *scanner) look(ctx context.Context) (inv Inventory, skipped []Skipped, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Debugf("%s", debug.Stack())
			inv, err = nil, fmt.Errorf("scan of family %s panicked: %v", s.family.Name(), p)
		}
	}()
	if s.off.Load() {
		return Inventory{}, nil, nil
	}
	return s.family.Scan(ctx)
}

// warn logs what is skipped, once for as long as it stays so.
func (s *scanner) warn(skipped []Skipped) {
	now := map[Skipped]bool{}
	for _, sk := range skipped {
		if now[sk] = true; !s.warned[sk] {
			s.log.WithField("path", sk.Path).Warnf("not offered: %s", sk.Reason)
		}
	}
	s.warned = now
}

// active reports whether the family needs the frequent audits: it has devices or lately had, or its scan fails.
func (s *scanner) active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Devices > 0 || s.state.Err != nil || time.Since(s.lately) < alert
}
