package engine

import (
	"sync"
	"time"

	"github.com/inlay-project/inlay/internal/nristatus"
)

// statusKeeper holds the status and tells of its changes, in their order.
type statusKeeper struct {
	order   sync.Mutex // held over a change and its callback
	mu      sync.Mutex // held over the value only, so that the callback may read it
	now     nristatus.Status
	ever    bool // there was a connection before
	changed func(nristatus.Status)
}

func (k *statusKeeper) init(version string, changed func(nristatus.Status)) {
	k.now.Version, k.now.Since, k.changed = version, time.Now(), changed
}

func (k *statusKeeper) get() nristatus.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

func (k *statusKeeper) everConnected() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ever
}

func (k *statusKeeper) change(f func(*nristatus.Status)) {
	k.order.Lock()
	defer k.order.Unlock()
	k.mu.Lock()
	before := k.now
	f(&k.now)
	after := k.now
	k.mu.Unlock()
	if k.changed != nil && after != before {
		k.changed(after)
	}
}

// connected and synchronized are both true at once where the runtime's Synchronize overtakes the end of Start.
func (k *statusKeeper) connected(runtime runtimeInfo, synchronized bool) {
	k.change(func(s *nristatus.Status) {
		if k.ever {
			s.Reconnects++
		}
		k.ever = true
		s.Connected, s.Synchronized, s.Since, s.LastError = true, synchronized, time.Now(), ""
		s.Runtime, s.RuntimeVersion, s.NRIVersion = runtime.name, runtime.version, runtime.nri
	})
}

func (k *statusKeeper) synchronized() {
	k.change(func(s *nristatus.Status) { s.Synchronized = true })
}

// lost keeps the runtime's name: it says to whom the connection was.
func (k *statusKeeper) lost(reason string) {
	k.change(func(s *nristatus.Status) {
		s.Connected, s.Synchronized, s.Since, s.LastError = false, false, time.Now(), reason
	})
}

func (k *statusKeeper) failed(err error) {
	k.change(func(s *nristatus.Status) { s.LastError = oneLine(err.Error()) })
}
