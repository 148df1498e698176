package certs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// callLimit is for one read or write; a watch has none, the API server ends it every few minutes.
	callLimit  = 10 * time.Second
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
	// patience is how many conflicts in a row are taken for other replicas at work.
	patience = 5
)

// OwnConfig is what an own authority is made of.
type OwnConfig struct {
	Policy
	Secret        Secrets
	Registrations []Registration
	Log           logrus.FieldLogger
}

// Own is an own authority, shared with other replicas through a Secret. Run it once.
type Own struct {
	serving
	policy  Policy
	secret  Secrets
	configs []Registration
	log     logrus.FieldLogger

	seen   atomic.Pointer[report]
	memory history // of the loop
	said   map[string]string
	writes pace
}

var _ Source = (*Own)(nil)

// NewOwn fills in the policy's defaults; the error says what cannot work. Nothing is read before Run.
func NewOwn(c OwnConfig) (*Own, error) {
	p, err := c.complete()
	if err != nil {
		return nil, err
	}
	o := &Own{
		policy: p, secret: c.Secret, configs: c.Registrations, log: c.Log,
		said: map[string]string{}, writes: pace{burst: 10, every: time.Second},
	}
	o.seen.Store(newReport(p, c.Secret, c.Registrations))
	return o, nil
}

// Run implements Source. Errors of the API server are logged, told by Missing and tried again for ever.
func (o *Own) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer cancel()
	wake := make(chan struct{}, 1)
	changed := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	watches.Go(func() { o.watch(ctx, o.secret.String(), o.secret.Watch, changed) })
	for _, r := range o.configs {
		watches.Go(func() { o.watch(ctx, r.String(), r.Watch, changed) })
	}
	looks := pace{burst: 10, every: 200 * time.Millisecond}
	backoff, conflicts := firstRetry, 0
	for {
		if !sleep(ctx, looks.take(time.Now()), nil) {
			return nil
		}
		wait, err := o.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrConflict) && conflicts < patience:
			o.log.WithError(err).Debug("another replica was faster")
			conflicts++
			wait = spread(20 * time.Millisecond)
		case err != nil:
			o.once("step", err.Error(), logrus.WarnLevel, "certificates cannot be kept up; what is served stays")
			wait = min(wait, spread(backoff))
			backoff = min(2*backoff, lastRetry)
		default:
			o.once("step", "", logrus.InfoLevel, "certificates are kept up again")
			backoff, conflicts = firstRetry, 0
		}
		// A watch may be silent because it is dead; and only what was read lately makes this replica ready.
		if !sleep(ctx, min(wait, spread(o.policy.Overlap/4)), wake) {
			return nil
		}
	}
}

// watch calls changed at each change of an object and each time after it may have missed one, until ctx ends.
func (o *Own) watch(ctx context.Context, name string, follow func(context.Context, func()) error, changed func()) {
	backoff := firstRetry
	for {
		began := time.Now()
		err := follow(ctx, changed)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			o.log.WithError(err).WithField("object", name).Debug("watch ended")
		}
		if time.Since(began) > lastRetry {
			backoff = firstRetry
		}
		if !sleep(ctx, spread(backoff), nil) {
			return
		}
		backoff = min(2*backoff, lastRetry)
	}
}

// step looks once and does what is to be done. The answer is how long there is nothing else to do.
func (o *Own) step(ctx context.Context) (time.Duration, error) {
	l, r, failed := o.look(ctx)
	defer func() { o.seen.Store(r) }()
	if r.secret.err != nil {
		return o.policy.Overlap, failed
	}
	if l.ended.Sub(l.began) > max(o.policy.Overlap/4, minOverlap) {
		// This process was stopped in between: what was read does not belong together.
		return 0, fmt.Errorf("reading took %s: %w", l.ended.Sub(l.began), ErrConflict)
	}
	s := o.memory.observe(l, o.policy)
	act, wait := next(l.began, s, o.policy)
	o.explain(act)
	served := o.memory.served
	if s.stored.leaf != nil && act.kind != keepServed {
		served = s.stored
	}
	r.judge(s, served, l.began, o.policy)
	o.seen.Store(r.clone()) // first: nobody is to find a new certificate with what was said of the one before
	if served == s.stored {
		o.serve(s.stored, l.began)
	}
	switch act.kind {
	case hold:
		return wait, failed
	case keep:
	default:
		err := o.write(ctx, act, s, l)
		if err == nil {
			return 0, nil // looked at again as it is stored now
		}
		if errors.Is(err, ErrConflict) {
			return 0, err
		}
		r.secret.write = err
		failed = errors.Join(failed, err)
		if s.stored.leaf == nil || act.kind == keepServed {
			return wait, failed // clients are not told of what may never be served
		}
	}
	changed, err := o.setBundles(ctx, s, r)
	if changed && failed == nil && err == nil {
		return 0, nil
	}
	return wait, errors.Join(failed, err)
}

