package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ErrConflict is the answer to a write that was decided on what has changed since, or that somebody else was faster with.
var ErrConflict = errors.New("changed by somebody else")

// Secret is one Secret as it was read.
type Secret struct {
	ResourceVersion string
	Data            map[string][]byte

	origin *corev1.Secret // of an API server: what is written back beside the data
}

// Secrets is the one Secret that all replicas share.
type Secrets interface {
	// String names it in messages.
	String() string
	// Read gives what is stored at this time, not what was a moment ago; nil without an error if there is none.
	Read(ctx context.Context) (*Secret, error)
	// Write sets keys of the Secret as it was read, and creates it where old is nil. Other keys stay. The error is
	// ErrConflict if the Secret is not as it was read.
	Write(ctx context.Context, old *Secret, data map[string][]byte) error
	// Watch calls changed when it has begun and at each change, until it breaks or ctx ends.
	Watch(ctx context.Context, changed func()) error
}

// Configuration is a webhook configuration as it was read.
type Configuration struct {
	UID             string
	ResourceVersion string
	Generation      int64 // changes whenever an entry does
	Entries         []Entry
}

// Entry is one webhook of a configuration.
type Entry struct {
	Name     string
	CABundle []byte
}

// Registration is one webhook configuration.
type Registration interface {
	// String names it in messages.
	String() string
	// Read gives what is stored at this time; nil without an error if there is none.
	Read(ctx context.Context) (*Configuration, error)
	// SetBundle sets the caBundle of all entries of the configuration as it was read and nothing else. The error is
	// ErrConflict if the configuration is not as it was read.
	SetBundle(ctx context.Context, old *Configuration, bundle []byte) error
	// Watch calls changed when it has begun and at each change, until it breaks or ctx ends.
	Watch(ctx context.Context, changed func()) error
}

// carries tells whether every entry's clients trust ca.
func (c *Configuration) carries(ca *x509.Certificate, now time.Time) bool {
	for _, e := range c.Entries {
		if cas, _ := parseBundle(e.CABundle, now); !contains(cas, ca) {
			return false
		}
	}
	return true
}

// has tells whether every entry has exactly this bundle.
func (c *Configuration) has(bundle []byte) bool {
	for _, e := range c.Entries {
		if !bytes.Equal(e.CABundle, bundle) {
			return false
		}
	}
	return true
}

// trusts tells whether clients by every entry take a leaf.
func (c *Configuration) trusts(leaf *x509.Certificate, now time.Time, p Policy) bool {
	for _, e := range c.Entries {
		if cas, _ := parseBundle(e.CABundle, now); verify(leaf, cas, p.serverName(), now) != nil {
			return false
		}
	}
	return true
}

// inUse tells whether clients by some entry trust any CA: somebody has served them.
func (c *Configuration) inUse(now time.Time) bool {
	for _, e := range c.Entries {
		if cas, _ := parseBundle(e.CABundle, now); len(cas) > 0 {
			return true
		}
	}
	return false
}
