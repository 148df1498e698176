package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Limits of the server: everything it says is short and ready at once, and a slow client must not hold anything.
const (
	readTimeout    = 5 * time.Second
	writeTimeout   = 10 * time.Second
	idleTimeout    = 2 * time.Minute // longer than the usual scrape interval, so that Prometheus keeps its connection
	maxHeaderBytes = 16 << 10
	drainTimeout   = 3 * time.Second // for answers under way when the process ends
)

// Check gives what is missing, a line each; nothing means ready.
type Check func() []string

// Server answers /metrics, /healthz and /readyz.
type Server struct {
	listener net.Listener // nil = off
	http     *http.Server
	ready    []namedCheck
}

// namedCheck is a check that a request can leave out by its name, if it has one.
type namedCheck struct {
	name string
	Check
}

// Listen binds addr, the value of the flag --http. An empty address gives a server that is off: its Serve waits. With
// no registry there is no /metrics. Checks are asked in the order given.
func Listen(addr string, registry *Registry, ready ...Check) (*Server, error) {
	if addr == "" {
		return &Server{}, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--http %s: %w; give another address, or an empty one for none", addr, BindCause(err))
	}
	s := &Server{listener: listener}
	for _, check := range ready {
		s.ready = append(s.ready, namedCheck{"", check})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { s.readyz(w, r.URL.Query()["exclude"]) })
	if registry != nil {
		mux.Handle("GET /metrics", registry.handler())
	}
	s.http = &http.Server{
		Handler:        mux,
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
	}
	return s, nil
}

// Also adds a check that counts in /readyz and not in /readyz?exclude=<name>: what a person wants to know and a roll-out
// should not wait for. Call it before Serve.
func (s *Server) Also(name string, check Check) {
	s.ready = append(s.ready, namedCheck{name, check})
}

// Addr is the address that was bound, with the port that the kernel chose for ":0"; "" = off.
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Serve answers until ctx ends, lets the answers under way finish, and returns nil. Call it once.
func (s *Server) Serve(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("http %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := s.http.Shutdown(drain); err != nil {
		_ = s.http.Close() // a client that does not read its answer is cut off
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("http %s: %w", s.Addr(), err)
	}
	return nil
}

// Close gives the port back without serving, for a start that fails after Listen.
func (s *Server) Close() error {
	if s.listener == nil {
		return nil
	}
	return s.listener.Close()
}

func (s *Server) readyz(w http.ResponseWriter, exclude []string) {
	var missing []string
	for _, c := range s.ready {
		if c.name == "" || !slices.Contains(exclude, c.name) {
			missing = append(missing, c.Check()...)
		}
	}
	if len(missing) == 0 {
		text(w, http.StatusOK, "ready\n")
		return
	}
	for i, line := range missing {
		missing[i] = strings.Join(strings.Fields(line), " ") // a line each, whatever an error's text holds
	}
	text(w, http.StatusServiceUnavailable, strings.Join(missing, "\n")+"\n")
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // the client has gone: nobody to tell
}

// BindCause takes "listen tcp :9770:" off an error, which says the address a second time.
func BindCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}
