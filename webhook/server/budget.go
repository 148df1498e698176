package server

import (
	"bytes"
	"context"
	"errors"

	"golang.org/x/sync/semaphore"
)

// MaxBody is the size of the largest body that is read. The API server takes objects of 3 MiB at most.
const MaxBody = 8 << 20

// What bodies and what is parsed of them may hold at a time, in bytes. A slow client holds its body and never a parse.
const (
	smallBody   = 64 << 10 // bodies up to here are small
	smallBodies = 4 << 20
	largeBodies = MaxBody
	smallParse  = 1 << 20 // parses up to here are small
	smallParses = 4 << 20
	largeParses = maxParse
	maxParse    = 32 << 20

	// leastParse is what any parse counts for. It bounds how many parsers there are at a time; more than a few a core
	// would gain nothing.
	leastParse = 256 << 10
)

// valueCost is what fastjson needs for one value, in bytes: a Value is 80, but those that a growing array has left
// behind stay reachable, which makes up to 5 times that; then the key and the pointer to it. Measured: 430.
const valueCost = 480

// Errors of bodies that are not parsed.
var (
	errTooLarge = errors.New("the body is larger than 8 MiB")
	errTooMuch  = errors.New("the body has so many values that parsing it would need more than 32 MiB")
	errBusy     = errors.New("too many requests at a time for the memory that they may use")
)

// parseCost is an upper bound of the memory that parsing a body takes, its own copy included. Each value comes after
// one of three characters; those within strings make the bound a little higher.
func parseCost(body []byte) int64 {
	values := 1 + bytes.Count(body, []byte{','}) + bytes.Count(body, []byte{'['}) + bytes.Count(body, []byte{'{'})
	return int64(len(body)) + int64(values)*valueCost
}

// budget is memory that requests share.
type budget struct{ bodies, parses [2]*semaphore.Weighted } // small, large

func newBudget() *budget {
	return &budget{
		bodies: [2]*semaphore.Weighted{semaphore.NewWeighted(smallBodies), semaphore.NewWeighted(largeBodies)},
		parses: [2]*semaphore.Weighted{semaphore.NewWeighted(smallParses), semaphore.NewWeighted(largeParses)},
	}
}

// body waits for room for a body of n bytes, which the caller gives back with release.
func (b *budget) body(ctx context.Context, n int64) (held, error) {
	if n > smallBody {
		return hold(ctx, b.bodies[1], n)
	}
	return hold(ctx, b.bodies[0], n)
}

// parse waits for room for a parse. Who holds it waits for nothing any more, so that the wait ends.
func (b *budget) parse(ctx context.Context, cost int64) (held, error) {
	switch {
	case cost > maxParse:
		return held{}, errTooMuch
	case cost > smallParse:
		return hold(ctx, b.parses[1], cost)
	default:
		return hold(ctx, b.parses[0], max(cost, leastParse))
	}
}

// held is a part of a budget.
type held struct {
	of *semaphore.Weighted
	n  int64
}

// release gives the part back; more than once does no harm.
func (h *held) release() {
	if h.of != nil {
		h.of.Release(h.n)
		h.of = nil
	}
}

// hold makes a timer only if it must wait.
func hold(ctx context.Context, of *semaphore.Weighted, n int64) (held, error) {
	if !of.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(ctx, maxWait)
		defer cancel()
		if err := of.Acquire(ctx, n); err != nil {
			return held{}, errBusy
		}
	}
	return held{of, n}, nil
}