// look reads everything. The configurations come first: what SetBundle is given was read before the Secret was.
func (o *Own) look(ctx context.Context) (look, *report, error) {
	r := o.seen.Load().clone()
	l := look{began: time.Now()}
	var failed error
	for i, c := range o.configs {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		config, err := c.Read(ctx)
		cancel()
		if err != nil {
			err = fmt.Errorf("%s: %w", c, err)
			failed = errors.Join(failed, err)
		}
		l.configs = append(l.configs, seen{name: c.String(), known: err == nil, config: config})
		r.configs[i].read(l.began, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var err error
	if l.secret, err = o.secret.Read(ctx); err != nil {
		err = fmt.Errorf("%s: %w", o.secret, err)
		failed = errors.Join(failed, err)
	}
	r.secret.read(l.began, err)
	l.ended = time.Now()
	return l, r, failed
}

// serve swaps the certificate that new connections get.
func (o *Own) serve(c *contents, at time.Time) {
	changed := o.memory.served == nil || !o.memory.served.leaf.same(c.leaf)
	o.memory.adopt(c, at)
	if !changed {
		return
	}
	o.current.Store(c.leaf.tls())
	o.log.WithFields(logrus.Fields{
		"serial": c.leaf.cert.SerialNumber.Text(16),
		"ca":     c.leaf.cert.Issuer.CommonName,
		"ends":   c.leaf.cert.NotAfter.Format(time.RFC3339),
	}).Info("certificate served")
}

// write does to the Secret what was decided.
func (o *Own) write(ctx context.Context, act action, s situation, l look) error {
	if !sleep(ctx, o.writes.take(time.Now()), nil) {
		return ctx.Err()
	}
	c, err := build(act, s, l.began, o.policy)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", o.secret, act.kind, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if err := o.secret.Write(ctx, l.secret, c.encode()); err != nil {
		return fmt.Errorf("%s: write: %w", o.secret, err)
	}
	o.log.WithFields(logrus.Fields{"object": o.secret.String(), "action": act.kind, "why": act.why}).Info("certificates written")
	return nil
}

// setBundles puts the bundle into the configurations that have another one.
func (o *Own) setBundles(ctx context.Context, s situation, r *report) (changed bool, failed error) {
	bundle := encodeBundle(s.stored.bundle)
	for i, c := range o.configs {
		config := s.configs[i].config
		if config == nil || config.has(bundle) {
			continue
		}
		if !sleep(ctx, o.writes.take(time.Now()), nil) {
			return changed, ctx.Err()
		}
		call, cancel := context.WithTimeout(ctx, callLimit)
		err := c.SetBundle(call, config, bundle)
		cancel()
		if err != nil {
			err = fmt.Errorf("%s: set caBundle: %w", c, err)
			r.configs[i].write = err
			failed = errors.Join(failed, err)
			continue
		}
		changed = true
		o.log.WithFields(logrus.Fields{"object": c.String(), "cas": len(s.stored.bundle)}).Info("caBundle set")
	}
	return changed, failed
}

// explain logs why something is waited for, once.
func (o *Own) explain(act action) {
	text := act.why
	if act.kind != keep && act.kind != hold {
		text = "" // write tells
	}
	o.once("wait", text, logrus.InfoLevel, "certificates wait")
}

// once logs what is to be told when it changes. Without a text it is the end of what was told.
func (o *Own) once(topic, text string, level logrus.Level, message string) {
	if o.said[topic] == text {
		return
	}
	o.said[topic] = text
	if text != "" {
		o.log.WithField("why", text).Log(level, message)
	} else if topic == "step" {
		o.log.Info(message)
	}
}

// spread makes of a wait a similar one: replicas that failed together do not come back together.
func spread(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}
