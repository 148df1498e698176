package certs

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"
)

// grace is how long a process that knows nothing leaves an installation alone that others seem to serve: one of them
// puts back what is lost.
const grace = 5 * time.Second

// kind says what is to be done to the Secret.
type kind int

const (
	keep       kind = iota // nothing: it is as it should be
	hold                   // nothing yet, and nothing to the configurations either
	anew                   // a CA and a leaf from nothing
	putBack                // what this process serves, whole
	keepServed             // this process's leaf instead of the stored one, which clients do not trust; the CAs of both
	tidyUp                 // the bundle alone
	joinCA                 // a new CA joins the bundle and becomes the issuing one; the leaf stays
	issueLeaf              // the CA issues a leaf
)

func (k kind) String() string {
	return [...]string{
		"keep", "hold", "anew", "put back", "keep served", "tidy up", "join CA", "issue leaf",
	}[k]
}

// action is what the state asks for.
type action struct {
	kind   kind
	why    string
	bundle []*x509.Certificate // of tidyUp
}

// situation is everything that is decided on: what was read just now, and what this process remembers.
type situation struct {
	stored  *contents // of the Secret
	configs []seen

	served *contents // what this process serves, nil: nothing yet
	// fresh says that served was in the Secret a moment ago.
	fresh bool
	// settled says that this process has seen the Secret and the configurations agree, or waited for it.
	settled bool
	// oddSince is when they were first seen to disagree.
	oddSince time.Time
	// rotatedSince is when a leaf of the stored CA was first seen in the Secret.
	rotatedSince time.Time
}

// seen is a configuration as it was read.
type seen struct {
	name    string
	known   bool           // false: it could not be read this time
	config  *Configuration // nil: there is none
	carries bool           // every entry has the stored CA
	since   time.Time      // this has been so since, without a change in between; zero where not known
}

// trust is whether clients take a leaf, by all configurations that are known.
type trust int

const (
	unknown trust = iota // there is no client
	trusted
	distrusted
)

func (s situation) trust(c *contents, now time.Time, p Policy) trust {
	t := unknown
	for _, r := range s.configs {
		if !r.known || r.config == nil || len(r.config.Entries) == 0 {
			continue
		}
		if c == nil || c.leaf == nil || !r.config.trusts(c.leaf.cert, now, p) {
			return distrusted
		}
		t = trusted
	}
	return t
}

func (s situation) inUse(now time.Time) bool {
	for _, r := range s.configs {
		if !r.known || r.config != nil && r.config.inUse(now) {
			return true
		}
	}
	return false
}

// odd tells whether the Secret is not what the clients' trust was made for.
func (s situation) odd(now time.Time, p Policy) bool {
	return s.stored.leaf == nil || s.trust(s.stored, now, p) == distrusted
}

// next decides what is to be done to the Secret now, and how long nothing else is if nothing changes.
func next(now time.Time, s situation, p Policy) (action, time.Duration) {
	servedUsable := s.served.usable(now, p)
	servedTrust := s.trust(s.served, now, p)
	// What this process remembers of a moment ago, or sees clients trust, is worth acting on at once. Else somebody may
	// know better, if these clients have ever been served.
	knows := servedUsable && (s.settled && s.fresh || s.stored.leaf != nil && servedTrust == trusted)
	if s.odd(now, p) && s.inUse(now) && !knows {
		if wait := s.oddSince.Add(grace).Sub(now); wait > 0 {
			return action{kind: hold, why: "another replica may still have what is lost"}, wait
		}
	}
	if s.stored.leaf == nil {
		return s.replaceLeaf(servedUsable, servedTrust), 0
	}
	if servedUsable && !s.served.leaf.same(s.stored.leaf) &&
		servedTrust == trusted && s.trust(s.stored, now, p) == distrusted {
		return action{kind: keepServed, why: "clients trust the certificate that is served and not the stored one"}, 0
	}
	if s.stored.ca == nil {
		return action{kind: joinCA, why: s.reason("there is no CA that can issue")}, 0
	}
	if !s.stored.tidy {
		return action{kind: tidyUp, why: s.reason("the bundle is not in order"), bundle: s.stored.bundle}, 0
	}
	if !s.stored.rotated() {
		return s.stageTwo(now, p)
	}
	return s.atRest(now, p)
}

