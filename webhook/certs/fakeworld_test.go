package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
)

// fault is what a call to the fake API server meets.
type fault int

const (
	fine       fault = iota
	failBefore       // it is not done, and an error
	failAfter        // it is done, and an error all the same
	stall            // no answer before the caller's deadline
)

var errFake = errors.New("etcdserver: leader changed")

// fakeWorld is an API server with one Secret and two configurations. It keeps what the configurations were.
type fakeWorld struct {
	mu       sync.Mutex
	rv       int
	secret   *Secret
	configs  [2]*Configuration
	past     []bundles // in order of time
	watchers map[chan struct{}]string

	minute   time.Time
	verified map[string]error // by leaf and bundle, within minute

	// meet says what a call of a replica meets; nil: nothing. It may sleep.
	meet func(replica, call string) fault
	// wrote is told of every write that is done.
	wrote func(replica, call string)
}

// bundles is what the entries of all configurations were from a time on.
type bundles struct {
	at   time.Time
	each [][]byte
}

func newFakeWorld() *fakeWorld {
	w := &fakeWorld{secret: &Secret{}, watchers: map[chan struct{}]string{}}
	w.create(0)
	w.create(1)
	return w
}

// create makes a configuration as it is applied: without a bundle.
func (w *fakeWorld) create(i int) {
	w.change(func() {
		w.configs[i] = &Configuration{UID: strconv.Itoa(w.rv), Generation: 1, Entries: []Entry{{Name: "fpga." + strconv.Itoa(i)}}}
	})
}

// change is a write by anybody.
func (w *fakeWorld) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changeLocked(f)
}

func (w *fakeWorld) changeLocked(f func()) {
	f()
	w.rv++
	now := bundles{at: time.Now()}
	for _, c := range w.configs {
		if c != nil {
			for _, e := range c.Entries {
				now.each = append(now.each, e.CABundle)
			}
		}
	}
	w.past = append(w.past, now)
	for ch := range w.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// setBundle is somebody else's change of a caBundle.
func (w *fakeWorld) setBundle(i int, bundle []byte) {
	w.change(func() { w.configs[i] = w.configs[i].with(bundle, w.rv+1) })
}

func (c *Configuration) with(bundle []byte, rv int) *Configuration {
	n := *c
	n.ResourceVersion, n.Generation = strconv.Itoa(rv), c.Generation+1
	n.Entries = slices.Clone(c.Entries)
	for i := range n.Entries {
		n.Entries[i].CABundle = bundle
	}
	return &n
}

// data is what the Secret holds.
func (w *fakeWorld) data() map[string][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.secret == nil {
		return nil
	}
	return w.secret.Data
}

// config is one configuration as it is now.
func (w *fakeWorld) config(i int) *Configuration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.configs[i]
}

func (w *fakeWorld) bundle(i int) string { return string(w.config(i).Entries[0].CABundle) }

// client is the world as one replica sees it.
type client struct {
	*fakeWorld
	replica string
}

func (c client) String() string { return "Secret ns/certs" }

// call does do unless a fault prevents it.
func (c client) call(ctx context.Context, name string, write bool, do func() error) error {
	f := fine
	c.mu.Lock()
	meet := c.meet
	c.mu.Unlock()
	if meet != nil {
		f = meet(c.replica, name)
	}
	if f == stall {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if f == failBefore {
		return errFake
	}
	c.mu.Lock()
	err := do()
	c.mu.Unlock()
	if err == nil && write && c.wrote != nil {
		c.wrote(c.replica, name)
	}
	if f == failAfter {
		return errFake
	}
	return err
}

func (c client) Read(ctx context.Context) (s *Secret, err error) {
	err = c.call(ctx, "read secret", false, func() error { s = c.secret; return nil })
	return s, err
}

func (c client) Write(ctx context.Context, old *Secret, data map[string][]byte) error {
	return c.call(ctx, "write secret", true, func() error {
		if (old == nil) != (c.secret == nil) || old != nil && old.ResourceVersion != c.secret.ResourceVersion {
			return ErrConflict
		}
		n := &Secret{ResourceVersion: strconv.Itoa(c.rv + 1), Data: map[string][]byte{}}
		if old != nil {
			maps.Copy(n.Data, c.secret.Data)
		}
		maps.Copy(n.Data, data)
		c.changeLocked(func() { c.secret = n })
		return nil
	})
}

func (c client) Watch(ctx context.Context, changed func()) error {
	ch := make(chan struct{}, 1)
	if err := c.call(ctx, "watch", false, func() error { c.watchers[ch] = c.replica; return nil }); err != nil {
		return err
	}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, ch)
	}()
	changed()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ch:
			// A replica that cannot be reached is told nothing.
			if err := c.call(ctx, "event", false, func() error { return nil }); err != nil {
				return err
			}
			changed()
		}
	}
}

