package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// backdate is how far back a certificate begins: the clock of an API server may be behind ours.
const backdate = time.Hour

// pair is a certificate with its private key.
type pair struct {
	cert            *x509.Certificate
	key             crypto.Signer
	certPEM, keyPEM []byte
}

// ours tells whether the key is of the kind that we make.
func (p *pair) ours() bool {
	key, ok := p.key.(*ecdsa.PrivateKey)
	return ok && key.Curve == elliptic.P256()
}

func (p *pair) same(q *pair) bool {
	return p != nil && q != nil && p.cert.Equal(q.cert)
}

// tls gives what a server needs.
func (p *pair) tls() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key, Leaf: p.cert}
}

// newCA makes an authority that signs leaves and nothing else. Its subject is its own: clients that hold two CAs find
// the issuer by the subject.
func newCA(now time.Time, validity time.Duration) (*pair, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	return sign(&x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: fmt.Sprintf("inlay webhook CA %.8x", serial.Bytes())},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}, nil)
}

// newLeaf issues a serving certificate for names. It does not outlive its CA.
func newLeaf(ca *pair, now time.Time, validity time.Duration, names []string) (*pair, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	return sign(&x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "inlay webhook"},
		DNSNames:              names,
		NotBefore:             now.Add(-backdate),
		NotAfter:              earlier(now.Add(validity), ca.cert.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}, ca)
}

// sign makes a key and a certificate for it, signed by ca or, without one, by itself.
func sign(template *x509.Certificate, ca *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	parent, signer := template, crypto.Signer(key)
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read %s back: %w", template.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of %s: %w", template.Subject.CommonName, err)
	}
	return &pair{
		cert: cert, key: key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

const pemCertificate = "CERTIFICATE"

func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return new(big.Int).SetBytes(b), nil
}

// parsePair reads a certificate and the key that belongs to it.
func parsePair(certPEM, keyPEM []byte) (*pair, error) {
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	key, ok := c.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	cert := c.Leaf
	if cert == nil { // GODEBUG x509keypairleaf=0
		if cert, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return nil, err
		}
	}
	return &pair{cert: cert, key: key, certPEM: certPEM, keyPEM: keyPEM}, nil
}

// parseBundle reads the CAs of a bundle. What is no usable CA is left out and told.
func parseBundle(b []byte, now time.Time) (cas []*x509.Certificate, problems []string) {
	for n := 1; ; n++ {
		var block *pem.Block
		block, b = pem.Decode(b)
		if block == nil {
			if len(bytes.TrimSpace(b)) > 0 {
				problems = append(problems, "what follows the last certificate is no PEM")
			}
			return cas, problems
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil {
			err = usableCA(cert, now)
		}
		switch {
		case block.Type != pemCertificate:
			problems = append(problems, fmt.Sprintf("block %d is a %.40q", n, block.Type))
		case err != nil:
			problems = append(problems, fmt.Sprintf("certificate %d: %v", n, err))
		case !contains(cas, cert):
			cas = append(cas, cert)
		}
	}
}

// usableCA tells whether a certificate can vouch for leaves. One that begins in the future is usable: then our own
// clock is behind, and a new one would not help those whose clocks are right.
func usableCA(c *x509.Certificate, now time.Time) error {
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return errors.New("is no CA")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("must not sign certificates")
	case !now.Before(c.NotAfter):
		return fmt.Errorf("expired at %s", c.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// verify is what a client does that trusts cas and calls name.
func verify(leaf *x509.Certificate, cas []*x509.Certificate, name string, now time.Time) error {
	roots := x509.NewCertPool()
	for _, ca := range cas {
		roots.AddCert(ca)
		now = later(now, ca.NotBefore)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: x509.NewCertPool(),
		DNSName:       name,
		CurrentTime:   later(now, leaf.NotBefore),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// issued tells whether ca has signed leaf.
func issued(ca, leaf *x509.Certificate) bool {
	return bytes.Equal(ca.RawSubject, leaf.RawIssuer) && leaf.CheckSignatureFrom(ca) == nil
}

func encodeBundle(cas []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, ca := range cas {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: ca.Raw}))
	}
	return b.Bytes()
}

func contains(cas []*x509.Certificate, ca *x509.Certificate) bool {
	for _, c := range cas {
		if c.Equal(ca) {
			return true
		}
	}
	return false
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
