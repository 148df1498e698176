package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/kube/kubetest"
	"github.com/inlay-project/inlay/webhook/api/follow/followtest"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// limit is for what has no promise of its own; it is long because machines that test are busy.
const limit = 30 * time.Second

// cluster is an API server that knows mappings and what else there is.
type cluster struct {
	*followtest.Server
	rest       *kubetest.Server
	singles    http.Handler // nil: the same server; of single mappings
	kubeconfig string
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{Server: followtest.Start(t, followtest.Options{}), rest: kubetest.New()}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/leases"):
			c.rest.ServeHTTP(w, r)
		case c.singles != nil && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/namespaces/"):
			c.singles.ServeHTTP(w, r)
		default:
			c.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	c.kubeconfig = write(t, "kubeconfig", `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: `+s.URL+`}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
current-context: c
`)
	return c
}

func (c *cluster) holder() string {
	var l coordinationv1.Lease
	if c.rest.Get("/apis/coordination.k8s.io/v1/namespaces/inlay-system/leases/inlay-webhook", &l); l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// daemon is a program that runs.
type daemon struct {
	*childtest.Daemon
	t      *testing.T
	https  string
	client *http.Client
}

// serve runs the program until the test ends. The certificate is httptest's.
func serve(t *testing.T, c *cluster, args ...string) *daemon {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := write(t, "tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	keyFile := write(t, "tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	https, plain := childtest.FreeAddress(t), childtest.FreeAddress(t)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}
	client := &http.Client{Timeout: limit, Transport: transport}
	t.Cleanup(client.CloseIdleConnections)
	cmd := childtest.Command(asProgram, append([]string{
		"serve", "--kubeconfig", c.kubeconfig, "--listen", https, "--http", plain, "--tls-cert", cert, "--tls-key", keyFile, "--log-level", "debug",
	}, args...)...)
	return &daemon{childtest.Start(t, cmd, plain), t, https, client}
}

// asks sends a review and tells whether it was allowed.
func (d *daemon) asks(body string) (allowed bool, message string, err error) {
	resp, err := d.client.Post("https://"+d.https+"/pods", "application/json", strings.NewReader(body))
	if err != nil {
		return false, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return false, "", fmt.Errorf("%d %s, %w", resp.StatusCode, b, err)
	}
	a := answer(d.t, string(b))
	if a.Result != nil {
		message = a.Result.Message
	}
	return a.Allowed, message, nil
}

func spec(mode string) map[string]any {
	return map[string]any{"afuId": nlb3, "interfaceId": iface, "mode": mode}
}

func TestServeFollowsTheMappingsWritesTheirStatusAndDrains(t *testing.T) {
	c := startCluster(t)
	c.Put(v2.KindAcceleratorFunction, "ns1", "n3o", spec("region"))
	c.Put(v2.KindAcceleratorFunction, "ns1", "bad", spec("afoo"))
	d := serve(t, c, "--drain", "700ms", "--mode-affinity")
	d.Answers(limit, "/readyz", 200, "ready")
	if allowed, message, err := d.asks(reviewOf("ns1", "n3o")); err != nil || !allowed {
		t.Errorf("denied: %s, %v", message, err)
	}
	if allowed, message, err := d.asks(reviewOf("ns1", "bad")); err != nil || allowed || !strings.Contains(message, "afoo") {
		t.Errorf("allowed %v: %s, %v", allowed, message, err)
	}
	c.Put(v2.KindFpgaRegion, "ns2", "a10", map[string]any{"interfaceId": iface})
	c.Delete(v2.KindAcceleratorFunction, "ns1", "n3o")
	childtest.Eventually(t, limit, func() error {
		is, _, err := d.asks(reviewOf("ns2", "a10"))
		was, _, err2 := d.asks(reviewOf("ns1", "n3o"))
		if !is || was || err != nil || err2 != nil {
			return fmt.Errorf("a10 allowed: %v, n3o allowed: %v (%w)", is, was, errors.Join(err, err2))
		}
		return nil
	})
	childtest.Eventually(t, limit, func() error {
		if s := c.Status(v2.KindFpgaRegion, "ns2", "a10"); s == nil || s.Resource != region {
			return fmt.Errorf("status of a10: %+v", s)
		}
		return nil
	})
	d.Answers(limit, "/metrics", 200,
		`inlay_webhook_requests_total{decision="translated",webhook="mutate"}`,
		`inlay_webhook_mappings{kind="AcceleratorFunction",ready="false"} 1`,
		`inlay_webhook_mappings{kind="FpgaRegion",ready="true"} 1`,
		`inlay_webhook_synced 1`, `inlay_webhook_certificate_expiry_timestamp_seconds`, `component="webhook"`)

	if err := d.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.Answers(limit, "/readyz", 503, "inlay-webhook is ending")
	if allowed, _, err := d.asks(reviewOf("ns2", "a10")); err != nil || !allowed {
		t.Errorf("while it drains: %v, %v", allowed, err)
	}
	if err := d.Wait(limit); err != nil {
		t.Error(err)
	}
	if holder := c.holder(); holder != "" {
		t.Errorf("the Lease is still held by %s", holder)
	}
	if !strings.Contains(d.Output(), "inlay-webhook ends") || strings.Contains(d.Output(), "level=error") {
		t.Error("its last words, or an error")
	}
}

// The API server has mappings of which its watches have told nothing: single objects come from another one.
func TestServeAsksForAMappingThatItsWatchHasNotTold(t *testing.T) {
	c, newer := startCluster(t), followtest.Start(t, followtest.Options{})
	newer.Put(v2.KindAcceleratorFunction, "ns1", "n3o", spec("region"))
	c.singles = newer
	d := serve(t, c)
	d.Answers(limit, "/readyz", 200, "ready")
	childtest.Eventually(t, limit, func() error { // a busy machine may take too long over the first handshake
		if allowed, message, err := d.asks(reviewOf("ns1", "n3o")); err != nil || !allowed {
			return fmt.Errorf("denied: %s, %w", message, err)
		}
		return nil
	})
	for range 20 {
		const want = "namespace ns1 has no AcceleratorFunction or FpgaRegion named n0o"
		if allowed, message, err := d.asks(reviewOf("ns1", "n0o")); err != nil || allowed || !strings.Contains(message, want) {
			t.Errorf("%s, %v; want %q", message, err, want)
		}
	}
	if n := newer.Requests("get"); n < 4 || n > 8 { // two for each of the names, and again if this took more than a second
		t.Errorf("%d requests", n)
	}
	newer.SetStall(true)
	began := time.Now()
	if allowed, message, err := d.asks(reviewOf("ns1", "n0p")); err != nil || allowed || !strings.Contains(message, "named n0p") {
		t.Errorf("with a silent API server: %s, %v", message, err)
	}
	if took := time.Since(began); took < 400*time.Millisecond || took > 3*time.Second {
		t.Errorf("with a silent API server the answer took %v", took)
	}
}

func TestReplicasServeWithoutTheLease(t *testing.T) {
	c := startCluster(t)
	c.Put(v2.KindAcceleratorFunction, "ns1", "n3o", spec("region"))
	for range 2 {
		d := serve(t, c)
		d.Answers(limit, "/readyz", 200, "ready")
		childtest.Eventually(t, limit, func() error {
			if c.holder() == "" {
				return errors.New("nobody leads")
			}
			return nil
		})
		if allowed, message, err := d.asks(reviewOf("ns1", "n3o")); err != nil || !allowed {
			t.Errorf("denied: %s, %v", message, err)
		}
	}
}

func TestServeIsNotReadyBeforeItKnowsTheMappingsAndHasACertificate(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer silent.Close()
	text, err := os.ReadFile(startCluster(t).kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), "server: ")
	_, after, _ := strings.Cut(rest, "}")
	d := serve(t, &cluster{kubeconfig: write(t, "kubeconfig", before+"server: "+silent.URL+"}"+after)},
		"--tls-cert", filepath.Join(t.TempDir(), "tls.crt"))
	d.Answers(limit, "/readyz", 503, "AcceleratorFunctions are not synchronised yet", "FpgaRegions are not synchronised yet", "tls.crt")
	d.Answers(limit, "/healthz", 200, "ok")
	if _, _, err := d.asks(reviewOf("ns1", "n3o")); err == nil {
		t.Error("it answers")
	}
}
