package apiserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// pki is the folder of the cluster's certificates and keys.
type pki struct{ dir string }

func (p *pki) caFile() string         { return filepath.Join(p.dir, "ca.crt") }
func (p *pki) certFile() string       { return filepath.Join(p.dir, "apiserver.crt") }
func (p *pki) keyFile() string        { return filepath.Join(p.dir, "apiserver.key") }
func (p *pki) accountKeyFile() string { return filepath.Join(p.dir, "accounts.key") }

// newPKI makes an authority, the API server's certificate and the key that signs the tokens of service accounts. Left
// to itself the server would make RSA keys, which takes seconds.
func newPKI(dir string, server netip.AddrPort) (*pki, error) {
	p := &pki{dir: dir}
	ca, caKey, err := NewAuthority("inlay test")
	if err != nil {
		return nil, err
	}
	cert, key, err := Issue(ca, caKey, "kubernetes", host(server))
	if err != nil {
		return nil, err
	}
	_, account, err := newKey()
	if err != nil {
		return nil, err
	}
	for file, data := range map[string][]byte{
		p.caFile(): certificatePEM(ca.Raw), p.certFile(): cert, p.keyFile(): key, p.accountKeyFile(): account,
	} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// validity is longer than any test.
const validity = 24 * time.Hour

// NewAuthority makes a certificate authority for a server of a test.
func NewAuthority(name string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, _, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("authority %s: %w", name, err)
	}
	ca, err := x509.ParseCertificate(raw)
	return ca, key, err
}

// Issue makes a server's certificate and key, PEM, for the host names and addresses.
func Issue(ca *x509.Certificate, caKey *ecdsa.PrivateKey, hosts ...string) (certificate, key []byte, err error) {
	private, key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: hosts[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, ca, private.Public(), caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate for %v: %w", hosts, err)
	}
	return certificatePEM(raw), key, nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
