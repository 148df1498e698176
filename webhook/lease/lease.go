package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sirupsen/logrus"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/inlay-project/inlay/internal/kube"
)

// Times of the usual Lease.
const (
	Duration = 15 * time.Second // how long a leader that has died is waited for
	Deadline = 10 * time.Second // until when one that cannot write leads
	Retry    = 2 * time.Second  // how often it is written, and looked at by the others
)

// Config is what a Holder works with. The rights needed are get, create and update.
type Config struct {
	Client          rest.Interface // of Client
	Namespace, Name string
	// Identity is this process's, and no other's before, beside or after it.
	Identity string
	Log      logrus.FieldLogger
}

// Client connects to the API group of Leases.
func Client(c *rest.Config) (rest.Interface, error) {
	return kube.Client(c, coordinationv1.SchemeGroupVersion, &coordinationv1.Lease{})
}

// Holder takes turns with others. Run it once.
type Holder struct {
	Config
	known  *coordinationv1.Lease // as last read or written; nil: there is none
	fresh  bool                  // nobody else can have written since, unless the API server says so
	seen   time.Time             // when known was first seen to say what it says
	ailing bool                  // the last try failed
}

// New makes a Holder that has not looked yet.
func New(c Config) *Holder { return &Holder{Config: c} }

// Run calls work whenever this process leads, until ctx ends. The context that work gets ends when it no longer leads,
// and work has to return soon after that: at most Duration - Deadline later another may lead.
func (h *Holder) Run(ctx context.Context, work func(ctx context.Context)) {
	ctx = klog.NewContext(ctx, klog.Logger{}) // what the client would say in its way is said here in ours
	for {
		since, ok := h.acquire(ctx)
		if !ok {
			return
		}
		h.lead(ctx, since, work)
	}
}

// acquire tries until it has the Lease; it tells since when. Not ok: ctx has ended.
func (h *Holder) acquire(ctx context.Context) (since time.Time, ok bool) {
	for ctx.Err() == nil {
		since, err := h.try(ctx)
		if err == nil {
			return since, true
		}
		h.tell(ctx, err)
		sleep(ctx, Retry+rand.N(Retry*6/5)) // replicas that begin together do not ask together for ever
	}
	return time.Time{}, false
}

// lead works until the Lease is lost or ctx ends, and gives it back.
func (h *Holder) lead(ctx context.Context, since time.Time, work func(ctx context.Context)) {
	working, stop := context.WithCancel(ctx)
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		work(working)
	}()
	for ok := true; ok; {
		since, ok = h.renew(ctx, since.Add(Deadline))
	}
	stop()
	<-worked
	h.release(context.WithoutCancel(ctx))
}

// renew waits for its time and writes the Lease again. Not ok: this process does not lead from now on.
func (h *Holder) renew(ctx context.Context, until time.Time) (since time.Time, ok bool) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for sleep(ctx, Retry) {
		since, err := h.try(ctx)
		if err == nil {
			return since, true
		}
		h.tell(ctx, err)
		if errors.Is(err, errHeld) {
			break
		}
	}
	return time.Time{}, false
}

// errHeld says that another process leads.
var errHeld = errors.New("held by another process")

// try takes the Lease or keeps it, if that is allowed. Since is when the write was sent that did it.
func (h *Holder) try(ctx context.Context) (since time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, Deadline/2) // a request that gets no answer must not be the last one
	defer cancel()
	known := h.fresh && h.ours()
	if !known {
		if err := h.read(ctx); err != nil {
			return time.Time{}, err
		}
	}
	since = time.Now()
	if h.heldAt(since) {
		return time.Time{}, errHeld
	}
	err = h.write(ctx, h.claim(since))
	if known && apierrors.IsConflict(err) {
		return h.try(ctx) // somebody has written: who leads is looked at before anything else is done
	}
	if err != nil {
		return time.Time{}, err
	}
	if h.ailing {
		h.ailing = false
		h.Log.Info("the Lease can be had again")
	}
	return since, nil
}

// tell logs the first of a row of failures.
func (h *Holder) tell(ctx context.Context, err error) {
	log := h.Log.WithError(err)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errHeld), apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		log.Debug("another replica leads")
	case h.ailing:
		log.Debug("the Lease cannot be had")
	default:
		h.ailing = true
		log.Warn("the Lease cannot be had; it is tried again")
	}
}

// release gives the Lease back if it is this process's.
func (h *Holder) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, Deadline/2)
	defer cancel()
	for {
		if !h.fresh {
			if err := h.read(ctx); err != nil {
				h.Log.WithError(err).Debug("the Lease is not given back")
				return
			}
		}
		if !h.ours() {
			return
		}
		l := h.known.DeepCopy()
		l.Spec.HolderIdentity, l.Spec.RenewTime = nil, &metav1.MicroTime{Time: time.Now()}
		err := h.write(ctx, l)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) { // a renewal that was under way when it was cut off
			h.Log.WithError(err).Debug("the Lease is not given back")
			return
		}
	}
}

// sleep waits for d. False: ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (h *Holder) path() string { return fmt.Sprintf("Lease %s/%s", h.Namespace, h.Name) }
