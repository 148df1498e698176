package status

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/fpga"
)

// Tables say where mappings lead; a *mappings.Index is one.
type Tables interface {
	Table(namespace string) *fpga.Table
}

// Config is what a Writer works with.
type Config struct {
	Client rest.Interface // of follow.Client
	Events rest.Interface // of EventClient; nil for no events
	// Rate is how many objects are written a second at most; 0 is 40. Each is a read and a write: with 10,000 mappings a
	// first installation is done in about four minutes, on a hundredth of what an API server serves.
	Rate float32
	Log  logrus.FieldLogger
}

const (
	defaultRate = 40
	workers     = 4
	callLimit   = 15 * time.Second
	firstRetry  = 50 * time.Millisecond
	lastRetry   = time.Minute
)

// Writer writes the status of mappings.
type Writer struct {
	Config
	tables Tables
	seed   maphash.Seed
	ailing atomic.Bool // the last write failed; told once

	mu     sync.Mutex
	known  map[string]map[mapping]state // by namespace
	synced map[v2.Kind]bool
	queue  workqueue.TypedRateLimitingInterface[item] // nil while not leading
}

// New makes a writer that knows nothing yet. The tables must be told of every event before the writer's handlers are.
func New(c Config, tables Tables) *Writer {
	if c.Rate == 0 {
		c.Rate = defaultRate
	}
	return &Writer{
		Config: c, tables: tables, seed: maphash.MakeSeed(),
		known: map[string]map[mapping]state{}, synced: map[v2.Kind]bool{},
	}
}

// Lead writes what has to be written until ctx ends. It may be called again after that.
func (w *Writer) Lead(ctx context.Context) {
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[item](firstRetry, lastRetry))
	w.mu.Lock()
	w.queue = queue
	w.lookAtAll()
	w.mu.Unlock()
	pace := flowcontrol.NewTokenBucketRateLimiter(w.Rate, max(1, int(w.Rate)))
	defer pace.Stop()
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for {
				i, shutdown := queue.Get()
				if shutdown {
					return
				}
				w.work(ctx, queue, pace, i)
				queue.Done(i)
			}
		})
	}
	<-ctx.Done()
	w.mu.Lock()
	w.queue = nil
	w.mu.Unlock()
	queue.ShutDown()
	all.Wait()
}

func (w *Writer) work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[item], pace flowcontrol.RateLimiter, i item) {
	w.mu.Lock()
	differs := w.differs(i)
	w.mu.Unlock()
	if !differs || pace.Wait(ctx) != nil {
		queue.Forget(i)
		return
	}
	log := w.Log.WithFields(logrus.Fields{"kind": i.kind, "namespace": i.namespace, "name": i.name})
	switch err := w.write(ctx, i); {
	case err == nil:
		queue.Forget(i)
		if w.ailing.Swap(false) {
			log.Info("status of mappings is written again")
		}
	case ctx.Err() != nil:
	case apierrors.IsConflict(err):
		queue.AddRateLimited(i)
	case final(err):
		// An API server without validation ratcheting looks at the whole object again, and an old one may not pass.
		queue.Forget(i)
		if w.giveUp(i) {
			log.WithError(err).Warn("the API server refuses this mapping's status; it stays as it is until the mapping changes")
		}
	default:
		queue.AddRateLimited(i)
		if w.ailing.Swap(true) {
			log.WithError(err).Debug("status of a mapping not written; it will be tried again")
		} else {
			log.WithError(err).Warn("status of mappings cannot be written; it will be tried again")
		}
	}
}

// errUnreadable is of an object that is stored in another form than this version's.
var errUnreadable = errors.New("the object cannot be read")

// final tells whether trying again would give the same.
func final(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err) ||
		errors.Is(err, errUnreadable)
}

// giveUp remembers that an answer cannot be stored; it tells whether that is new.
func (w *Writer) giveUp(i item) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, known := w.known[i.namespace][i.mapping]
	want, ok := w.wanted(i)
	if !known || !ok {
		return false
	}
	isNew := s.refused == 0
	s.refused = w.sum(want)
	w.known[i.namespace][i.mapping] = s
	return isNew
}

// write makes an object's status say what it should.
func (w *Writer) write(ctx context.Context, i item) error {
	o, err := w.get(ctx, i)
	if apierrors.IsNotFound(err) {
		return nil // told soon
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	s, known := w.known[i.namespace][i.mapping]
	w.mu.Unlock()
	want, ok := w.wanted(i)
	if !known || !ok || s.version != w.version(o) {
		return nil // the tables do not know this object's spec yet; its event comes, and it is looked at again
	}
	before, about := said(o)
	if !about || before != want {
		set(o, want)
		if err := w.update(ctx, i, o); err != nil {
			return err
		}
		w.Log.WithFields(logrus.Fields{"kind": i.kind, "namespace": i.namespace, "name": i.name, "reason": want.reason}).
			Debug("status of a mapping written")
	}
	w.mu.Lock()
	if s, known := w.known[i.namespace][i.mapping]; known && s.version == w.version(o) {
		s.says = w.sum(want)
		w.known[i.namespace][i.mapping] = s
	}
	w.mu.Unlock()
	if want.reason == v2.ReasonNameConflict && (before.reason != want.reason || before.message != want.message) {
		w.tell(ctx, i, o, want)
	}
	return nil
}

// set puts an answer into a status. Conditions of others stay.
func set(o v2.Object, a answer) {
	s, ready := o.State(), metav1.ConditionFalse
	if a.ready {
		ready = metav1.ConditionTrue
	}
	s.Resource, s.ObservedGeneration = a.resource, o.GetGeneration()
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type: v2.ConditionReady, Status: ready, Reason: a.reason, Message: a.message, ObservedGeneration: o.GetGeneration(),
	})
}

func empty(kind v2.Kind) v2.Object {
	if kind == v2.KindFpgaRegion {
		return &v2.FpgaRegion{}
	}
	return &v2.AcceleratorFunction{}
}

func (w *Writer) get(ctx context.Context, i item) (v2.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	o, answered := empty(i.kind), 0
	err := w.Client.Get().Namespace(i.namespace).Resource(i.kind.Resource()).Name(i.name).Do(ctx).StatusCode(&answered).Into(o)
	var status apierrors.APIStatus
	if err != nil && answered == 200 && !errors.As(err, &status) {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return o, err
}

func (w *Writer) update(ctx context.Context, i item, o v2.Object) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return w.Client.Put().Namespace(i.namespace).Resource(i.kind.Resource()).Name(i.name).SubResource("status").Body(o).Do(ctx).Error()
}
