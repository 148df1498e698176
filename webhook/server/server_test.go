package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	logrustest "github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/webhook/fpga"
)

// testCertificates are those of httptest.
type testCertificates struct {
	cert    *tls.Certificate
	missing []string
}

func (c testCertificates) Missing() []string { return c.missing }

func (c testCertificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(c.missing) > 0 {
		return nil, errors.New(c.missing[0])
	}
	return c.cert, nil
}

// running is a server of its own.
type running struct {
	*Server
	client *http.Client
	stop   context.CancelFunc
	done   chan error
}

func run(t *testing.T, drain time.Duration, change func(*Config), prepare ...func(*Server)) *running {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS() // for its certificate and a client that trusts it
	s.Close()
	log, _ := logrustest.NewNullLogger()
	c := Config{
		Listen: "127.0.0.1:0", Certificates: testCertificates{cert: &s.TLS.Certificates[0]}, Tables: ns1(), Drain: drain, Log: log,
	}
	if change != nil {
		change(&c)
	}
	server, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prepare {
		p(server)
	}
	r := &running{Server: server, client: s.Client(), done: make(chan error, 1)}
	t.Cleanup(r.client.CloseIdleConnections)
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.done <- server.Run(ctx) }()
	t.Cleanup(func() {
		r.stop()
		if err := <-r.done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// answered is what became of a request; the body has been read to its end.
type answered struct {
	status int
	last   bool // the server says that it closes the connection
}

func (r *running) post(body string) (answered, error) {
	response, err := r.client.Post("https://"+r.Addr()+MutatePath, "application/json", strings.NewReader(body))
	if err != nil {
		return answered{}, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return answered{response.StatusCode, response.Close}, err
}

func TestItServesTLS12AndAboveAndBothHTTPs(t *testing.T) {
	r := run(t, 0, nil)
	for _, tt := range []struct {
		name      string
		max       uint16
		protocols []string
		version   uint16
		protocol  string
	}{
		{"what both prefer", 0, []string{"h2", "http/1.1"}, tls.VersionTLS13, "h2"},
		{"as the API server does", 0, []string{"http/1.1"}, tls.VersionTLS13, "http/1.1"},
		{"1.2", tls.VersionTLS12, nil, tls.VersionTLS12, ""},
		{"1.1", tls.VersionTLS11, nil, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", r.Addr(), &tls.Config{
				InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tt.max, NextProtos: tt.protocols,
			})
			if err != nil {
				if tt.version != 0 {
					t.Error(err)
				}
				return
			}
			defer conn.Close()
			if s := conn.ConnectionState(); s.Version != tt.version || s.NegotiatedProtocol != tt.protocol {
				t.Errorf("%s, %q", tls.VersionName(s.Version), s.NegotiatedProtocol)
			}
		})
	}
}

// Who asks for something else has no place among those who stay.
func TestAConnectionEndsWithWhatIsNoReview(t *testing.T) {
	r := run(t, 0, nil)
	for path, status := range map[string]int{"/": http.StatusNotFound, MutatePath: http.StatusMethodNotAllowed} {
		response, err := r.client.Get("https://" + r.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != status || !response.Close {
			t.Errorf("%s: %s, the connection ends: %v", path, response.Status, response.Close)
		}
	}
}

func TestItIsNotReadyWithoutMappingsOrCertificate(t *testing.T) {
	r := run(t, 0, func(c *Config) {
		c.Certificates = testCertificates{missing: []string{"no certificate yet"}}
		late := ns1()
		late.missing = []string{"FpgaRegions are not synchronised yet"}
		c.Tables = late
	})
	if got := fmt.Sprint(r.Missing()); got != "[no certificate yet FpgaRegions are not synchronised yet]" {
		t.Error(got)
	}
	if _, err := r.post(usual()); err == nil {
		t.Error("it answers without a certificate")
	}
}

func TestWhileItDrainsItIsNotReadyAndStillServes(t *testing.T) {
	r := run(t, 3*time.Second, nil)
	response, err := r.post(usual())
	if err != nil || response.last || len(r.Missing()) != 0 {
		t.Fatalf("%v, %v, missing %v", response, err, r.Missing())
	}
	r.stop()
	for end := time.Now().Add(5 * time.Second); len(r.Missing()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it stays ready")
		}
	}
	if response, err = r.post(usual()); err != nil || response.status != http.StatusOK || !response.last {
		t.Errorf("while it drains: %+v, %v", response, err)
	}
	err = <-r.done
	r.done <- err
	if err != nil {
		t.Error(err)
	}
	if _, err := r.post(usual()); err == nil {
		t.Error("it serves after its end")
	}
}

func TestARequestUnderWayIsFinishedWhenItEnds(t *testing.T) {
	r := run(t, 0, nil)
	body := usual()
	conn, err := tls.Dial("tcp", r.Addr(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		MutatePath, len(body), body[:100])
	time.Sleep(50 * time.Millisecond) // the handler reads the body by now
	r.stop()
	time.Sleep(50 * time.Millisecond)
	if _, err := io.WriteString(conn, body[100:]); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.Contains(answer, []byte(`"allowed":true`)) {
		t.Errorf("%s, %v", answer, err)
	}
}

func TestATakenPortIsAnErrorThatNamesTheFlag(t *testing.T) {
	r := run(t, 0, nil)
	_, err := New(Config{Listen: r.Addr(), Certificates: testCertificates{}, Tables: ns1()})
	if err == nil || !strings.HasPrefix(err.Error(), "--listen "+r.Addr()+": ") {
		t.Error(err)
	}
}

// BenchmarkServe is whole requests over TLS, as an API server sends them: what its profile (-cpuprofile) shows is what
// inlay-webhook is compiled for, see webhook/default.pgo.
func BenchmarkServe(b *testing.B) {
	fake := httptest.NewUnstartedServer(nil)
	fake.StartTLS() // for its certificate and a client that trusts it
	defer fake.Close()
	log, _ := logrustest.NewNullLogger()
	s, err := New(Config{
		Listen: "127.0.0.1:0", Certificates: testCertificates{cert: &fake.TLS.Certificates[0]}, Tables: ns1(), Log: log,
		Options: fpga.Options{ModeAffinity: true},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	client := fake.Client()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			response, err := client.Post("https://"+s.Addr()+MutatePath, "application/json", strings.NewReader(usual()))
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
				b.Errorf("%s, %v", response.Status, err)
			}
			response.Body.Close()
		}
	})
	client.CloseIdleConnections()
	stop()
	if err := <-done; err != nil {
		b.Error(err)
	}
}
