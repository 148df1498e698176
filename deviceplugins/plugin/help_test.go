package plugin_test

import (
	"context"
	"strings"

	"github.com/inlay-project/inlay/internal/uevent"
)

// events is a source of uevents in the test's hand.
type events chan uevent.Event

func newEvents() events { return make(events, 100) }

func (e events) Receive(ctx context.Context) (uevent.Event, error) {
	select {
	case ev := <-e:
		return ev, nil
	case <-ctx.Done():
		return uevent.Event{}, ctx.Err()
	}
}

func (e events) Close() error { return nil }

// contains reports whether an error names all the parts.
func contains(err error, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			return false
		}
	}
	return true
}
