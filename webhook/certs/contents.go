package certs

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// The keys of the Secret. Others in it are left alone.
const (
	keyCACert = "ca.crt"        // the issuing CA
	keyCAKey  = "ca.key"        //
	keyCert   = "tls.crt"       // the leaf that all replicas serve
	keyKey    = "tls.key"       //
	keyBundle = "ca-bundle.crt" // every CA that a client has to trust, the issuing one first
)

// contents is what is usable of a Secret.
type contents struct {
	ca     *pair // nil: none that can issue
	leaf   *pair // nil: none that a client which trusts the bundle would take
	bundle []*x509.Certificate

	problems []string // what is not usable, and why
	// tidy says that the stored bundle is exactly this one.
	tidy bool
}

// parse judges what a Secret holds.
func parse(data map[string][]byte, now time.Time, p Policy) *contents {
	c := &contents{}
	problem := func(key string, err error) {
		c.problems = append(c.problems, fmt.Sprintf("%s: %v", key, err))
	}
	if ca, err := parsePair(data[keyCACert], data[keyCAKey]); err != nil {
		problem(keyCACert, err)
	} else if err := usableIssuer(ca.cert, now); err != nil {
		problem(keyCACert, err)
	} else {
		c.ca = ca
	}
	var problems []string
	c.bundle, problems = parseBundle(data[keyBundle], now)
	for _, text := range problems {
		c.problems = append(c.problems, keyBundle+": "+text)
	}
	if c.ca != nil {
		c.bundle = withCA(c.bundle, c.ca.cert)
	}
	c.tidy = bytes.Equal(encodeBundle(c.bundle), data[keyBundle])
	if leaf, err := parsePair(data[keyCert], data[keyKey]); err != nil {
		problem(keyCert, err)
	} else if err := verify(leaf.cert, c.bundle, p.serverName(), now); err != nil {
		problem(keyCert, err)
	} else {
		c.leaf = leaf
	}
	return c
}

// usableIssuer is usableCA and that it is a root: clients are told of no other.
func usableIssuer(ca *x509.Certificate, now time.Time) error {
	if err := usableCA(ca, now); err != nil {
		return err
	}
	if err := ca.CheckSignatureFrom(ca); err != nil {
		return fmt.Errorf("is not signed by itself: %w", err)
	}
	return nil
}

// withCA puts ca in front of the bundle.
func withCA(bundle []*x509.Certificate, ca *x509.Certificate) []*x509.Certificate {
	return append([]*x509.Certificate{ca}, slices.DeleteFunc(slices.Clone(bundle), ca.Equal)...)
}

// encode gives the Secret's data.
func (c *contents) encode() map[string][]byte {
	data := map[string][]byte{
		keyCACert: {}, keyCAKey: {}, keyCert: {}, keyKey: {},
		keyBundle: encodeBundle(c.bundle),
	}
	if c.ca != nil {
		data[keyCACert], data[keyCAKey] = c.ca.certPEM, c.ca.keyPEM
	}
	if c.leaf != nil {
		data[keyCert], data[keyKey] = c.leaf.certPEM, c.leaf.keyPEM
	}
	return data
}

// rotated tells whether the leaf is of the issuing CA: it is not between a new CA and its first leaf.
func (c *contents) rotated() bool {
	return c.ca != nil && c.leaf != nil && issued(c.ca.cert, c.leaf.cert)
}

// steady tells whether no rotation of the CA is under way.
func (c *contents) steady() bool {
	return c.rotated() && len(c.bundle) == 1
}

// usable tells whether the leaf is still one to serve.
func (c *contents) usable(now time.Time, p Policy) bool {
	return c != nil && c.leaf != nil && verify(c.leaf.cert, c.bundle, p.serverName(), now) == nil
}

// current gives the contents with only what has not expired, to be written back.
func (c *contents) current(now time.Time) *contents {
	n := &contents{ca: c.ca, leaf: c.leaf}
	if c.ca != nil && usableIssuer(c.ca.cert, now) != nil {
		n.ca = nil
	}
	for _, ca := range c.bundle {
		if usableCA(ca, now) == nil {
			n.bundle = append(n.bundle, ca)
		}
	}
	return n
}
