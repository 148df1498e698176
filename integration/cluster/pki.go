package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/inlay-project/inlay/integration/apiserver"
)

// files of the control plane's certificates and keys, in its folder.
const (
	caFile         = "ca.crt"
	serverCert     = "apiserver.crt"
	serverKey      = "apiserver.key"
	clientCert     = "apiserver-kubelet-client.crt"
	clientKey      = "apiserver-kubelet-client.key"
	accountKey     = "accounts.key"
	clientValidity = 24 * time.Hour
)

// writePKI makes an authority, the API server's certificates for its clients and for the kubelet, and the key that
// signs the tokens of service accounts.
func writePKI(dir string) error {
	ca, caKey, err := apiserver.NewAuthority("inlay cluster")
	if err != nil {
		return err
	}
	cert, key, err := apiserver.Issue(ca, caKey, "kubernetes", "kubernetes.default.svc", "localhost", "127.0.0.1", gateway, firstOfThem)
	if err != nil {
		return err
	}
	client, clientSecret, err := issueClient(ca, caKey, pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}})
	if err != nil {
		return err
	}
	_, account, err := newKey()
	if err != nil {
		return err
	}
	var errs []error
	for name, data := range map[string][]byte{
		caFile: certificatePEM(ca.Raw), serverCert: cert, serverKey: key, clientCert: client, clientKey: clientSecret, accountKey: account,
	} {
		errs = append(errs, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	return errors.Join(errs...)
}

// issueClient makes the certificate of a client.
func issueClient(ca *x509.Certificate, caKey *ecdsa.PrivateKey, who pkix.Name) (certificate, key []byte, err error) {
	private, key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: who,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(clientValidity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, ca, private.Public(), caKey)
	return certificatePEM(raw), key, err
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), err
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
