package plugin

import (
	"math/rand/v2"
	"time"
)

// Registration is tried again first after backoffFirst, because between the kubelet's bind and its listen there is only a
// moment, and at most every backoffMost.
const (
	backoffFirst = 5 * time.Millisecond
	backoffMost  = 3 * time.Second
)

// backoff doubles from backoffFirst to backoffMost, with a jitter of a quarter so that the resources of a node do not
// all call at once. The zero value is ready.
type backoff struct{ wait time.Duration }

func (b *backoff) next() time.Duration {
	b.wait = min(max(2*b.wait, backoffFirst), backoffMost)
	return b.wait*3/4 + rand.N(b.wait/2)
}

func (b *backoff) reset() { b.wait = 0 }
