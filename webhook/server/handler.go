package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/webhook/fpga"
)

// Paths of the two webhooks.
const (
	MutatePath = "/pods"
	CheckPath  = "/pods/check"
)

// handler answers the two paths.
type handler struct {
	sources
	options  fpga.Options
	observer Observer
	log      *logrus.Logger
	budget   *budget
	draining atomic.Bool
	now      func() time.Time
	bodies   sync.Pool // of *buffer, small ones
	reviews  sync.Pool // of *reviewer
}

// buffer holds a body and its answer.
type buffer struct{ b, answer []byte }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var check bool
	switch r.URL.Path {
	case MutatePath:
	case CheckPath:
		check = true
	default:
		w.Header().Set("Connection", "close") // as refuse does: nobody who asks this needs to stay
		http.Error(w, "only "+MutatePath+" and "+CheckPath+" are served", http.StatusNotFound)
		return
	}
	began := h.now()
	decision, err := h.answer(w, r, check)
	if err != nil {
		h.refuse(w, r, err)
	}
	h.observer.Reviewed(check, string(decision), h.now().Sub(began))
}

// refusal is why no review was read, with its status.
type refusal struct {
	status int
	error
}

func (e refusal) Unwrap() error { return e.error }

// refuse answers what is no review.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadRequest
	var known refusal
	switch {
	case errors.As(err, &known):
		status = known.status
	case errors.Is(err, errTooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, errBusy):
		status = http.StatusServiceUnavailable
	}
	h.log.WithError(err).WithFields(logrus.Fields{"status": status, "remote": r.RemoteAddr}).Info("request refused")
	header := w.Header()
	if status == http.StatusMethodNotAllowed {
		header.Set("Allow", http.MethodPost)
	}
	if status == http.StatusServiceUnavailable {
		header.Set("Retry-After", "1")
	}
	header.Set("Connection", "close") // what is left of the body is not worth reading
	http.Error(w, err.Error(), status)
}

// answer reads, reviews and answers. It has not answered if it returns an error.
func (h *handler) answer(w http.ResponseWriter, r *http.Request, check bool) (Decision, error) {
	if err := acceptable(r); err != nil {
		return Malformed, err
	}
	room, err := h.budget.body(r.Context(), r.RemoteAddr, r.ContentLength)
	if err != nil {
		return Busy, err
	}
	defer room.release()
	body, _ := h.bodies.Get().(*buffer)
	if body == nil {
		body = &buffer{}
	}
	defer func() {
		if cap(body.b) <= smallBody && cap(body.answer) <= smallBody {
			h.bodies.Put(body)
		}
	}()
	if err := body.read(r.Body, int(r.ContentLength)); err != nil {
		return Malformed, err
	}
	answer, outcome, err := h.review(r.Context(), body, check)
	if err != nil {
		return outcome.Decision, err
	}
	h.logOutcome(check, outcome)
	header := w.Header()
	header["Content-Type"] = jsonType
	if len(answer) > 1024 { // net/http counts short answers itself
		header["Content-Length"] = []string{strconv.Itoa(len(answer))}
	}
	if h.draining.Load() {
		header.Set("Connection", "close") // the client's next request goes to another replica
	}
	_, _ = w.Write(answer) // the client has gone: nobody to tell
	body.answer = answer[:0]
	return outcome.Decision, nil
}

var jsonType = []string{"application/json"}

// acceptable tells whether a request may have a review in it.
func acceptable(r *http.Request) error {
	if r.Method != http.MethodPost {
		return refusal{http.StatusMethodNotAllowed, fmt.Errorf("method %.20q is not POST", r.Method)}
	}
	if t := r.Header["Content-Type"]; len(t) != 1 || t[0] != jsonType[0] {
		given := strings.Join(t, ", ")
		if m, _, err := mime.ParseMediaType(given); err != nil || m != jsonType[0] {
			return refusal{http.StatusUnsupportedMediaType, fmt.Errorf("content type %.80q is not application/json", given)}
		}
	}
	if e := r.Header["Content-Encoding"]; len(e) > 0 {
		return refusal{http.StatusUnsupportedMediaType, fmt.Errorf("content encoding %.80q is not understood", e[0])}
	}
	if r.ContentLength < 0 {
		return refusal{http.StatusLengthRequired, errors.New("the request has no Content-Length")}
	}
	if r.ContentLength > MaxBody {
		return errTooLarge
	}
	return nil
}

// read fills the buffer with n bytes. The server's ReadTimeout bounds how long that takes.
func (b *buffer) read(from io.Reader, n int) error {
	if cap(b.b) < n {
		b.b = make([]byte, n, max(n, 8<<10))
	}
	b.b = b.b[:n]
	if got, err := io.ReadFull(from, b.b); err != nil {
		return fmt.Errorf("the body ends after %d of %d bytes: %w", got, n, err)
	}
	return nil
}

// review answers a body.
func (h *handler) review(ctx context.Context, body *buffer, check bool) (answer []byte, outcome Outcome, err error) {
	rv, _ := h.reviews.Get().(*reviewer)
	if rv == nil {
		rv = &reviewer{}
	}
	defer func() {
		if mistake := recover(); mistake != nil {
			answer, outcome = h.panicked(mistake, rv.uid)
			err = nil
		}
		h.reviews.Put(rv)
	}()
	return rv.review(ctx, body.answer[:0], body.b, check, h.sources, h.options)
}

// panicked denies a pod that a mistake in the program kept from being looked at.
func (h *handler) panicked(mistake any, uid string) ([]byte, Outcome) {
	h.observer.Panicked()
	h.log.WithFields(logrus.Fields{"uid": uid, "panic": fmt.Sprint(mistake), "stack": string(debug.Stack())}).
		Error("mistake in inlay-webhook: the pod is denied")
	return refuse(nil, Denied, codeMistake, &question{uid: uid},
		"inlay-webhook met a mistake in itself; its log has the details under this request's uid "+uid)
}

// logOutcome tells what an administrator will be asked about: who was refused, and why.
func (h *handler) logOutcome(check bool, o Outcome) {
	if o.Code == 0 {
		return
	}
	webhook := "mutate"
	if check {
		webhook = "check"
	}
	h.log.WithFields(logrus.Fields{
		"webhook": webhook, "uid": o.UID, "namespace": o.Namespace, "pod": o.Pod, "code": o.Code, "reason": o.Message,
	}).Info("pod refused")
}
