package certs

import (
	"context"
	"time"
)

// pace lets a burst through and then one for each interval. Somebody who changes back what is put right must not make
// this process a load on the API server.
type pace struct {
	burst int
	every time.Duration
	// full is when the whole burst is available again.
	full time.Time
}

// take gives how long to wait for one's turn.
func (p *pace) take(now time.Time) time.Duration {
	p.full = later(p.full, now).Add(p.every)
	return max(0, p.full.Sub(now)-time.Duration(p.burst)*p.every)
}

// sleep waits for d or, if sooner, for wake. False: ctx has ended.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	if ctx.Err() != nil {
		return false
	}
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-t.C:
	}
	return true
}
