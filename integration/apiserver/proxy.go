package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/integration/relay"
)

// Backend is one replica behind a Service.
type Backend struct {
	// Address is where connections go, host:port.
	Address string
	// Ready is the URL of the readiness probe; empty means always ready.
	Ready string
}

// Proxy stands in for kube-proxy, for the first port of one Service, and for the kubelets' readiness probes. As there,
// a new connection goes to any replica that was ready at the last probe, without a second try elsewhere; and while none
// is ready, connections are refused.
type Proxy struct {
	address string

	mu       sync.Mutex
	backends []*backend
	listener net.Listener // nil while no backend is ready
	changed  chan struct{}

	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup
}

type backend struct {
	Backend
	ready bool
	stop  context.CancelFunc
}

const (
	// probeEvery is more often than a kubelet can, so that tests need not wait.
	probeEvery = 100 * time.Millisecond
	// probeLimit is a kubelet's default timeout, and probeTimeouts its default of failures in a row. Other failures count
	// at once: a machine that is busy answers late, but it does not refuse.
	probeLimit    = time.Second
	probeTimeouts = 3
)

// Proxy starts a stand-in for the Service, which ends with the test.
func (c *Cluster) Proxy(t testing.TB, namespace, service string) *Proxy {
	t.Helper()
	p, err := c.NewProxy(t.Context(), namespace, service)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// NewProxy is Proxy without a test.
func (c *Cluster) NewProxy(ctx context.Context, namespace, service string) (*Proxy, error) {
	r := c.Admin().Try(ctx, "", "get", "service", service, "-n", namespace, "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}")
	if r.Err != nil {
		return nil, r.Err
	}
	p := &Proxy{address: strings.TrimSpace(r.Stdout), changed: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background()) // until Close, not until ctx ends
	// Listening once now: what cannot work later is this call's error.
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		return nil, fmt.Errorf("proxy for %s/%s: %w", namespace, service, err)
	}
	return p, l.Close()
}

// Add adds a replica and probes it from now on.
func (p *Proxy) Add(b Backend) {
	ctx, cancel := context.WithCancel(p.ctx)
	one := &backend{Backend: b, stop: cancel}
	p.mu.Lock()
	p.backends = append(p.backends, one)
	p.mu.Unlock()
	p.tasks.Go(func() { p.probe(ctx, one) })
}

// Remove takes a replica out, as the deletion of its pod does; connections that it has stay.
func (p *Proxy) Remove(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backends = slices.DeleteFunc(p.backends, func(b *backend) bool {
		if b.Address == address {
			b.stop()
			return true
		}
		return false
	})
	p.update()
}

// WaitReady waits until exactly n replicas are ready.
func (p *Proxy) WaitReady(t testing.TB, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	if err := p.AwaitReady(ctx, n); err != nil {
		t.Fatal(err)
	}
}

// AwaitReady is WaitReady without a test.
func (p *Proxy) AwaitReady(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		is, changed := len(p.ready()), p.changed
		p.mu.Unlock()
		if is == n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d replicas are ready, want %d: %w", is, n, ctx.Err())
		}
	}
}

// Close ends the proxy and all connections.
func (p *Proxy) Close() {
	p.stop()
	p.mu.Lock()
	p.backends = nil
	p.update()
	p.mu.Unlock()
	p.tasks.Wait()
}

// ready gives the replicas that connections may go to. The caller holds mu.
func (p *Proxy) ready() []*backend {
	return slices.DeleteFunc(slices.Clone(p.backends), func(b *backend) bool { return !b.ready })
}

// update opens or closes the listener after a change. The caller holds mu.
func (p *Proxy) update() {
	close(p.changed)
	p.changed = make(chan struct{})
	want := len(p.ready()) > 0
	if !want && p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	if want && p.listener == nil {
		l, err := net.Listen("tcp", p.address)
		if err != nil {
			// It could be listened on before; the next probe tries again, and tests time out with "not ready".
			for _, b := range p.backends {
				b.ready = false
			}
			return
		}
		p.listener = l
		p.tasks.Go(func() { p.accept(l) })
	}
}

// probe keeps a replica's readiness until ctx ends.
func (p *Proxy) probe(ctx context.Context, b *backend) {
	// As a kubelet: a new connection each time, and any certificate will do.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := http.Client{Transport: transport, Timeout: probeLimit}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	late := 0
	for {
		ready, timeout := true, false
		if b.Ready != "" {
			ready, timeout = answersOK(ctx, &client, b.Ready)
		}
		if ctx.Err() != nil {
			return
		}
		if timeout {
			late++
		} else {
			late = 0
		}
		p.mu.Lock()
		if b.ready != ready && (!timeout || late >= probeTimeouts) {
			b.ready = ready
			p.update()
		}
		p.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// answersOK tells whether a replica says that it is ready, or else whether it says nothing in time.
func answersOK(ctx context.Context, client *http.Client, url string) (ok, timeout bool) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, false
	}
	answer, err := client.Do(request)
	if err != nil {
		var late net.Error
		return false, errors.As(err, &late) && late.Timeout()
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer.StatusCode >= 200 && answer.StatusCode < 400, false // as a kubelet judges
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return // closed
		}
		p.mu.Lock()
		ready := p.ready()
		p.mu.Unlock()
		if len(ready) == 0 {
			relay.Reset(client)
			continue
		}
		to := ready[rand.IntN(len(ready))].Address
		p.tasks.Go(func() {
			relay.Forward(p.ctx, client, func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", to)
			})
		})
	}
}

// Eventually waits for a condition that the test has a right to within d.
func Eventually(t testing.TB, d time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	began := time.Now()
	if err := process.Poll(ctx, check); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return time.Since(began)
}
