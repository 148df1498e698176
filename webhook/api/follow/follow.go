package follow

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/kube"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Handler is told what there is. Calls come one at a time.
type Handler interface {
	// Replace tells all objects there are, after each list. The slice and the objects are the handler's.
	Replace(objects []v2.Object)
	// Upsert tells an object that is new or has changed.
	Upsert(o v2.Object)
	// Delete tells that there is no such object any more. It may never have been told.
	Delete(namespace, name string)
	// InStep tells that everything up to at has been told: after Replace, at each event and each bookmark, and at
	// least every 75 s while a watch is open.
	InStep(at time.Time)
	// Away tells that the stream is broken. It is being mended; InStep tells when that is done.
	Away(err error)
}

// Source is where the objects of one kind come from.
type Source struct {
	Client rest.Interface
	Kind   v2.Kind
	// Interface takes the mappings of this interface id only; "" takes all. An API server that cannot select by it
	// (CRD selectable fields came with Kubernetes 1.30) sends all, and the others are left out here.
	Interface fpga.InterfaceID
	Log       logrus.FieldLogger
}

// Requests a second of a client whose config does not say; writing status conditions is what needs them.
const (
	defaultQPS   = 100
	defaultBurst = 200
)

// Client connects to the API group of the mappings. It serves Run and reads and writes single objects.
func Client(c *rest.Config) (rest.Interface, error) {
	config := rest.CopyConfig(c)
	if config.QPS == 0 && config.RateLimiter == nil {
		config.QPS, config.Burst = defaultQPS, defaultBurst
	}
	return kube.Client(config, v2.GroupVersion, v2.Objects()...)
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
func (s Source) Run(ctx context.Context, h Handler) { s.run(ctx, h, usual) }

func (s Source) run(ctx context.Context, h Handler, l limits) {
	log := s.Log.WithField("kind", s.Kind)
	// The Reflector's own log goes nowhere: what it would say in its way is said here in ours.
	ctx = klog.NewContext(ctx, klog.Logger{})
	step := &step{handler: h, log: log, only: s.Interface, limits: l}
	r := cache.NewReflectorWithOptions(&source{Source: s, log: log, step: step, limits: l}, nil, step, cache.ReflectorOptions{
		Name:   string(s.Kind),
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