// registration is one configuration as a replica sees it.
type registration struct {
	client
	i int
}

func (r registration) String() string {
	return [2]string{"MutatingWebhookConfiguration hook", "ValidatingWebhookConfiguration hook"}[r.i]
}

func (r registration) Read(ctx context.Context) (c *Configuration, err error) {
	err = r.call(ctx, "read configuration", false, func() error { c = r.configs[r.i]; return nil })
	return c, err
}

func (r registration) SetBundle(ctx context.Context, old *Configuration, bundle []byte) error {
	return r.call(ctx, "set bundle", true, func() error {
		now := r.configs[r.i]
		if now == nil || now.UID != old.UID || now.ResourceVersion != old.ResourceVersion {
			return ErrConflict
		}
		r.changeLocked(func() { r.configs[r.i] = now.with(bundle, r.rv+1) })
		return nil
	})
}

// replica is a process of the webhook.
type replica struct {
	*Own
	name  string
	logs  *test.Hook
	stop  func() // returns when it has ended
	ready time.Time
}

// start runs a replica; kill it before the bubble ends.
func (w *fakeWorld) start(t *testing.T, name string, p Policy) *replica {
	t.Helper()
	log, hook := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	c := client{w, name}
	own, err := NewOwn(OwnConfig{
		Policy: p, Secret: c, Registrations: []Registration{registration{c, 0}, registration{c, 1}},
		Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := own.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return &replica{Own: own, name: name, logs: hook, stop: sync.OnceFunc(func() { cancel(); <-done })}
}

func (r *replica) log() (lines []string) {
	for _, e := range r.logs.AllEntries() {
		lines = append(lines, fmt.Sprintf("%s %s %v", e.Level, e.Message, map[string]any(e.Data)))
	}
	return lines
}

func (r *replica) leaf() *x509.Certificate {
	if c := r.current.Load(); c != nil {
		return c.Leaf
	}
	return nil
}

// violation says which replica that is in use serves what a client does not trust: an API server that sees the
// configurations as they were up to lag ago. A replica is in use for endpoints after it was ready last.
func (w *fakeWorld) violation(replicas []*replica, p Policy, lag, endpoints time.Duration) error {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range replicas {
		if len(r.Missing()) == 0 {
			r.ready = now
		}
		leaf := r.leaf()
		if leaf == nil || r.ready.IsZero() || now.Sub(r.ready) > endpoints {
			continue
		}
		for i := len(w.past) - 1; i >= 0; i-- {
			for _, bundle := range w.past[i].each {
				if len(bundle) == 0 {
					continue
				}
				if err := w.verify(leaf, bundle, now, p); err != nil {
					return fmt.Errorf("%s serves %s, which a client of %s ago does not trust: %v",
						r.name, leaf.SerialNumber.Text(16), now.Sub(w.past[i].at), err)
				}
			}
			if w.past[i].at.Before(now.Add(-lag)) {
				break // it was in force when the time that counts began
			}
		}
	}
	return nil
}

// verify remembers its answers for a minute: signatures are what the tests' time goes into.
func (w *fakeWorld) verify(leaf *x509.Certificate, bundle []byte, now time.Time, p Policy) error {
	if minute := now.Truncate(time.Minute); !minute.Equal(w.minute) {
		w.minute, w.verified = minute, map[string]error{}
	}
	key := string(leaf.Raw) + string(bundle)
	err, ok := w.verified[key]
	if !ok {
		cas, _ := parseBundle(bundle, now)
		err = verify(leaf, cas, p.serverName(), now)
		w.verified[key] = err
	}
	return err
}

func shortPolicy() Policy {
	return Policy{
		Service: "hook", Namespace: "ns",
		Validity: 20 * time.Minute, RotateBefore: 8 * time.Minute, CAValidity: 30 * time.Minute, Overlap: 2 * time.Minute,
	}
}

// until waits, in fake time within a bubble.
func until(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}
