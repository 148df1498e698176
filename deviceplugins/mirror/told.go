package mirror

import (
	"maps"
	"time"
)

// told is what a stream has told: an entry for each object that counts. With the methods that put entries in it is most
// of a follow.Handler. Its fields are guarded by the mirror's mutex.
type told[E entry[E]] struct {
	mirror *Mirror

	entries map[name]E
	listed  bool      // they are all that there are
	joined  bool      // they were in step once: they are in the file from then on
	at      time.Time // when they were last in step
	away    error     // why they are not
}

// entry is what the file has of an object.
type entry[E any] interface{ equal(other E) bool }

// name is the key of an object among those of its stream.
type name struct{ namespace, name string }

func nothingTold[E entry[E]](m *Mirror) told[E] { return told[E]{mirror: m, entries: map[name]E{}} }

// replace takes all entries there are.
func (t *told[E]) replace(all map[name]E) {
	t.mirror.mu.Lock()
	defer t.mirror.mu.Unlock()
	t.listed = true
	if !maps.EqualFunc(t.entries, all, E.equal) {
		t.entries = all
		t.tell()
	}
}

// put takes an entry that may be new or the same.
func (t *told[E]) put(key name, now E) {
	t.mirror.mu.Lock()
	defer t.mirror.mu.Unlock()
	if was, there := t.entries[key]; !there || !was.equal(now) {
		t.entries[key] = now
		t.tell()
	}
}

// Delete implements follow.Handler.
func (t *told[E]) Delete(namespace, of string) {
	t.mirror.mu.Lock()
	defer t.mirror.mu.Unlock()
	key := name{namespace, of}
	if _, there := t.entries[key]; there {
		delete(t.entries, key)
		t.tell()
	}
}

// tell makes a change of the entries known, if they are in the file. Called with the mirror's mutex held.
func (t *told[E]) tell() {
	if t.joined {
		t.mirror.changed = true
		t.mirror.nudge()
	}
}

// InStep implements follow.Handler.
func (t *told[E]) InStep(at time.Time) {
	m := t.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	if !t.listed {
		return // nothing can be in step with what was not told yet
	}
	t.at, t.away = at, nil
	if !t.joined {
		t.joined, m.changed = true, true
	}
	m.stepped()
}

// Away implements follow.Handler.
func (t *told[E]) Away(err error) {
	t.mirror.mu.Lock()
	defer t.mirror.mu.Unlock()
	t.away = err
}