// replaceLeaf is for a Secret from which nothing can be served.
func (s situation) replaceLeaf(servedUsable bool, servedTrust trust) action {
	switch {
	case servedUsable && (servedTrust != distrusted || s.stored.ca == nil):
		return action{kind: putBack, why: s.reason("what is served is still good")}
	case s.stored.ca != nil:
		return action{kind: issueLeaf, why: s.reason("there is no certificate that can be served")}
	}
	return action{kind: anew, why: s.reason("nothing in the Secret can be used")}
}

// stageTwo waits until all clients trust the new CA and then has it issue a leaf.
func (s situation) stageTwo(now time.Time, p Policy) (action, time.Duration) {
	since := time.Time{}
	for _, r := range s.configs {
		if r.since.IsZero() || r.config != nil && !r.carries {
			return action{kind: keep, why: "a new CA waits for " + r.name}, p.Overlap
		}
		since = later(since, r.since)
	}
	if wait := since.Add(p.Overlap).Sub(now); wait > 0 {
		return action{kind: keep, why: "a new CA waits for all clients to trust it"}, wait
	}
	return action{kind: issueLeaf, why: fmt.Sprintf("all clients have trusted the new CA for %s", p.Overlap)}, 0
}

// atRest is for a leaf of the issuing CA: the third stage, and what time brings.
func (s situation) atRest(now time.Time, p Policy) (action, time.Duration) {
	c := s.stored
	leafDue, caDue := p.leafDue(c, now), p.caDue(c, now)
	if !now.Before(leafDue) {
		return action{kind: issueLeaf, why: "the certificate ends at " + c.leaf.cert.NotAfter.Format(time.RFC3339)}, 0
	}
	wait := leafDue.Sub(now)
	if len(c.bundle) > 1 {
		left := s.rotatedSince.Add(p.Overlap).Sub(now)
		if left > 0 {
			return action{kind: keep, why: "old CAs wait for all replicas to serve the new one's certificate"}, min(wait, left)
		}
		return action{
			kind: tidyUp, why: fmt.Sprintf("all replicas have had the new CA's certificate for %s", p.Overlap),
			bundle: []*x509.Certificate{c.ca.cert},
		}, 0
	}
	if !now.Before(caDue) {
		return action{kind: joinCA, why: "the CA ends at " + c.ca.cert.NotAfter.Format(time.RFC3339)}, 0
	}
	return action{kind: keep}, min(wait, caDue.Sub(now))
}

// reason adds what is wrong with the Secret.
func (s situation) reason(text string) string {
	if len(s.stored.problems) == 0 {
		return text
	}
	return text + " (" + strings.Join(s.stored.problems, "; ") + ")"
}

// build makes the contents that an action asks for.
func build(a action, s situation, now time.Time, p Policy) (*contents, error) {
	n := &contents{ca: s.stored.ca, leaf: s.stored.leaf, bundle: s.stored.bundle}
	var err error
	switch a.kind {
	case putBack:
		n = s.served.current(now)
	case keepServed:
		n.leaf = s.served.leaf
		for _, ca := range s.served.current(now).bundle {
			if issued(ca, n.leaf.cert) && !contains(n.bundle, ca) {
				n.bundle = append(n.bundle[:len(n.bundle):len(n.bundle)], ca)
			}
		}
	case tidyUp:
		n.bundle = a.bundle
	case joinCA:
		// The CA that this process remembers is already in the bundle of clients; with it nothing has to be staged.
		if n.ca == nil && s.served != nil && s.served.ca != nil && contains(n.bundle, s.served.ca.cert) {
			n.ca = s.served.ca
		} else if n.ca, err = newCA(now, p.CAValidity); err != nil {
			return nil, err
		}
		n.bundle = withCA(n.bundle, n.ca.cert)
	case anew:
		if n.ca, err = newCA(now, p.CAValidity); err != nil {
			return nil, err
		}
		n.bundle = withCA(n.bundle, n.ca.cert)
		n.leaf, err = newLeaf(n.ca, now, p.Validity, p.names())
	case issueLeaf:
		n.leaf, err = newLeaf(n.ca, now, p.Validity, p.names())
	case keep, hold:
		return nil, fmt.Errorf("nothing to build for %s", a.kind)
	}
	return n, err
}
