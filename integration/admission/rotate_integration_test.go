//go:build integration

package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/inlay-project/inlay/integration/apiserver"
)

// private starts a system of the test's own, without replicas.
func private(t *testing.T) *System {
	t.Helper()
	program, err := tests.program()
	if err != nil {
		t.Fatal(err)
	}
	c, err := apiserver.New(t.Context(), apiserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	closing := c.Close
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.KeepLogs(t.Name()))
		}
		if err := closing(); err != nil {
			t.Error(err)
		}
	})
	s, err := Install(t.Context(), c, program)
	if err != nil {
		t.Fatal(err)
	}
	closing = s.Close
	return s
}

// bundles reads the caBundle of both registrations; all entries must have the same.
func bundles(ctx context.Context, c kubernetes.Interface) ([2][]byte, error) {
	var all [2][]byte
	m, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, Service, metav1.GetOptions{})
	if err != nil {
		return all, err
	}
	v, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, Service, metav1.GetOptions{})
	if err != nil {
		return all, err
	}
	return [2][]byte{m.Webhooks[0].ClientConfig.CABundle, v.Webhooks[0].ClientConfig.CABundle}, nil
}

// trust is a bundle that an API server may work with until then; zero is for good.
type trust struct {
	bundle []byte
	until  time.Time
}

// verifier is what an API server knows of the webhook at some time, and what it has met.
type verifier struct {
	mu        sync.Mutex
	leaves    map[string]bool // serial numbers that replicas served
	cas       map[string]bool // raw CAs of the bundles
	overlaps  int             // looks that found two CAs in a bundle
	problems  []string
	handshake int
	stale     int // handshakes that failed when the bundle was too old
}

// look makes a TLS connection to every replica with every bundle, as an API server that has no connection yet.
func (v *verifier) look(addresses []string, trusted ...trust) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, trust := range trusted {
		bundle := trust.bundle
		pool := x509.NewCertPool()
		n := 0
		for rest := bundle; ; n++ {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			v.cas[string(block.Bytes)] = true
		}
		if n > 1 {
			v.overlaps++
		}
		pool.AppendCertsFromPEM(bundle)
		for _, address := range addresses {
			conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: ServerName})
			v.handshake++
			if err != nil && !trust.until.IsZero() && time.Now().After(trust.until) {
				v.stale++
				continue
			}
			if err != nil {
				v.problems = append(v.problems, fmt.Sprintf("%s %s: %v (bundle of %d)", time.Now().Format("05.000"), address, err, n))
				continue
			}
			v.leaves[conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)] = true
			_ = conn.Close()
		}
	}
}

