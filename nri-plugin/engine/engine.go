package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/internal/nristatus"
)

// DefaultSocket is where runtimes listen for external plugins.
const DefaultSocket = api.DefaultSocketPath

// MaxRunning bounds the Adjust calls that run at a time, those included that have missed their deadline and still
// run. Runtimes ask one at a time, so more than one means that Adjust hangs; at the bound requests are refused at once.
const MaxRunning = 16

// Adjuster decides what a container gets.
type Adjuster interface {
	// Wants says whether the container is one of ours. It is called for every container of the node, holding up all
	// others: it must look at nothing but its arguments, take no lock and allocate nothing.
	Wants(pod *api.PodSandbox, ctr *api.Container) bool
	// Adjust answers for a container that Wants claimed. An error refuses the container; its text, made one line,
	// is what the pod's event shows. ctx ends at the engine's own deadline; an answer after that is thrown away, so
	// Adjust must leave nothing behind that only a started container would undo. Calls may run in parallel.
	Adjust(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, error)
}

// Reconciler is told of everything that exists when a connection is made. Calls come one at a time from a goroutine
// of the engine, never from inside an NRI callback; of snapshots that arrive during a call only the latest is kept.
type Reconciler interface {
	Synchronize(ctx context.Context, pods []*api.PodSandbox, containers []*api.Container)
}

// Options describe a plugin. Name, Adjuster and one of Socket and Conn are required.
type Options struct {
	// Name and Index ("40") are the plugin's identity. With Conn they come from the runtime and are ignored.
	Name, Index string
	// Socket is the path of the runtime's NRI socket.
	Socket string
	// Conn is the connection of a pre-installed plugin, as made by Inherited. The engine closes it.
	Conn net.Conn

	Adjuster   Adjuster
	Reconciler Reconciler // optional
	// Configure gets the configuration that the runtime has for the plugin (only pre-installed plugins have one); it
	// is called before any request. An error ends the registration. Optional.
	Configure func(ctx context.Context, config string) error
	// StatusChanged is called, one call at a time, after each change of the status. It must not block. Optional.
	StatusChanged func(nristatus.Status)
	Observer      Observer           // optional
	Log           logrus.FieldLogger // optional
	// Version is reported in the status.
	Version string
}

// ErrStuck ends Run: the stub's Start hangs and could not be freed. Only a new process helps.
var ErrStuck = errors.New("NRI stub hangs in registration and cannot be freed")

// Engine is one NRI plugin.
type Engine struct {
	opts     Options
	log      logrus.FieldLogger
	observer Observer
	timing   timing
	status   statusKeeper
	sync     syncMailbox
	slots    slots
	started  atomic.Bool
	// release frees a hanging Start. A field so that a test can take it out.
	release func(*session) bool
}

// timing holds the engine's time limits; tests shorten them.
type timing struct {
	start    time.Duration // from dial to configured; the stub gives RegisterPlugin 5 s of it
	grace    time.Duration // for a Start whose connection was closed to return by itself
	release  time.Duration // for a Start that was freed to return
	stop     time.Duration // for running Adjust calls to end when Run ends
	proven   time.Duration // a connection that stood this long resets the back-off
	minDelay time.Duration // first step of the back-off, and least time between two attempts
	maxDelay time.Duration // its cap
}

func defaultTiming() timing {
	return timing{
		start:    api.DefaultPluginRegistrationTimeout + 2*time.Second,
		grace:    100 * time.Millisecond,
		release:  2 * time.Second,
		stop:     5 * time.Second,
		proven:   time.Second,
		minDelay: 20 * time.Millisecond,
		maxDelay: 500 * time.Millisecond,
	}
}

// New checks the options. It does not connect.
func New(opts Options) (*Engine, error) {
	switch {
	case opts.Adjuster == nil:
		return nil, errors.New("NRI engine: no adjuster")
	case opts.Socket == "" && opts.Conn == nil:
		return nil, errors.New("NRI engine: no socket")
	}
	if opts.Conn == nil {
		if err := api.CheckPluginName(opts.Name); err != nil {
			return nil, fmt.Errorf("NRI plugin name %q: %w", opts.Name, err)
		}
		if err := api.CheckPluginIndex(opts.Index); err != nil {
			return nil, fmt.Errorf("NRI plugin index %q: %w", opts.Index, err)
		}
	}
	e := &Engine{
		opts:     opts,
		log:      opts.Log,
		observer: opts.Observer,
		timing:   defaultTiming(),
		sync:     syncMailbox{ready: make(chan struct{}, 1)},
		slots:    make(slots, MaxRunning),
		release:  deliverRefusal,
	}
	if e.log == nil {
		e.log = discardLogger()
	}
	if e.observer == nil {
		e.observer = nopObserver{}
	}
	e.status.init(opts.Version, opts.StatusChanged)
	return e, nil
}

