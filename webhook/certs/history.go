package certs

import (
	"crypto/x509"
	"time"
)

// history is what a process remembers between two looks. Only its own observations are in it, by its own clock.
type history struct {
	served   *contents // nil: nothing yet
	servedAt time.Time // when the Secret was last seen to hold it
	settled  bool
	oddSince time.Time

	rotatedCA    *x509.Certificate // whose leaf is in the Secret
	rotatedSince time.Time
	configs      map[string]fact
}

// fact is what a configuration has been like since a time. The generation changes with every change of an entry: while
// it stays, nothing has happened in between that was not seen.
type fact struct {
	exists     bool
	uid        string
	generation int64
	ca         *x509.Certificate
	carries    bool
	since      time.Time
}

func (f fact) same(g fact) bool {
	return f.exists == g.exists && f.uid == g.uid && f.generation == g.generation && f.carries == g.carries &&
		f.ca != nil && g.ca != nil && f.ca.Equal(g.ca)
}

// look is what was read in one step: the configurations first, then the Secret.
type look struct {
	began, ended time.Time
	secret       *Secret
	configs      []seen
}

// observe judges what was read and takes it into the history. What is seen counts from the end of the look, and is
// compared with the time of its beginning: a wait is never too short.
func (h *history) observe(l look, p Policy) situation {
	s := situation{served: h.served, fresh: h.fresh(l.began, p), configs: l.configs}
	var data map[string][]byte
	if l.secret != nil {
		data = l.secret.Data
	}
	s.stored = parse(data, l.began, p)
	for i := range s.configs {
		h.seeConfig(&s.configs[i], s.stored, l)
	}
	if !s.stored.rotated() {
		h.rotatedCA = nil
	} else if h.rotatedCA == nil || !h.rotatedCA.Equal(s.stored.ca.cert) {
		h.rotatedCA, h.rotatedSince = s.stored.ca.cert, l.ended
	}
	if !s.odd(l.began, p) {
		h.settled, h.oddSince = true, time.Time{}
	} else if h.oddSince.IsZero() {
		h.oddSince = l.ended
	} else if !l.began.Before(h.oddSince.Add(grace)) {
		h.settled = true
	}
	s.settled, s.oddSince, s.rotatedSince = h.settled, h.oddSince, h.rotatedSince
	return s
}

// seeConfig fills in since when a configuration has been as it is. One that could not be read keeps its fact: the
// generation tells later whether it was changed meanwhile.
func (h *history) seeConfig(r *seen, stored *contents, l look) {
	if !r.known {
		return
	}
	f := fact{exists: r.config != nil, since: l.ended}
	if stored.ca != nil {
		f.ca = stored.ca.cert
		f.carries = r.config != nil && r.config.carries(f.ca, l.began)
	}
	if r.config != nil {
		f.uid, f.generation = r.config.UID, r.config.Generation
	}
	if old, ok := h.configs[r.name]; ok && old.same(f) {
		f.since = old.since
	}
	if h.configs == nil {
		h.configs = map[string]fact{}
	}
	h.configs[r.name] = f
	r.carries, r.since = f.carries, f.since
}

// fresh tells whether what is served was in the Secret so short a time ago that no stage was missed since.
func (h *history) fresh(now time.Time, p Policy) bool {
	return h.served != nil && now.Sub(h.servedAt) <= p.Overlap/2
}

// adopt takes over what the Secret holds. A CA that the Secret has lost is remembered.
func (h *history) adopt(stored *contents, at time.Time) {
	c := *stored
	if c.ca == nil && h.served != nil {
		c.ca = h.served.ca
	}
	h.served, h.servedAt = &c, at
}
