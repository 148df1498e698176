package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/nri-plugin/engine"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
	"github.com/inlay-project/inlay/nri-plugin/fpga"
)

const handlerGoal = 20 * time.Microsecond

// plainHandler measures what our plugin does with a container that is none of ours.
func plainHandler(ctx context.Context, b *bench) ([]row, error) {
	rows, err := handlerTime(ctx, b)
	if err != nil {
		return rows, err
	}
	trip, err := roundTrip(ctx, b)
	return append(rows, trip...), err
}

// handlerTime asks our engine, with the FPGA adjuster, about plain containers: through NRI's own adaptation library
// and a real socket, so that each request was just decoded. What the engine itself takes is judged.
func handlerTime(ctx context.Context, b *bench) ([]row, error) {
	dir, remove, err := b.folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	socket := filepath.Join(dir, "nri.sock")
	runtime, err := enginetest.Start(socket, enginetest.Options{})
	if err != nil {
		return nil, err
	}
	defer runtime.Stop()
	root, err := hostfs.New(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	watch := &stopwatch{}
	e, err := engine.New(engine.Options{
		Name: "inlay", Index: "40", Socket: socket, Adjuster: fpga.New(fpga.Config{Root: root, RunDir: dir, Log: silent}), Observer: watch,
	})
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	var task sync.WaitGroup
	task.Go(func() { _ = e.Run(running) }) // its error is a plugin that does not connect, below
	defer task.Wait()
	defer stop()
	connect, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := runtime.WaitPlugins(connect, 1); err != nil {
		return nil, err
	}
	n := b.samples(20000, 1000)
	var whole times
	for i := range n {
		pod, ctr := plainContainer(i)
		began := time.Now()
		adjust, err := runtime.CreateContainer(ctx, pod, ctr)
		if err != nil {
			return nil, err
		}
		whole = append(whole, time.Since(began))
		if adjust != nil && len(adjust.GetAnnotations())+len(adjust.GetEnv()) > 0 {
			return nil, fmt.Errorf("a plain container was changed: %v", adjust)
		}
	}
	inside := watch.plain()
	if len(inside) != n {
		return nil, fmt.Errorf("the engine saw %d plain containers, not %d", len(inside), n)
	}
	return []row{{
		what: "inlay-nri's handler for a plain container, p99", figure: show(inside.p(99)),
		baseline: "the request's whole way through NRI: " + show(whole.p(99)),
		goal:     "≤ " + show(handlerGoal), verdict: keeps(inside.p(99) <= handlerGoal), samples: fmt.Sprint(n),
	}, {
		what: "the same, p50", figure: show(inside.p(50)), baseline: "the request's whole way through NRI: " + show(whole.p(50)), samples: fmt.Sprint(n),
	}}, nil
}

// plainContainer is what containerd sends of a usual container, none of whose annotations is ours.
func plainContainer(i int) (*api.PodSandbox, *api.Container) {
	pod := &api.PodSandbox{
		Id: fmt.Sprint("pod", i), Name: "web", Uid: fmt.Sprint(i), Namespace: "shop",
		Annotations: map[string]string{"kubernetes.io/config.seen": "2026-01-01T00:00:00Z", "kubernetes.io/config.source": "api"},
		Labels:      map[string]string{"app": "web", "io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "shop"},
	}
	ctr := &api.Container{
		Id: fmt.Sprint("ctr", i), PodSandboxId: pod.Id, Name: "main", Annotations: map[string]string{}, Labels: pod.Labels,
		Args: []string{"/bin/server"}, Env: []string{"PATH=/usr/bin:/bin", "HOSTNAME=web"}, Linux: &api.LinuxContainer{},
	}
	for n := range 20 {
		ctr.Annotations[fmt.Sprint("io.kubernetes.cri.annotation-", n)] = "value"
		ctr.Mounts = append(ctr.Mounts, &api.Mount{Destination: fmt.Sprint("/m", n), Source: "/srv", Type: "bind", Options: []string{"ro"}})
	}
	return pod, ctr
}

// stopwatch keeps what the engine says that it took.
type stopwatch struct {
	mu   sync.Mutex
	took times
}

func (s *stopwatch) ObserveRequest(_ string, result engine.Result, took time.Duration) {
	if result != engine.ResultPlain {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, took)
}

func (s *stopwatch) ObserveReconnect() {}

func (s *stopwatch) plain() times {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.took
}
