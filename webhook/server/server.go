package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/internal/observe"
	"github.com/inlay-project/inlay/webhook/fpga"
)

// Limits of a connection.
const (
	readHeaderTimeout = 2 * time.Second
	readTimeout       = 3 * time.Second  // header and body; the registration's timeout is 5 s
	writeTimeout      = 30 * time.Second // from the header's end to the answer's
	idleTimeout       = 2 * time.Minute  // longer than the API server's 90 s, so that it closes first and meets no race
	maxHeaderBytes    = 16 << 10
	maxConnections    = 1024 // an idle one costs some 30 KiB; an API server makes one for each request under way
	shutdownTimeout   = 10 * time.Second
)

// Certificates give the certificate that is served.
type Certificates interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Missing says why there is none yet; nothing = there is one.
	Missing() []string
}

// Observer counts requests. Its methods are called for every pod and must be quick.
type Observer interface {
	Reviewed(check bool, decision string, took time.Duration)
	Panicked()
}

// Config is what a server is made of.
type Config struct {
	Listen       string // address, as --listen has it
	Certificates Certificates
	Tables       Tables
	Finder       Finder // nil = what Tables do not have is not there
	Options      fpga.Options
	// Drain is how long requests are still served after /readyz has turned: until no new ones are sent here.
	Drain    time.Duration
	Observer Observer // nil = nothing is counted
	Log      *logrus.Logger
}

// Server is the HTTPS server.
type Server struct {
	config   Config
	listener net.Listener
	handler  *handler
	http     *http.Server
}

// New binds the address, so that a taken port is an error at start. Run serves.
func New(c Config) (*Server, error) {
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", c.Listen, observe.BindCause(err))
	}
	h := newHandler(c)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &Server{config: c, handler: h, listener: newConnections(listener, maxConnections), http: &http.Server{
		Handler: h,
		// TLS 1.3 is what both sides prefer, and the cipher suites are Go's: they follow what is known to be good.
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.Certificates.GetCertificate},
		Protocols: &protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 32, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 64 << 10,
		},
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          stdlog.New(debugLines{c.Log}, "", 0),
	}}, nil
}

func newHandler(c Config) *handler {
	h := &handler{
		sources: sources{Tables: c.Tables, finder: c.Finder}, options: c.Options, observer: c.Observer, log: c.Log, budget: newBudget(), now: time.Now,
	}
	if h.observer == nil {
		h.observer = nobody{}
	}
	return h
}

// Addr is the address that was bound, with the port that the kernel chose for ":0".
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Handler answers the two paths, without TLS and without the limits of connections.
func (s *Server) Handler() http.Handler { return s.handler }

// Missing says why requests should not be sent here; nothing = they should.
func (s *Server) Missing() []string {
	if s.handler.draining.Load() {
		return []string{"inlay-webhook is ending"}
	}
	return append(s.config.Certificates.Missing(), s.config.Tables.Missing()...)
}

// Close gives the port back without serving, for a start that fails after New.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx ends. Then it is no longer ready but goes on serving for Drain, and lets the requests under way
// finish. Call it once.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.ServeTLS(s.listener, "", "") }()
	select {
	case err := <-served:
		return fmt.Errorf("https %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	s.handler.draining.Store(true)
	s.config.Log.WithField("drain", s.config.Drain.String()).Info("no longer ready, still serving")
	drain := time.NewTimer(s.config.Drain)
	defer drain.Stop()
	select {
	case err := <-served:
		return fmt.Errorf("https %s: %w", s.Addr(), err)
	case <-drain.C:
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := s.http.Shutdown(limit); err != nil {
		_ = s.http.Close() // a client that does not read its answer is cut off
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("https %s: %w", s.Addr(), err)
	}
	return nil
}

// nobody counts nothing.
type nobody struct{}

func (nobody) Reviewed(bool, string, time.Duration) {}
func (nobody) Panicked()                            {}

// debugLines takes net/http's own lines: handshakes that fail, mostly, and anybody can cause them.
type debugLines struct{ log *logrus.Logger }

var _ io.Writer = debugLines{}

func (d debugLines) Write(p []byte) (int, error) {
	d.log.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}
