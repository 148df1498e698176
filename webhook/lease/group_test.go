package lease_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/internal/kube/kubetest"
	"github.com/inlay-project/inlay/webhook/lease"
)

const path = "/apis/coordination.k8s.io/v1/namespaces/ns/leases/turns"

// toTake is the longest time until a Lease that is free is taken.
const toTake = lease.Retry * 12 / 5

// group is the replicas of a test and their API server.
type group struct {
	t       *testing.T
	server  *kubetest.Server
	leading atomic.Int32
	most    atomic.Int32
}

func newGroup(t *testing.T) *group { return &group{t: t, server: kubetest.New()} }

// replica is one process.
type replica struct {
	*group
	id     string
	leads  atomic.Bool
	began  atomic.Int32 // times
	ended  time.Time    // of its last time, when it does not lead
	logs   *logrustest.Hook
	stop   func()
	server way
	robbed atomic.Bool // the Lease is another's although it works
}

// way is a replica's way to the API server. What is met before and after a request may fail it.
type way struct {
	http.RoundTripper
	mu            sync.Mutex
	before, after func(*http.Request) error
}

func (w *way) meet(before, after func(*http.Request) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before, w.after = before, after
}

func (w *way) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	before, after := w.before, w.after
	w.mu.Unlock()
	if before != nil {
		if err := before(r); err != nil {
			return nil, err
		}
	}
	answer, err := w.RoundTripper.RoundTrip(r)
	if after != nil && err == nil {
		if err := after(r); err != nil {
			answer.Body.Close()
			return nil, err
		}
	}
	return answer, err
}

func fails(text string) func(*http.Request) error {
	return func(*http.Request) error { return errors.New(text) }
}

// start runs a replica until the test ends. Its work takes a moment to end.
func (g *group) start(id string) *replica { return g.startWith(id, nil) }

// startWith has it meet something after its requests from the beginning.
func (g *group) startWith(id string, after func(*http.Request) error) *replica {
	r := &replica{group: g, id: id}
	r.server.meet(nil, after)
	config := g.server.Config()
	r.server.RoundTripper = config.Transport
	config.Transport = &r.server
	client, err := lease.Client(config)
	if err != nil {
		g.t.Fatal(err)
	}
	log, hook := logrustest.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	r.logs = hook
	h := lease.New(lease.Config{Client: client, Namespace: "ns", Name: "turns", Identity: id, Log: log})
	ctx, cancel := context.WithCancel(g.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Run(ctx, r.work)
	}()
	r.stop = func() { cancel(); <-done }
	g.t.Cleanup(r.stop)
	return r
}

func (r *replica) work(ctx context.Context) {
	r.most.Store(max(r.most.Load(), r.leading.Add(1)))
	r.began.Add(1)
	r.leads.Store(true)
	<-ctx.Done()
	time.Sleep(time.Second)
	if ctx := r.t.Context(); ctx.Err() == nil && r.stored() != r.id && !r.robbed.Load() {
		r.t.Errorf("%s works and %q has the Lease", r.id, r.stored())
	}
	r.leads.Store(false)
	r.ended = time.Now()
	r.leading.Add(-1)
}

// lease is what is stored.
func (g *group) lease() coordinationv1.Lease {
	var l coordinationv1.Lease
	g.server.Get(path, &l)
	return l
}

func (g *group) stored() string {
	if l := g.lease(); l.Spec.HolderIdentity != nil {
		return *l.Spec.HolderIdentity
	}
	return ""
}

// put stores a Lease as somebody else writes it.
func (g *group) put(holder string, renewed time.Time, seconds int32) {
	at := metav1.NewMicroTime(renewed)
	g.server.Put(path, &coordinationv1.Lease{
		TypeMeta:   metav1.TypeMeta{Kind: "Lease", APIVersion: "coordination.k8s.io/v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "turns"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &at, LeaseDurationSeconds: &seconds},
	})
}

// pass lets time go by and makes sure that nobody ever led beside another.
func (g *group) pass(d time.Duration) {
	g.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if n := g.most.Load(); n > 1 {
		g.t.Fatalf("%d lead at a time", n)
	}
}

func (r *replica) must(lead bool, when string) {
	r.t.Helper()
	if r.leads.Load() != lead {
		r.t.Fatalf("%s: %s leads: %v; the Lease has %q", when, r.id, !lead, r.stored())
	}
}

// warnings are the lines at level warning.
func (r *replica) warnings() (lines []string) {
	for _, e := range r.logs.AllEntries() {
		if e.Level == logrus.WarnLevel {
			lines = append(lines, e.Message)
		}
	}
	return lines
}

func bubble(t *testing.T, f func(t *testing.T, g *group)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newGroup(t)) })
}

// silent never answers.
func silent(r *http.Request) int {
	<-r.Context().Done()
	return 0
}
