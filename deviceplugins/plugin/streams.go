package plugin

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/inlay-project/inlay/internal/unixsock"
)

// maxStreams bounds the ListAndWatch streams of one resource. A kubelet holds one, two for a moment; more are what
// kubelets left behind that never hung up. Of those the oldest is ended.
const maxStreams = 8

// steady is how long a stream lives before its end counts as a new trouble rather than the same one again.
const steady = 5 * time.Second

// streams keeps count of the ListAndWatch streams of one resource. It never ends one because a new one has come: a
// kubelet takes the end of any stream of a resource as the end of the resource's newest endpoint (up to 1.36 it hangs up
// on the new one, later it marks it as stopped), so an old stream that is ended late takes the resource away.
type streams struct {
	// ended is called, without locks held, when a stream of the present kubelet has ended by itself; lived says how
	// long it was there, old that it came of an earlier registration than the last.
	ended func(lived time.Duration, old bool)

	mu sync.Mutex
	// kubelet is the identity of kubelet.sock at the last registration: whose streams now begin.
	kubelet unixsock.Identity
	round   int           // counts registrations
	open    []*openStream // oldest first
}

type openStream struct {
	kubelet unixsock.Identity
	round   int
	began   time.Time
	cancel  context.CancelFunc
	pruned  bool
}

// enter counts a stream; left is called when its handler returns.
func (s *streams) enter(ctx context.Context) (_ context.Context, left func()) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &openStream{kubelet: s.kubelet, round: s.round, began: time.Now(), cancel: cancel}
	s.open = append(s.open, st)
	if len(s.open) > maxStreams {
		// One that hangs in its Send cannot be ended by us; its own connection's end will do that.
		if i := slices.IndexFunc(s.open, func(o *openStream) bool { return !o.pruned }); i >= 0 {
			s.open[i].pruned = true
			s.open[i].cancel()
		}
	}
	return ctx, func() {
		cancel()
		s.leave(st)
	}
}

func (s *streams) leave(st *openStream) {
	s.mu.Lock()
	s.open = slices.DeleteFunc(s.open, func(o *openStream) bool { return o == st })
	ofOurs, old := st.kubelet == s.kubelet, st.round < s.round
	s.mu.Unlock()
	// A stream of a kubelet that has been replaced meanwhile tells nothing about the one that we are registered with.
	if ofOurs && !st.pruned {
		s.ended(time.Since(st.began), old)
	}
}

// registering says whose streams begin from now on.
func (s *streams) registering(kubelet unixsock.Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kubelet = kubelet
	s.round++
}

// live counts the streams of the kubelet that we last registered with.
func (s *streams) live() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, o := range s.open {
		if o.kubelet == s.kubelet {
			n++
		}
	}
	return n
}
