package follow

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Handler is told what there is. Calls come one at a time.
type Handler[T Object] interface {
	// Replace tells all objects there are, after each list. The slice and the objects are the handler's.
	Replace(objects []T)
	// Upsert tells an object that is new or has changed.
	Upsert(o T)
	// Delete tells that there is no such object any more. It may never have been told.
	Delete(namespace, name string)
	// InStep tells that everything up to at has been told: after Replace, at each event and each bookmark, and at
	// least every 75 s while a watch is open.
	InStep(at time.Time)
	// Away tells that the stream is broken. It is being mended; InStep tells when that is done.
	Away(err error)
}

// Object is what can be followed: as much of an object of the API server as somebody needs, which is its name and its
// resource version at least.
type Object interface {
	runtime.Object
	metav1.Object
}

// Source is where objects of one resource come from.
type Source[T Object] struct {
	Client   rest.Interface // of the resource's group and version
	Resource string         // as in a request's path: the plural
	What     string         // what they are called in the log: "mappings"
	// Selector takes some of them; nil takes all.
	Selector fields.Selector
	// Wanted tells the objects that Selector takes. It is asked of every object, since an API server that cannot select by
	// these fields sends all; nil is for fields by which each can.
	Wanted func(T) bool
	// Decode reads one object, of which it must not keep raw. One that it gives an error for is passed over: the handler is
	// told of it neither as new nor as gone, so an object that only is not as expected is better read as an empty one.
	Decode func(raw []byte) (T, error)
	// Keep tells by their keys the members of objects, at any depth, that Decode reads beside names, versions and what leads
	// to them; nil is all. The others are dropped as they arrive, so that an object that is made large costs nothing.
	Keep func(key string) bool
	Log  logrus.FieldLogger
}

// limits are the times of a Run; tests have shorter ones.
type limits struct {
	list     time.Duration // one list request, all of its answer included
	answer   time.Duration // the head of a watch's answer, and each pause between the events of a beginning
	overtime time.Duration // how much longer a watch may last than the server was asked to let it
	first    time.Duration // before the first try to mend a stream; doubled at each further one
	last     time.Duration // at most
	good     time.Duration // a stream that lasted this long makes the next break a first one again
	quiet    time.Duration // after that time an open watch without events is told to be in step
}

var usual = limits{
	list: 2 * time.Minute, answer: 30 * time.Second, overtime: 30 * time.Second,
	first: 300 * time.Millisecond, last: 30 * time.Second, good: 10 * time.Second, quiet: 75 * time.Second,
}

// Run tells h what there is and what changes, until ctx ends.
func (s Source[T]) Run(ctx context.Context, h Handler[T]) { s.run(ctx, h, usual) }

func (s Source[T]) run(ctx context.Context, h Handler[T], l limits) {
	// The Reflector's own log goes nowhere: what it would say in its way is said here in ours.
	ctx = klog.NewContext(ctx, klog.Logger{})
	step := &step[T]{handler: h, log: s.Log, what: s.What, wanted: s.Wanted, limits: l}
	r := cache.NewReflectorWithOptions(&source[T]{Source: s, step: step, limits: l}, nil, step, cache.ReflectorOptions{
		Name:   s.Resource,
		Logger: &klog.Logger{},
		// How long to wait is decided at the requests. The Reflector's own way begins anew every two minutes, whether
		// anything has become better or not.
		Backoff: &wait.Backoff{Duration: 20 * time.Millisecond, Jitter: 1},
	})
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		step.listen(ctx)
	}()
	r.RunWithContext(ctx)
	step.end()
	<-listening
}
