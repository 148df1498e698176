package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"
)

// Source is where a server's certificate comes from.
type Source interface {
	// GetCertificate is for tls.Config. It takes no lock and makes no call.
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Run keeps the certificate until ctx ends; what it started has ended when it returns.
	Run(ctx context.Context) error
	// Missing says, a line each, why requests cannot be served yet; none: they can.
	Missing() []string
	// NotAfter is when the served certificate expires, zero without one.
	NotAfter() time.Time
}

var errNoCertificate = errors.New("no certificate yet")

// serving is the certificate that new connections get.
type serving struct {
	current atomic.Pointer[tls.Certificate]
}

// GetCertificate implements Source.
func (s *serving) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := s.current.Load(); c != nil {
		return c, nil
	}
	return nil, errNoCertificate
}

// NotAfter implements Source.
func (s *serving) NotAfter() time.Time {
	if c := s.current.Load(); c != nil {
		return c.Leaf.NotAfter
	}
	return time.Time{}
}
