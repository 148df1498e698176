package engine

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff doubles from min to max. Half of each step is jitter, so that the plugins of a node do not come in step to
// a runtime that takes connections one at a time.
type backoff struct {
	min, max, step time.Duration
}

// next returns the wait before the next attempt and lengthens the step.
func (b *backoff) next() time.Duration {
	b.step = min(max(b.step, b.min), b.max)
	d := b.step/2 + rand.N(b.step/2+1)
	b.step *= 2
	return d
}

func (b *backoff) reset() { b.step = 0 }

// pause waits for d, or less if ctx ends or wake fires; true in the latter case.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) (woken bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-wake:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}
