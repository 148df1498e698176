package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
)

// source makes the Reflector's requests.
type source[T Object] struct {
	Source[T]
	step *step[T]
	limits
	// unselected is set when the server cannot select by the fields of Selector.
	unselected atomic.Bool
	// forgotten is set while the last list, or the last beginning of a stream, was answered with 410.
	forgotten atomic.Bool
}

// List implements cache.Lister, which the Reflector does not call.
func (s *source[T]) List(options metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), options)
}

// Watch implements cache.Watcher, which the Reflector does not call.
func (s *source[T]) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), options)
}

// ListWithContext implements cache.ListerWithContext: one request, the pages are the Reflector's.
func (s *source[T]) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	switch options.ResourceVersion {
	case "0":
		// The Reflector's first list would take any age, and an API server's cache may lag: what was deleted before this
		// process began would come back, and be told to be in step as of now.
		options.ResourceVersion = ""
	case "":
	default:
		// A list not older than what is known. With a limit, which the Reflector keeps if the first list had pages, it
		// would be the state of exactly then.
		options.Limit = 0
	}
	list, err := s.list(ctx, options)
	switch {
	case err == nil:
		s.forgotten.Store(false)
	case ctx.Err() == nil && !s.anew(err):
		s.step.ended(err)
	}
	return list, err
}

// anew tells whether an error is a first 410: the Reflector asks again at once, for the newest state, and that is no
// break. A server that answers so again would be asked without a pause.
func (s *source[T]) anew(err error) bool {
	expired := apierrors.IsResourceExpired(err)
	return !s.forgotten.Swap(expired) && expired
}

func (s *source[T]) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if err := s.step.pause(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.list)
	defer cancel()
	body, err := s.open(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s.Resource, err)
	}
	defer body.Close()
	list := &internalversion.List{}
	if err := s.decoder().list(body, list); err != nil {
		return nil, fmt.Errorf("list %s: %w", s.Resource, err)
	}
	return list, nil
}

// WatchWithContext implements cache.WatcherWithContext.
func (s *source[T]) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if err := s.step.pause(ctx); err != nil {
		return nil, err
	}
	options.Watch = true
	beginning := options.SendInitialEvents != nil && *options.SendInitialEvents
	life := s.overtime
	if options.TimeoutSeconds != nil {
		life += time.Duration(*options.TimeoutSeconds) * time.Second
	}
	stream, cancel := context.WithCancelCause(ctx)
	e := &events[T]{
		decoder: s.decoder(), what: s.Resource, step: s.step, limits: s.limits, run: ctx, stream: stream, cancel: cancel, began: time.Now(),
	}
	e.life = time.AfterFunc(life, func() { cancel(errLife) })
	e.stall = time.AfterFunc(s.answer, func() { cancel(errStall) })
	body, err := s.open(stream, options)
	if err != nil {
		err = e.cause(err)
		e.Close()
		return nil, s.refused(ctx, err, beginning)
	}
	e.body, e.beginning = body, beginning
	e.read(body)
	if beginning {
		s.forgotten.Store(false)
	} else {
		e.stall.Stop()
		s.step.opened()
	}
	return watch.NewStreamWatcher(e, apierrors.NewClientErrorReporter(http.StatusInternalServerError, "watch", "ClientWatchDecoding")), nil
}

// refused tells of a watch that did not come to be.
func (s *source[T]) refused(ctx context.Context, err error, beginning bool) error {
	switch {
	case beginning && (utilnet.IsConnectionRefused(err) || apierrors.IsTooManyRequests(err)):
		// The Reflector would wait for these itself, and not end with ctx. Of any other it lists, which tells whether
		// the server is away or only has no WatchList.
		return errors.New(err.Error())
	case ctx.Err() != nil:
	case !beginning, apierrors.IsResourceExpired(err) && !s.anew(err):
		s.step.ended(err)
	}
	return err
}

// open sends a request, once more without the selector if the server knows no such field.
func (s *source[T]) open(ctx context.Context, options metav1.ListOptions) (io.ReadCloser, error) {
	if s.Selector != nil && !s.unselected.Load() {
		selected := options
		selected.FieldSelector = s.Selector.String()
		body, err := s.get(ctx, selected)
		if s.Wanted == nil || !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "field label not supported") {
			return body, err
		}
		s.unselected.Store(true)
		s.Log.WithField("selector", selected.FieldSelector).Info("this API server cannot select by that: all are read, and the others left out here")
	}
	return s.get(ctx, options)
}

func (s *source[T]) get(ctx context.Context, options metav1.ListOptions) (io.ReadCloser, error) {
	body, err := s.Client.Get().Resource(s.Resource).VersionedParams(&options, metav1.ParameterCodec).Stream(ctx)
	if err != nil || s.Keep == nil {
		return body, err
	}
	return prune(body, func(key string) bool { return framed(key) || s.Keep(key) }), nil
}

// framed tells what is read of every answer: lists and events, their versions, and errors.
func framed(key string) bool {
	switch key {
	case "items", "type", "object", "metadata", "name", "namespace", "resourceVersion", "continue", "remainingItemCount",
		"annotations", metav1.InitialEventsAnnotationKey, "kind", "apiVersion", "status", "message", "reason", "code":
		return true
	}
	return false
}

func (s *source[T]) decoder() decoder[T] { return decoder[T]{decode: s.Decode, log: s.Log} }
