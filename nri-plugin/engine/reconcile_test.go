package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"

	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

type reconciler func(ctx context.Context, pods []*api.PodSandbox, containers []*api.Container)

func (r reconciler) Synchronize(ctx context.Context, pods []*api.PodSandbox, containers []*api.Container) {
	r(ctx, pods, containers)
}

// A node with so many containers that the runtime sends them in several messages.
func TestReconcilerGetsTheRuntimesStateInWhole(t *testing.T) {
	opts := enginetest.Options{RequestTimeout: 10 * time.Second} // 13 MB, on a loaded machine
	for n := range 100 {
		ctr := plain(fmt.Sprint("c", n))
		ctr.Annotations = map[string]string{"big": strings.Repeat("x", 128<<10)}
		opts.Containers = append(opts.Containers, ctr)
		opts.Pods = append(opts.Pods, testPod())
	}
	got := make(chan [2]int, 1)
	connected(t, adjuster{}, opts, func(o *Options, _ *timing) {
		o.Reconciler = reconciler(func(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) {
			got <- [2]int{len(pods), len(containers)}
		})
	})
	if n := <-got; n != [2]int{100, 100} {
		t.Errorf("%d pods and %d containers, want 100 of each", n[0], n[1])
	}
}

func TestSlowReconcilerHoldsUpNothingAndGetsTheLatestState(t *testing.T) {
	calls := make(chan []*api.PodSandbox, 10)
	r, e := connected(t, adjuster{}, enginetest.Options{Pods: []*api.PodSandbox{testPod()}}, func(o *Options, _ *timing) {
		o.Reconciler = reconciler(func(ctx context.Context, pods []*api.PodSandbox, _ []*api.Container) {
			calls <- pods
			<-ctx.Done() // until the engine stops
		})
	})
	<-calls
	if got, err := r.CreateContainer(t.Context(), testPod(), ours("app")); err != nil || !isGranted(got) {
		t.Errorf("while it reconciles: %v, %v", got, err)
	}
	r.Drop()
	e.awaitStatus(t, "back", func(s nristatus.Status) bool { return s.Reconnects == 1 && s.Synchronized })
	if err := e.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := len(calls); n > 1 {
		t.Errorf("%d further calls while one was running", n)
	}
}

func TestPanicOfTheReconcilerEndsNothing(t *testing.T) {
	calls := make(chan struct{}, 10)
	r, e := connected(t, adjuster{}, enginetest.Options{}, func(o *Options, _ *timing) {
		o.Reconciler = reconciler(func(context.Context, []*api.PodSandbox, []*api.Container) {
			calls <- struct{}{}
			panic(errors.New("oops"))
		})
	})
	<-calls
	r.Drop()
	e.awaitStatus(t, "back", func(s nristatus.Status) bool { return s.Reconnects == 1 && s.Synchronized })
	select {
	case <-calls:
	case <-time.After(5 * time.Second):
		t.Error("not called after the reconnect")
	}
}