func TestCertificatesRotateUnderLoad(t *testing.T) {
	t.Parallel()
	s := private(t)
	// Years in seconds: a leaf is renewed after 6 s; a new CA comes after 16 s and is alone 4 s later.
	if err := s.StartReplicas(t.Context(), replicas,
		"--certificate-validity=12s", "--rotate-before=6s", "--ca-validity=24s", "--ca-overlap=2s"); err != nil {
		t.Fatal(err)
	}
	ns := s.namespace(t, usual())
	client := s.client(t)
	var addresses []string
	for _, r := range s.Running() {
		addresses = append(addresses, r.Address)
	}
	l := startLoad(t, client, ns, 3)
	v := &verifier{leaves: map[string]bool{}, cas: map[string]bool{}}
	began := time.Now()
	// An API server that works with the registration of a moment ago is in time for 1.5 s, less than the overlap.
	read := func() [2]trust {
		until := time.Now().Add(1500 * time.Millisecond)
		is, err := bundles(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		return [2]trust{{is[0], until}, {is[1], until}}
	}
	last := read()
	for len(v.cas) < 2 || bytes.Count(last[0].bundle, []byte("BEGIN")) > 1 {
		if time.Since(began) > time.Minute {
			t.Fatalf("%d CAs and %d leaves in a minute", len(v.cas), len(v.leaves))
		}
		is := read()
		v.look(addresses, last[0], last[1], is[0], is[1])
		last = is
		time.Sleep(50 * time.Millisecond)
	}
	l.await(t, 20)
	l.stop()
	t.Logf("%d CAs and %d leaves in %v, %d handshakes, %d of them too late, %d pods", len(v.cas), len(v.leaves),
		time.Since(began).Round(time.Second), v.handshake, v.stale, l.good)
	if len(v.leaves) < 4 || v.overlaps == 0 {
		t.Errorf("%d leaves were served, and %d looks found two CAs", len(v.leaves), v.overlaps)
	}
	for _, p := range v.problems {
		t.Errorf("handshake: %s", p)
	}
	for _, f := range l.bad {
		t.Errorf("a pod was refused: %v", f.err)
	}

	t.Run("files that somebody else keeps", func(t *testing.T) { filesRotate(t, s, ns) })
}

// filesRotate goes over to certificates from files, as cert-manager keeps them, and has them replaced.
func filesRotate(t *testing.T, s *System, ns string) {
	for _, r := range s.Running() {
		if err := s.Stop(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	ca, caKey, err := apiserver.NewAuthority("somebody else")
	if err != nil {
		t.Fatal(err)
	}
	// As the kubelet shows a Secret: names that lead to a folder by way of a link, which is replaced.
	dir := t.TempDir()
	renew := func(version string) {
		t.Helper()
		cert, key, err := apiserver.Issue(ca, caKey, ServerName)
		if err := errors.Join(err, os.Mkdir(filepath.Join(dir, version), 0o755),
			os.WriteFile(filepath.Join(dir, version, "tls.crt"), cert, 0o600), os.WriteFile(filepath.Join(dir, version, "tls.key"), key, 0o600),
			os.Symlink(version, filepath.Join(dir, "next")), os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	renew("..1")
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	for _, kind := range []string{"mutating", "validating"} {
		s.Kubectl(t, "patch", kind+"webhookconfiguration", Service, "--type=json", "-p", fmt.Sprintf(
			`[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":%q}]`, base64.StdEncoding.EncodeToString(bundle)))
	}
	if err := s.StartReplicas(t.Context(), replicas, "--tls-cert="+filepath.Join(dir, "tls.crt"), "--tls-key="+filepath.Join(dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for _, r := range s.Running() {
		addresses = append(addresses, r.Address)
	}
	apiserver.Eventually(t, waiting, "the new caBundle", func() error {
		_, err := dryRun(t.Context(), s.client(t), ns, asking("n3o"))
		return err
	})
	l := startLoad(t, s.client(t), ns, 3)
	v := &verifier{leaves: map[string]bool{}, cas: map[string]bool{}}
	for i := 1; i < 4; i++ {
		apiserver.Eventually(t, waiting, "the renewed certificate", func() error {
			v.look(addresses, trust{bundle: bundle})
			if len(v.leaves) < i {
				return fmt.Errorf("%d certificates have been served, want %d", len(v.leaves), i)
			}
			return nil
		})
		l.await(t, 20)
		renew(fmt.Sprintf("..%d", i+1))
	}
	l.stop()
	for _, p := range v.problems {
		t.Errorf("handshake: %s", p)
	}
	for _, f := range l.bad {
		t.Errorf("a pod was refused: %v", f.err)
	}
}

// What somebody else does to the certificates is put right before many notice. Not parallel, for some may.
func TestCertificatesAreRestored(t *testing.T) {
	s := shared(t)
	ns := s.namespace(t, usual())
	client := s.client(t)
	good, err := bundles(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	healed := func(what string, args ...string) {
		t.Helper()
		withinASecond(t, func(took func(string, time.Duration)) {
			s.Kubectl(t, args...)
			after := apiserver.Eventually(t, waiting, what, func() error {
				is, err := bundles(t.Context(), client)
				if err == nil && (!bytes.Equal(is[0], good[0]) || !bytes.Equal(is[1], good[1])) {
					err = fmt.Errorf("the caBundle is another one")
				}
				return err
			})
			t.Logf("%s: put right %v after kubectl had its answer", what, after.Round(time.Millisecond))
			took(what, after)
			took("a pod after: "+what, apiserver.Eventually(t, waiting, "a pod after: "+what, func() error {
				_, err := dryRun(t.Context(), client, ns, asking("n3o"))
				return err
			}))
		})
	}
	for _, kind := range []string{"mutating", "validating"} {
		healed("no caBundle, "+kind, "patch", kind+"webhookconfiguration", Service, "--type=json",
			"-p", `[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`)
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	healed("deploy/ applied again", "apply", "-k", root+"/deploy/webhook")

	secret := func() string {
		return s.Kubectl(t, "get", "secret", "inlay-webhook-certs", "-n", Namespace, "-o", `jsonpath={.data.tls\.crt}`)
	}
	was := secret()
	s.Kubectl(t, "patch", "secret", "inlay-webhook-certs", "-n", Namespace, "--type=json", "-p", `[{"op":"remove","path":"/data"}]`)
	apiserver.Eventually(t, waiting, "the Secret's contents", func() error {
		if is := secret(); is != was {
			return fmt.Errorf("it holds %q", strings.TrimSpace(is))
		}
		return nil
	})
	if _, err := dryRun(t.Context(), client, ns, asking("n3o")); err != nil {
		t.Errorf("a pod after the Secret was emptied: %v", err)
	}
}
