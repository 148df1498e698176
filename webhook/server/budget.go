package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// MaxBody is the size of the largest body that is read. The API server takes objects of 3 MiB at most; but it writes each
// <, > and & in six bytes (\u003c), so that a pod of 1.4 MB which is made of them is above it, and answered with 413.
const MaxBody = 8 << 20

// What bodies may hold at a time, in bytes. Reading one takes no further memory to speak of, whatever is in it; the
// answer to a hostile one is not larger than the body.
const (
	smallBody   = 64 << 10 // bodies up to here are small
	smallBodies = 8 << 20
	largeBodies = 2 * MaxBody
	// What one address may hold of them: anybody in the cluster can begin to send a body and let us wait for its end. Of
	// the large ones it is one of the largest.
	callerSmall = smallBodies / 4
	callerLarge = largeBodies / 2

	maxWait = 2 * time.Second // for a part of the budget; the registration's timeout is 5 s
)

// Errors of bodies that are not read.
var (
	errTooLarge = errors.New("the body is larger than 8 MiB")
	errBusy     = errors.New("too many requests at a time for the memory that they may use")
)

// budget is memory that requests share.
type budget struct {
	small, large *semaphore.Weighted

	mu      sync.Mutex
	callers map[string]*share
}

// share is an address's part.
type share struct {
	small, large *semaphore.Weighted
	users        int // requests that hold of it, or wait
}

func newBudget() *budget {
	return &budget{
		small: semaphore.NewWeighted(smallBodies), large: semaphore.NewWeighted(largeBodies),
		callers: map[string]*share{},
	}
}

// room is what a request holds.
type room struct {
	budget *budget
	own    *share
	caller string
	n      int64
}

// of gives the part of all bodies that counts, and that of the address.
func (r room) of() (all, own *semaphore.Weighted) {
	if r.n > smallBody {
		return r.budget.large, r.own.large
	}
	return r.budget.small, r.own.small
}

// body waits for room for a body of n bytes. The caller gives it back with release.
func (b *budget) body(ctx context.Context, remote string, n int64) (room, error) {
	caller := callerOf(remote)
	r := room{budget: b, own: b.enter(caller), caller: caller, n: n}
	all, own := r.of()
	if err := hold(ctx, own, n); err != nil {
		b.leave(caller, r.own)
		return room{}, err
	}
	if err := hold(ctx, all, n); err != nil {
		own.Release(n)
		b.leave(caller, r.own)
		return room{}, err
	}
	return r, nil
}

func (r room) release() {
	all, own := r.of()
	all.Release(r.n)
	own.Release(r.n)
	r.budget.leave(r.caller, r.own)
}

func (b *budget) enter(caller string) *share {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.callers[caller]
	if s == nil {
		s = &share{small: semaphore.NewWeighted(callerSmall), large: semaphore.NewWeighted(callerLarge)}
		b.callers[caller] = s
	}
	s.users++
	return s
}

// leave forgets an address that holds nothing, unless there are few: the API servers come again and again.
func (b *budget) leave(caller string, s *share) {
	const few = 16
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.users--; s.users == 0 && len(b.callers) > few {
		delete(b.callers, caller)
	}
}

// hold makes a timer only if it must wait.
func hold(ctx context.Context, of *semaphore.Weighted, n int64) error {
	if of.TryAcquire(n) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	if err := of.Acquire(ctx, n); err != nil {
		return errBusy
	}
	return nil
}
