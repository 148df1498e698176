package engine

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"github.com/sirupsen/logrus"
)

// closeTimeout bounds the wait for the stub to say that it has closed; it does so within microseconds.
const closeTimeout = 2 * time.Second

// flushTime is left for the last answers to leave: the stub sends them from a goroutine of its own and has no flush.
const flushTime = 20 * time.Millisecond

// runtimeInfo is what a runtime says of itself in Configure.
type runtimeInfo struct{ name, version, nri string }

// session is one connection to the runtime and the plugin that the stub calls. Its exported methods are NRI's: the
// stub subscribes to what it finds implemented.
type session struct {
	engine *Engine
	stub   stub.Stub
	trunk  *trunk
	base   context.Context // of all requests
	cancel context.CancelFunc
	closed chan struct{} // the stub has closed

	mu             sync.Mutex
	runtime        runtimeInfo
	requestTimeout time.Duration
	configured     bool // a Configure was let in
	abandoned      bool // by the engine: the attempt is over
	announced      bool // the status says connected
	synchronized   bool
	stopping       bool
	ended          bool
	closeOnce      sync.Once
}

func newSession(ctx context.Context, e *Engine, conn net.Conn) *session {
	// Requests outlive the end of ctx: what is being answered then is answered.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	return &session{
		engine: e, trunk: newTrunk(conn), base: base, cancel: cancel, closed: make(chan struct{}),
		requestTimeout: api.DefaultPluginRequestTimeout,
	}
}

// serve waits for the end of the connection or of ctx and then closes the stub.
func (s *session) serve(ctx context.Context) {
	var reason string
	select {
	case <-s.trunk.dead:
		reason = oneLine(errConnectionLost.Error())
		s.log().Warn("connection to the container runtime lost")
	case <-ctx.Done():
		reason = "stopped"
		s.drain()
	}
	s.end(reason)
	s.stub.Stop()
	s.trunk.Close()
	s.cancel()
	s.awaitClose()
}

// drain refuses what is asked from now on and lets what was asked before be answered: an answer that does not come
// lets the container start without us.
func (s *session) drain() {
	s.mu.Lock()
	s.stopping = true
	limit := s.requestTimeout
	s.mu.Unlock()
	if s.engine.slots.busy() {
		s.engine.slots.drain(limit)
		pause(s.base, flushTime, s.trunk.dead)
	}
}

func (s *session) onClose() { s.closeOnce.Do(func() { close(s.closed) }) }

func (s *session) awaitClose() {
	t := time.NewTimer(closeTimeout)
	defer t.Stop()
	select {
	case <-s.closed:
	case <-t.C:
		s.log().Warn("the NRI stub has not closed")
	}
}

// announce makes the status say connected, once, and says so in the log.
func (s *session) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.announced || s.ended {
		return
	}
	s.announced = true
	if s.engine.status.everConnected() {
		s.engine.observer.ObserveReconnect()
	}
	s.engine.status.connected(s.runtime, s.synchronized)
	s.engine.log.WithFields(s.fields()).Info("connected to the container runtime")
}

// end makes the status say that there is no connection. Nothing that still runs in the stub can change that.
func (s *session) end(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	if s.announced {
		s.engine.status.lost(reason)
	}
}

func (s *session) fields() logrus.Fields {
	return logrus.Fields{"runtime": s.runtime.name, "runtimeVersion": s.runtime.version, "nri": s.runtime.nri}
}

func (s *session) log() *logrus.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.log.WithFields(s.fields())
}

// Configure is NRI's first call: who the runtime is, and our configuration if we are pre-installed.
func (s *session) Configure(ctx context.Context, config, runtime, version string) (api.EventMask, error) {
	nri := s.stub.RuntimeNRIVersion()
	s.mu.Lock()
	abandoned := s.abandoned
	s.runtime = runtimeInfo{name: runtime, version: version, nri: nri}
	// Runtimes before NRI 0.4 send no timeouts, and the stub then has 0.
	if t := s.stub.RequestTimeout(); t > 0 {
		s.requestTimeout = t
	}
	s.mu.Unlock()
	if abandoned {
		return 0, errAbandoned
	}
	if s.engine.opts.Configure != nil {
		if err := s.engine.opts.Configure(ctx, config); err != nil {
			return 0, err
		}
	}
	return subscription(nri), nil
}

// Synchronize takes the runtime's state and returns at once: it shares its 2 s with everything that the runtime sends,
// and a busy node has failed to register plugins that did work here.
func (s *session) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	began := time.Now()
	s.announce()
	if s.engine.opts.Reconciler != nil {
		s.engine.sync.put(&snapshot{pods: pods, containers: containers})
	}
	s.mu.Lock()
	if s.announced && !s.ended {
		s.synchronized = true
		s.engine.status.synchronized()
	}
	s.mu.Unlock()
	s.engine.observer.ObserveRequest(EventSynchronize, ResultOK, time.Since(began))
	return nil, nil
}

// CreateContainer answers for each new container of the node. The first lines are all that a plain one costs.
func (s *session) CreateContainer(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	began := time.Now()
	ours, err := s.engine.wants(pod, ctr)
	if !ours && err == nil {
		s.engine.observer.ObserveRequest(EventCreateContainer, ResultPlain, time.Since(began))
		return nil, nil, nil
	}
	var adjustment *api.ContainerAdjustment
	result := ResultPanic
	if err == nil {
		adjustment, result, err = s.adjust(ctx, pod, ctr)
	}
	took := time.Since(began)
	s.engine.observer.ObserveRequest(EventCreateContainer, result, took)
	if err != nil {
		return nil, nil, s.engine.refuse(pod, ctr, result, took, err)
	}
	return adjustment, nil, nil
}
