//go:build integration

package apiserver

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// webhook is a replica that allows every pod.
type webhook struct {
	address string
	calls   atomic.Int64
	ready   atomic.Bool
	server  *http.Server
}

func startWebhook(t *testing.T, c *Cluster, pair tls.Certificate) *webhook {
	t.Helper()
	w := &webhook{address: c.Address() + ":9443"}
	w.ready.Store(true)
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if !w.ready.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/pods", func(rw http.ResponseWriter, r *http.Request) {
		w.calls.Add(1)
		var review struct {
			Request struct {
				UID string `json:"uid"`
			} `json:"request"`
		}
		_ = json.NewDecoder(r.Body).Decode(&review)
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(rw, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true}}`, review.Request.UID)
	})
	l, err := net.Listen("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	w.server = &http.Server{Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	go func() { _ = w.server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = w.server.Close() })
	return w
}

func TestProxyLeadsTheAPIServerToReadyReplicas(t *testing.T) {
	c := Start(t, Options{})
	ns := c.Namespace(t)
	ca, caKey, err := NewAuthority("hook")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := Issue(ca, caKey, "hook."+ns+".svc", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: hook, namespace: %[1]s}
spec: {ports: [{port: 443, targetPort: 9443}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: hook}
webhooks:
  - name: hook.example.com
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    timeoutSeconds: 2
    clientConfig: {caBundle: %[2]s, service: {name: hook, namespace: %[1]s, path: /pods}}
    rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
`, ns, base64.StdEncoding.EncodeToString(certificatePEM(ca.Raw))))
	p := c.Proxy(t, ns, "hook")
	create := func() Result {
		return c.Admin().Try(t.Context(), `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"p-"},"spec":{"containers":[{"name":"c","image":"i"}]}}`,
			"create", "-n", ns, "-f", "-")
	}

	// Until the API server has seen the registration, pods are let in.
	Eventually(t, 10*time.Second, "a refusal without a replica", func() error {
		r := create()
		if r.Err == nil {
			return errors.New("the pod was let in")
		}
		if !strings.Contains(r.Stderr, "connection refused") {
			return r.Err
		}
		return nil
	})
	a, b := startWebhook(t, c, pair), startWebhook(t, c, pair)
	b.ready.Store(false)
	for _, w := range []*webhook{a, b} {
		p.Add(Backend{Address: w.address, Ready: "https://" + w.address + "/readyz"})
	}
	p.WaitReady(t, 1)
	if r := create(); r.Err != nil || a.calls.Load() != 1 || b.calls.Load() != 0 {
		t.Errorf("with one ready replica: %v, calls %d and %d", r.Err, a.calls.Load(), b.calls.Load())
	}
	// The API server keeps its connection to the first one until that ends.
	b.ready.Store(true)
	p.WaitReady(t, 2)
	if err := a.server.Close(); err != nil {
		t.Fatal(err)
	}
	a.ready.Store(false)
	p.WaitReady(t, 1)
	if r := create(); r.Err != nil || b.calls.Load() != 1 {
		t.Errorf("after the first replica's end: %v, calls %d", r.Err, b.calls.Load())
	}
	b.ready.Store(false)
	p.WaitReady(t, 0)
	if err := b.server.Close(); err != nil {
		t.Fatal(err)
	}
	if r := create(); r.Err == nil || !strings.Contains(r.Stderr, "connection refused") {
		t.Errorf("after the last replica's end: %v", r.Err)
	}
}
