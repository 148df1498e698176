package follow

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// deadAfter is how long a connection can be dead before the HTTP/2 pings of client-go end it: an open watch without
// events says what was true that long ago.
const deadAfter = 45 * time.Second

// step is the store that the Reflector fills. It keeps no object; it tells the handler.
type step[T Object] struct {
	log    logrus.FieldLogger
	what   string
	wanted func(T) bool // nil: all
	limits

	mu      sync.Mutex // calls of the handler come one at a time, those of listen among them
	handler Handler[T]
	open    bool          // a watch is open and unbroken
	since   time.Time     // when it was opened
	told    time.Time     // by InStep, last
	away    string        // the error told last, while away
	wait    time.Duration // before the next try, without chance
	next    time.Time     // no request before
	expired bool          // the break was one of a forgotten history, or led to one
	over    bool          // Run has ended
	quiet   *time.Timer   // of listen, which InStep sets back
}

// Add implements cache.ReflectorStore.
func (s *step[T]) Add(o any) error { return s.Update(o) }

// Update implements cache.ReflectorStore.
func (s *step[T]) Update(o any) error {
	m, err := s.object(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.foreign(m) {
		s.handler.Delete(m.GetNamespace(), m.GetName()) // it may have been wanted until now
	} else {
		s.handler.Upsert(m)
	}
	s.inStep(time.Now())
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *step[T]) Delete(o any) error {
	m, err := s.object(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler.Delete(m.GetNamespace(), m.GetName())
	s.inStep(time.Now())
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *step[T]) Replace(list []any, _ string) error {
	objects := make([]T, 0, len(list))
	for _, o := range list {
		m, err := s.object(o)
		if err != nil {
			return err
		}
		if !s.foreign(m) {
			objects = append(objects, m)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.WithField("objects", len(objects)).Debug(s.what + " listed")
	s.handler.Replace(objects)
	s.open, s.since = true, time.Now() // or will be in a moment, from this state on
	s.inStep(time.Now())
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *step[T]) Resync() error { return nil }

// Bookmark implements cache.ReflectorBookmarkStore.
func (s *step[T]) Bookmark(string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inStep(time.Now())
	return nil
}

// foreign tells whether an object is none of the wanted ones.
func (s *step[T]) foreign(m T) bool {
	return s.wanted != nil && !s.wanted(m)
}

// inStep is called with mu held. After a break that the decoder saw, the event before it may still be on its way: it is
// told, but says nothing about now.
func (s *step[T]) inStep(at time.Time) {
	if !s.open || !at.After(s.told) {
		return
	}
	if s.away != "" {
		s.away = ""
		s.log.Infof("the API server's %s are followed again", s.what)
	}
	s.told = at
	if s.quiet != nil {
		s.quiet.Reset(s.limits.quiet)
	}
	s.handler.InStep(at)
}

// opened tells that a watch was answered.
func (s *step[T]) opened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open, s.since = true, time.Now()
}

// ended tells that there is no watch any more; without an error the server ended it, as it does every few minutes.
func (s *step[T]) ended(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open && time.Since(s.since) > s.good {
		s.wait = 0
	}
	s.open = false
	if err == nil || s.over {
		return
	}
	switch expired := apierrors.IsResourceExpired(err) || apierrors.IsGone(err); {
	case s.wait == 0:
		s.wait, s.expired = s.first, expired
	case expired && !s.expired:
		// A history that the server has forgotten is what a break ends with often, and a list mends it.
		s.expired = true
	default:
		s.wait = min(2*s.wait, s.last)
	}
	s.next = time.Now().Add(s.wait/2 + rand.N(s.wait/2))
	if text := err.Error(); text != s.away {
		s.away = text
		s.log.WithError(err).Warnf("the API server's %s cannot be followed; they stay as they are until that is mended", s.what)
	}
	s.handler.Away(err)
}

// end makes sure that nothing is told any more. A request of the Reflector's may still be on its way out.
func (s *step[T]) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// pause waits until a request may be sent again.
func (s *step[T]) pause(ctx context.Context) error {
	s.mu.Lock()
	d := time.Until(s.next)
	s.mu.Unlock()
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// listen tells of watches without events and bookmarks until ctx ends. A server that sends its bookmark a minute never
// makes the timer fire.
func (s *step[T]) listen(ctx context.Context) {
	timer := time.NewTimer(s.limits.quiet)
	defer timer.Stop()
	s.mu.Lock()
	s.quiet = timer
	s.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			s.mu.Lock()
			timer.Reset(s.limits.quiet)
			s.inStep(time.Now().Add(-deadAfter))
			s.mu.Unlock()
		}
	}
}

func (s *step[T]) object(o any) (T, error) {
	m, ok := o.(T)
	if !ok {
		return m, fmt.Errorf("%T is none of the API server's %s", o, s.what)
	}
	return m, nil
}
