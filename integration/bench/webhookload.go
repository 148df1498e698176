package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/integration/process"
)

// connections is how many an API server's webhook client would have to one replica under load.
const connections = 4

// asker sends reviews to one server as an API server does: over HTTP/1.1, which its client insists on, and connections
// that stay.
type asker struct {
	server  *process.Process
	url     string
	bodies  [][]byte
	clients []*http.Client
	next    int // body

	perRequest []float64 // seconds of the server's CPU, one a round
	rate       []float64 // requests a second, one a round
	took       times     // of all requests
}

func newAsker(server *process.Process, address string, roots *x509.CertPool, bodies [][]byte) *asker {
	a := &asker{server: server, url: "https://" + address + "/pods?timeout=5s", bodies: bodies}
	for range connections {
		a.clients = append(a.clients, &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}}, MaxIdleConnsPerHost: 1, DisableCompression: true,
		}})
	}
	return a
}

func (a *asker) close() {
	for _, c := range a.clients {
		c.CloseIdleConnections()
	}
}

// answer asks once.
func (a *asker) answer(ctx context.Context, c *http.Client, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, */*")
	request.Header.Set("User-Agent", "kube-apiserver-admission")
	response, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`"patchType"`))) {
		err = fmt.Errorf("%s: %s: %.300s", a.url, response.Status, text)
	}
	return text, err
}

// round sends n requests over all connections at once and keeps what they cost if keep is set.
func (a *asker) round(ctx context.Context, n int, keep bool) error {
	before, err := cpuTime(a.server)
	if err != nil {
		return err
	}
	began := time.Now()
	took := make([]times, connections)
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range a.clients {
		first := a.next + i*n/connections
		group.Go(func() error {
			for j := range n / connections {
				sent := time.Now()
				if _, err := a.answer(ctx, c, a.bodies[(first+j)%len(a.bodies)]); err != nil {
					return err
				}
				took[i] = append(took[i], time.Since(sent))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return ended(err, a.server)
	}
	lasted := time.Since(began)
	after, err := cpuTime(a.server)
	if err != nil || !keep {
		return err
	}
	a.next += n
	done := float64(n / connections * connections)
	a.perRequest = append(a.perRequest, (after-before).Seconds()/done)
	a.rate = append(a.rate, done/lasted.Seconds())
	for _, t := range took {
		a.took = append(a.took, t...)
	}
	return nil
}

// cpuTime is what a process has used so far in user and system mode: its CPU clock, which counts nanoseconds where
// /proc counts ticks.
func cpuTime(p *process.Process) (time.Duration, error) {
	var t unix.Timespec
	const cpuClockSched = 2 // of <linux/posix-timers.h>: the scheduler's count, of the whole process
	if err := unix.ClockGettime(int32(^p.Pid()<<3|cpuClockSched), &t); err != nil {
		return 0, fmt.Errorf("CPU clock of %s: %w", p.Name(), err)
	}
	return time.Duration(t.Nano()), nil
}

// calm waits until a process does nothing more on its own.
func calm(ctx context.Context, p *process.Process) error {
	const (
		quiet  = 20 * time.Millisecond // of CPU time in a second
		inARow = 3
	)
	last, err := cpuTime(p)
	for seconds := 0; seconds < inARow && err == nil; {
		if err := pause(ctx, time.Second); err != nil {
			return ended(fmt.Errorf("%s does not come to rest: %w", p.Name(), err), p)
		}
		var now time.Duration
		if now, err = cpuTime(p); now-last > quiet {
			seconds = 0
		} else {
			seconds++
		}
		last = now
	}
	return err
}

// answers waits until the page answers 200.
func answers(ctx context.Context, page string, p *process.Process) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return ended(process.Poll(ctx, func() error {
		response, err := client.Get(page)
		if err != nil {
			if !p.Alive() {
				err = process.Permanent(err)
			}
			return err
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s: %s", page, response.Status, text)
		}
		return nil
	}), p)
}

// certificate makes one for this machine's loopback, valid for a day, as files in dir.
func certificate(dir string) (cert, key string, roots *x509.CertPool, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", nil, err
	}
	bits, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	cert, key, roots = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return cert, key, roots, errors.Join(
		os.WriteFile(cert, text, 0o600), os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bits}), 0o600))
}