// Status is the state of the connection now.
func (e *Engine) Status() nristatus.Status { return e.status.get() }

// Run keeps the plugin registered until ctx ends (external), or serves its one connection until that or ctx ends
// (pre-installed). It may be called once. It returns when every goroutine of the engine has ended: nil after a normal
// end, ErrStuck, the reason why a pre-installed plugin could not register, or the number of Adjust calls that had not
// ended 5 s after everything else.
func (e *Engine) Run(ctx context.Context) error {
	if !e.started.CompareAndSwap(false, true) {
		return errors.New("NRI engine: Run called twice")
	}
	sctx, cancel := context.WithCancel(ctx)
	reconciled := make(chan struct{})
	go func() {
		defer close(reconciled)
		e.reconcile(sctx)
	}()

	var err error
	if e.opts.Conn != nil {
		err = e.runInherited(ctx)
	} else {
		err = e.runExternal(ctx)
	}

	cancel()
	<-reconciled
	if n := e.slots.drain(e.timing.stop); n > 0 && err == nil {
		err = fmt.Errorf("%d adjustment(s) still running", n)
	}
	return err
}

// runInherited serves the connection that the runtime gave us.
func (e *Engine) runInherited(ctx context.Context) error {
	s, err := e.attempt(ctx, e.opts.Conn)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, ErrStuck) {
			return nil
		}
		return fmt.Errorf("register as pre-installed plugin: %w", err)
	}
	s.serve(ctx)
	return nil
}

// runExternal connects, serves, and connects again.
func (e *Engine) runExternal(ctx context.Context) error {
	back := backoff{min: e.timing.minDelay, max: e.timing.maxDelay}
	var wait time.Duration
	for ctx.Err() == nil {
		s, err := e.connect(ctx, wait, &back)
		if err != nil || s == nil {
			return err
		}
		began := time.Now()
		s.serve(ctx)
		// At once after a connection that stood; but a runtime that takes us and drops us is not met with a busy loop.
		if time.Since(began) >= e.timing.proven {
			back.reset()
			wait = 0
		} else {
			wait = back.next()
		}
	}
	return nil
}

// connect makes attempts, the first one after wait, until one succeeds or ctx ends: then there is no session. Its only
// error is ErrStuck. The socket's folder is watched meanwhile, from before the first attempt, so that no new socket is
// missed.
func (e *Engine) connect(ctx context.Context, wait time.Duration, back *backoff) (*session, error) {
	watch := watchSocket(e.opts.Socket, e.log)
	defer watch.close()
	if wait > 0 {
		pause(ctx, wait, watch.appeared)
	}
	said := ""
	for ctx.Err() == nil {
		s, err := e.dial(ctx)
		if err == nil || errors.Is(err, ErrStuck) {
			return s, err
		}
		if ctx.Err() != nil {
			break
		}
		e.status.failed(err)
		// One line for each new reason, not for each attempt: a node may be without a runtime for hours.
		if text := err.Error(); text != said {
			said = text
			e.log.WithError(err).Warn("not connected to the container runtime, trying on")
		}
		// A socket that has just been made may not be listened on yet: quick steps from here.
		if watch.retry() {
			back.reset()
		}
		if pause(ctx, back.next(), watch.appeared) {
			back.reset()
		}
	}
	return nil, nil
}

// dial makes one attempt: connect, register, get configured.
func (e *Engine) dial(ctx context.Context) (*session, error) {
	dctx, cancel := context.WithTimeout(ctx, e.timing.start)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(dctx, "unix", e.opts.Socket)
	if err != nil {
		return nil, fmt.Errorf("NRI socket: %w", err)
	}
	return e.attempt(ctx, conn)
}
