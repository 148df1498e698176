package engine

import (
	"context"
	"runtime/debug"
	"sync"

	"github.com/containerd/nri/pkg/api"
)

type snapshot struct {
	pods       []*api.PodSandbox
	containers []*api.Container
}

// syncMailbox holds the latest snapshot that nobody has taken yet.
type syncMailbox struct {
	mu     sync.Mutex
	latest *snapshot
	ready  chan struct{} // one pending signal at most
}

func (m *syncMailbox) put(s *snapshot) {
	m.mu.Lock()
	m.latest = s
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// take empties the mailbox, so that a node's worth of pods is not kept in memory until the next connection.
func (m *syncMailbox) take() *snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.latest
	m.latest = nil
	return s
}

// reconcile hands snapshots to the Reconciler until ctx ends.
func (e *Engine) reconcile(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.sync.ready:
		}
		if s := e.sync.take(); s != nil {
			e.reconcileOnce(ctx, s)
		}
	}
}

func (e *Engine) reconcileOnce(ctx context.Context, s *snapshot) {
	defer func() {
		if p := recover(); p != nil {
			e.log.WithField("panic", p).Error("reconciler panicked")
			e.log.Debugf("%s", debug.Stack())
		}
	}()
	e.opts.Reconciler.Synchronize(ctx, s.pods, s.containers)
}
