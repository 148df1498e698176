package certs

import (
	"fmt"
	"slices"
	"time"
)

// Policy is what certificates are made like and when they are replaced.
type Policy struct {
	// Service and Namespace make the names in the leaf. An API server calls <service>.<namespace>.svc.
	Service, Namespace string
	// Validity is that of the leaf (default 90 days), RotateBefore when before its end a new one is issued (default a
	// third of Validity).
	Validity, RotateBefore time.Duration
	// CAValidity is that of the CA (default 10 years). A new CA comes when a third of it is left.
	CAValidity time.Duration
	// Overlap is how long each stage of a new CA lasts (default 5 min).
	Overlap time.Duration
}

// The defaults.
const (
	DefaultValidity   = 90 * 24 * time.Hour
	DefaultCAValidity = 3650 * 24 * time.Hour
	DefaultOverlap    = 5 * time.Minute
)

// minOverlap leaves certificates' times, which are whole seconds, a meaning.
const minOverlap = time.Second

// complete fills the defaults in and refuses what cannot work.
func (p Policy) complete() (Policy, error) {
	if p.Service == "" || p.Namespace == "" {
		return p, fmt.Errorf("certificates need a service and a namespace; got %q and %q", p.Service, p.Namespace)
	}
	p.Validity = orDefault(p.Validity, DefaultValidity)
	p.CAValidity = orDefault(p.CAValidity, DefaultCAValidity)
	p.RotateBefore = orDefault(p.RotateBefore, p.Validity/3)
	p.Overlap = orDefault(p.Overlap, DefaultOverlap)
	switch {
	case p.Overlap < minOverlap:
		return p, fmt.Errorf("overlap %s is shorter than %s", p.Overlap, minOverlap)
	case p.RotateBefore >= p.Validity:
		return p, fmt.Errorf("rotation %s before the end of a certificate that is valid for %s: it would never be served",
			p.RotateBefore, p.Validity)
	case p.RotateBefore < 3*p.Overlap:
		// While a new CA waits, no leaf can be issued: what is served has to last.
		return p, fmt.Errorf("rotation %s before the end of a certificate is less than 3 overlaps of %s", p.RotateBefore, p.Overlap)
	case p.CAValidity < p.Validity:
		return p, fmt.Errorf("a CA that is valid for %s cannot issue certificates for %s", p.CAValidity, p.Validity)
	case p.caRotateBefore() < 4*p.Overlap:
		return p, fmt.Errorf("a third of a CA's validity of %s is less than 4 overlaps of %s", p.CAValidity, p.Overlap)
	}
	return p, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func (p Policy) caRotateBefore() time.Duration { return p.CAValidity / 3 }

// serverName is what a client of the webhook calls it.
func (p Policy) serverName() string { return p.Service + "." + p.Namespace + ".svc" }

func (p Policy) names() []string { return []string{p.serverName(), p.serverName() + ".cluster.local"} }

// leafDue is when the leaf is to be replaced by another one of the same CA; now at the latest if something is wrong with
// it that a client does not mind.
func (p Policy) leafDue(c *contents, now time.Time) time.Time {
	leaf := c.leaf.cert
	for _, name := range p.names() {
		if !slices.Contains(leaf.DNSNames, name) {
			return now
		}
	}
	if !c.leaf.ours() {
		return now
	}
	// A leaf ends with its CA: near that end another one would gain nothing.
	gain := earlier(now.Add(p.Validity), c.ca.cert.NotAfter).Sub(leaf.NotAfter)
	due := leaf.NotAfter.Add(-p.RotateBefore)
	if !now.Before(due) && gain < (p.Validity-p.RotateBefore)/2 {
		return leaf.NotAfter
	}
	return due
}

// caDue is when a new CA is to join.
func (p Policy) caDue(c *contents, now time.Time) time.Time {
	if !c.ca.ours() {
		return now
	}
	return c.ca.cert.NotAfter.Add(-p.caRotateBefore())
}

// fence is how long a replica that cannot read the Secret still counts as ready. The others take a CA out of the bundle
// an Overlap after its last leaf, and that comes an Overlap after the next CA: what was seen last tells which is next.
func (p Policy) fence(c *contents) time.Duration {
	if c != nil && c.steady() {
		return p.Overlap * 3 / 2
	}
	return p.Overlap / 2
}
