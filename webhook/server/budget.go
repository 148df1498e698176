package server

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// MaxBody is the size of the largest body that is read. The API server takes objects of 3 MiB at most.
const MaxBody = 8 << 20

// What bodies may hold at a time, in bytes. Reading one takes no further memory to speak of, whatever is in it; the
// answer to a hostile one is not larger than the body.
const (
	smallBody   = 64 << 10 // bodies up to here are small
	smallBodies = 8 << 20
	largeBodies = 2 * MaxBody
	// callerShare is what one address may hold of the small ones: anybody in the cluster can begin to send a body and let
	// us wait for its end.
	callerShare = smallBodies / 4

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

// share is an address's part of the small bodies.
type share struct {
	of    *semaphore.Weighted
	users int // requests that hold of it, or wait
}

func newBudget() *budget {
	return &budget{
		small: semaphore.NewWeighted(smallBodies), large: semaphore.NewWeighted(largeBodies),
		callers: map[string]*share{},
	}
}

// body waits for room for a body of n bytes. The caller gives it back with release.
func (b *budget) body(ctx context.Context, remote string, n int64) (release func(), err error) {
	if n > smallBody {
		if err := hold(ctx, b.large, n); err != nil {
			return nil, err
		}
		return func() { b.large.Release(n) }, nil
	}
	caller, _, err := net.SplitHostPort(remote)
	if err != nil {
		caller = remote
	}
	own := b.enter(caller)
	if err := hold(ctx, own.of, n); err != nil {
		b.leave(caller, own)
		return nil, err
	}
	if err := hold(ctx, b.small, n); err != nil {
		own.of.Release(n)
		b.leave(caller, own)
		return nil, err
	}
	return func() {
		b.small.Release(n)
		own.of.Release(n)
		b.leave(caller, own)
	}, nil
}

func (b *budget) enter(caller string) *share {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.callers[caller]
	if s == nil {
		s = &share{of: semaphore.NewWeighted(callerShare)}
		b.callers[caller] = s
	}
	s.users++
	return s
}

func (b *budget) leave(caller string, s *share) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.users--; s.users == 0 {
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
