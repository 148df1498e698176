package kubetest

import (
	"context"
	"io"
	"net/http"
	"sync"
)

// transport has a handler answer requests without a connection.
type transport struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := r.Clone(r.Context())
	if asked.Body == nil {
		asked.Body = http.NoBody
	}
	body, into := io.Pipe()
	w := &writer{into: into, header: http.Header{}, begun: make(chan struct{})}
	cut := context.AfterFunc(r.Context(), func() { body.CloseWithError(context.Cause(r.Context())) })
	go func() {
		t.handler.ServeHTTP(w, asked)
		w.WriteHeader(http.StatusOK)
		into.Close()
		cut()
		asked.Body.Close()
	}()
	select {
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	case <-w.begun:
	}
	return &http.Response{
		Status: http.StatusText(w.code), StatusCode: w.code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: body, ContentLength: -1, Request: r,
	}, nil
}

// writer is the answer. Its header may not be changed once it has begun, as in net/http.
type writer struct {
	into   *io.PipeWriter
	header http.Header
	code   int
	once   sync.Once
	begun  chan struct{}
}

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(code int) {
	w.once.Do(func() {
		w.code = code
		close(w.begun)
	})
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.into.Write(p)
}

// Flush implements http.Flusher.
func (w *writer) Flush() { w.WriteHeader(http.StatusOK) }
