package health

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"
)

// Verdict is what is to be believed of a card now. Reason says why it is not healthy.
type Verdict struct {
	Healthy bool
	Reason  string
}

func good() Verdict { return Verdict{Healthy: true} }

func bad(format string, args ...any) Verdict {
	return Verdict{Reason: fmt.Sprintf(format, args...)}
}

// tracker holds the answers of one source and knows how long they may be believed. It is safe for concurrent use.
type tracker struct {
	grace time.Duration
	kick  func() // a verdict has become another
	wake  chan struct{}

	mu    sync.Mutex
	cards map[string]*state
	told  map[string]Verdict // the verdicts of the last kick
}

// notAsked is why there is no answer for a card that is new.
const notAsked = "not asked yet"

// state is what is known of one card.
type state struct {
	answer Verdict
	holds  bool      // the answer is true now
	since  time.Time // without holds: since when there is no answer that holds
	why    string    // without holds: why
}

func newTracker(grace time.Duration, kick func()) *tracker {
	return &tracker{grace: grace, kick: kick, wake: make(chan struct{}, 1), cards: map[string]*state{}, told: map[string]Verdict{}}
}

// follow makes these the cards that matter. A new one has no answer from now on; one that is gone is forgotten, and
// begins anew if it comes back. It tells whether there is a new one.
func (t *tracker) follow(addresses []string) (more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := make(map[string]*state, len(addresses))
	for _, a := range addresses {
		if next[a] = t.cards[a]; next[a] == nil {
			next[a] = &state{answer: good(), since: time.Now(), why: notAsked}
			t.told[a] = good()
			more = true
		}
	}
	maps.DeleteFunc(t.told, func(a string, _ Verdict) bool { return next[a] == nil })
	t.cards = next
	if more {
		t.look()
	}
	return more
}

func (t *tracker) look() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// addresses gives the cards that matter.
func (t *tracker) addresses() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]string, 0, len(t.cards))
	for a := range t.cards {
		list = append(list, a)
	}
	return list
}

// asked tells whether every card that matters has been asked for, with or without an answer.
func (t *tracker) asked() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.cards {
		if s.why == notAsked {
			return false
		}
	}
	return true
}

// answered notes what the source says of a card. It holds until lost or another answer.
func (t *tracker) answered(address string, v Verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.cards[address]; s != nil {
		s.answer, s.holds, s.why = v, true, ""
		t.look()
	}
}

// lost notes that there is no answer for a card now, and why.
func (t *tracker) lost(address, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.cards[address]; s != nil {
		if s.holds {
			s.holds, s.since = false, time.Now()
		}
		s.why = why
		t.look()
	}
}

// verdict on a card; one that is not followed is healthy.
func (t *tracker) verdict(address string) Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.cards[address]
	if s == nil {
		return good()
	}
	v, _ := t.judge(s, time.Now())
	return v
}

// judge gives the verdict on a card and, if time alone will make it another, in how long.
func (t *tracker) judge(s *state, now time.Time) (v Verdict, change time.Duration) {
	if s.holds {
		return s.answer, 0
	}
	if left := t.grace - now.Sub(s.since); left > 0 {
		return s.answer, left
	}
	return bad("no health data for longer than %s: %s", t.grace, s.why), 0
}

// run kicks whenever a verdict has become another, by an answer or by time, until ctx ends.
func (t *tracker) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		changed, next := t.compare(time.Now())
		if changed {
			t.kick()
		}
		if timer.Stop(); next > 0 {
			timer.Reset(next)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-timer.C:
		}
	}
}

// compare tells whether a verdict differs from what was told, and when time alone will make one differ.
func (t *tracker) compare(now time.Time) (changed bool, next time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for a, s := range t.cards {
		v, change := t.judge(s, now)
		if v != t.told[a] {
			t.told[a], changed = v, true
		}
		if change > 0 && (next == 0 || change < next) {
			next = change
		}
	}
	return changed, next
}
