package process

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pollEvery is how often a condition that cannot be waited for is looked at.
const pollEvery = 10 * time.Millisecond

// Poll calls check until it returns nil, the context ends or the error is Permanent.
// The error that it returns then holds check's last one.
func Poll(ctx context.Context, check func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		if p := (permanent{}); errors.As(err, &p) {
			return p.error
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// Permanent marks an error that waiting will not heal.
func Permanent(err error) error { return permanent{err} }

type permanent struct{ error }
