package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

func TestContainersOfOursAreAdjustedAndPlainOnesUntouched(t *testing.T) {
	var asked atomic.Int32
	r, _ := connected(t, adjuster{adjust: func(_ context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, error) {
		asked.Add(1)
		if pod.GetName() != "web" || ctr.GetName() != "app" {
			t.Errorf("asked about %s/%s", pod.GetName(), ctr.GetName())
		}
		return granted(), nil
	}}, enginetest.Options{})

	for range 3 {
		got, err := r.CreateContainer(t.Context(), testPod(), ours("app"))
		if err != nil || !isGranted(got) {
			t.Fatalf("ours: %v, %v", got, err)
		}
		expectUntouched(t, r, plain("sidecar"))
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("Adjust was called %d times, want 3", n)
	}
}

// blocked ignores its context until the test ends: a call into a driver that does not come back.
func blocked(t testing.TB) (a adjuster, unblock func()) {
	gate := make(chan struct{})
	unblock = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(unblock)
	return adjuster{adjust: func(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, error) {
		<-gate
		return granted(), nil
	}}, unblock
}

func TestHungAdjusterIsARefusalInTimeAndThePluginStays(t *testing.T) {
	const patience, own = 5 * time.Second, 4 * time.Second // a fifth of it is the margin, also of a loaded machine
	a, unblock := blocked(t)
	r, e := connected(t, a, enginetest.Options{RequestTimeout: patience})

	began := time.Now()
	got, err := r.CreateContainer(t.Context(), testPod(), ours("app"))
	if err == nil {
		t.Fatalf("created, with %v", got)
	}
	if took := time.Since(began); took < own-100*time.Millisecond || took >= patience {
		t.Errorf("answered after %v, want between our deadline (%v) and the runtime's (%v)", took, own, patience)
	}
	if want := "inlay-nri refused pod shop/web container app: no answer in time ("; !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not hold %q", err, want)
	}
	expectUntouched(t, r, plain("sidecar"))
	unblock()
	if got, err := r.CreateContainer(t.Context(), testPod(), ours("app")); err != nil || !isGranted(got) {
		t.Errorf("once it is lifted: %v, %v", got, err)
	}
	if s := e.Status(); !s.Connected || s.Reconnects != 0 {
		t.Errorf("the plugin was dropped: %+v", s)
	}
}

// The same without the engine: the check above can fail.
func TestHungHandlerOnABareStubLetsTheContainerStartBare(t *testing.T) {
	socket := socketPath(t)
	r := startRuntime(t, socket, enginetest.Options{RequestTimeout: 300 * time.Millisecond})
	a, unblock := blocked(t)
	closed := make(chan struct{})
	st, err := stub.New(bare{a}, stub.WithPluginName("bare"), stub.WithPluginIdx("10"), stub.WithSocketPath(socket),
		stub.WithOnClose(func() { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitPlugins(t, r, 1)
	expectUntouched(t, r, ours("app"))
	<-closed // and the plugin was dropped
	unblock()
}

type bare struct{ adjuster }

func (b bare) CreateContainer(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	a, err := b.Adjust(ctx, pod, ctr)
	return a, nil, err
}

func TestAdjusterThatHeedsItsContextSaysWhatItWaitedFor(t *testing.T) {
	r, _ := connected(t, adjuster{adjust: func(ctx context.Context, _ *api.PodSandbox, _ *api.Container) (*api.ContainerAdjustment, error) {
		<-ctx.Done()
		return granted(), fmt.Errorf("podresources: %w", ctx.Err())
	}}, enginetest.Options{RequestTimeout: 4 * time.Second}) // a fifth of it is the margin, also of a loaded machine
	_, err := r.CreateContainer(t.Context(), testPod(), ours("app"))
	if err == nil || !strings.Contains(err.Error(), "no answer in time") || !strings.Contains(err.Error(), "podresources: context deadline exceeded") {
		t.Errorf("error %v", err)
	}
}

func TestHungAdjustersAreBounded(t *testing.T) {
	a, unblock := blocked(t)
	e, err := New(Options{Name: "inlay", Index: "40", Socket: "/s", Adjuster: a})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{engine: e, requestTimeout: time.Second}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	results := make(chan string, MaxRunning+3)
	var wg sync.WaitGroup
	for range MaxRunning + 3 {
		wg.Go(func() {
			_, _, err := s.CreateContainer(ctx, testPod(), ours("app"))
			switch {
			case err == nil:
				results <- "created"
			case strings.HasSuffix(err.Error(), "16 earlier requests still hang"):
				results <- "busy"
			case strings.Contains(err.Error(), "no answer in time"):
				results <- "timeout"
			default:
				results <- err.Error()
			}
		})
	}
	wg.Wait()
	close(results)
	got := map[string]int{}
	for r := range results {
		got[r]++
	}
	if diff := cmp.Diff(map[string]int{"timeout": MaxRunning, "busy": 3}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	unblock()
	if n := e.slots.drain(5 * time.Second); n != 0 {
		t.Errorf("%d still running", n)
	}
	if _, _, err := s.CreateContainer(t.Context(), testPod(), ours("app")); err != nil {
		t.Errorf("once they have ended: %v", err)
	}
}

func TestAdjusterThatNeverEndsIsReportedByRun(t *testing.T) {
	a, unblock := blocked(t)
	r, e := connected(t, a, enginetest.Options{RequestTimeout: 5 * time.Second},
		func(_ *Options, times *timing) { times.stop = 50 * time.Millisecond })
	if _, err := r.CreateContainer(t.Context(), testPod(), ours("app")); err == nil {
		t.Fatal("created")
	}
	if err := e.stop(); err == nil || err.Error() != "1 adjustment(s) still running" {
		t.Errorf("Run: %v", err)
	}
	unblock()
}

func TestPanicIsARefusalAndThePluginStays(t *testing.T) {
	for name, a := range map[string]adjuster{
		"in Adjust": {adjust: func(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, error) {
			panic("index out of\nrange")
		}},
		"in Wants": {wants: func(*api.Container) bool { panic("index out of\nrange") }},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log := logrus.New()
			log.SetOutput(&out)
			r, e := connected(t, a, enginetest.Options{}, func(o *Options, _ *timing) { o.Log = log })
			for range 2 {
				_, err := r.CreateContainer(t.Context(), testPod(), ours("app"))
				if err == nil || !strings.HasSuffix(err.Error(), "container app: internal error: index out of; range") {
					t.Errorf("error %v", err)
				}
			}
			if s := e.Status(); !s.Connected || s.Reconnects != 0 {
				t.Errorf("the plugin was dropped: %+v", s)
			}
			if err := e.stop(); err != nil {
				t.Error(err)
			}
			if strings.Contains(out.String(), "goroutine") {
				t.Errorf("a stack trace above debug:\n%s", out.String())
			}
			if n := strings.Count(out.String(), "the adjuster panicked"); n != 2 {
				t.Errorf("%d log lines about 2 panics:\n%s", n, out.String())
			}
		})
	}
}

func TestErrorsAreOneLineWithTheContainersIdentity(t *testing.T) {
	unnamed := ours("x")
	unnamed.Name = "" // CRI-O and a client without the kubelet's labels
	for _, tc := range []struct {
		name string
		ctr  *api.Container
		err  error
		want string
	}{
		{"plain text", ours("app"), errors.New("no mapping allows it"), "inlay-nri refused pod shop/web container app: no mapping allows it"},
		{"several lines", ours("app"), errors.Join(errors.New("a"), errors.New("b\tc")), "inlay-nri refused pod shop/web container app: a; b c"},
		{"no name", unnamed, errors.New("no"), "inlay-nri refused pod shop/web container id-x: no"},
		// Must not reach the runtime as its own deadline: that one drops the plugin and lets the container start.
		{"looks like a timeout", ours("app"), context.DeadlineExceeded, "inlay-nri refused pod shop/web container app: context deadline exceeded"},
		{"too long", ours("app"), errors.New(strings.Repeat("é", 1000)), "inlay-nri refused pod shop/web container app: " + strings.Repeat("é", 400) + "…"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, e := connected(t, adjuster{adjust: func(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, error) {
				return granted(), tc.err
			}}, enginetest.Options{})
			_, err := r.CreateContainer(t.Context(), testPod(), tc.ctr)
			if err == nil {
				t.Fatal("created")
			}
			if _, text, _ := strings.Cut(err.Error(), "desc = "); text != tc.want {
				t.Errorf("error %q, want %q", text, tc.want)
			}
			if s := e.Status(); !s.Connected {
				t.Errorf("dropped: %+v", s)
			}
		})
	}
}

func TestOwnDeadlineLeavesTheRuntimeTime(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tc := range []struct{ runtime, want time.Duration }{
		{2 * time.Second, 1600 * time.Millisecond},
		{10 * time.Second, 8 * time.Second},
		{time.Second, 750 * time.Millisecond},
		{300 * time.Millisecond, 150 * time.Millisecond},
		{0, 0},
	} {
		if got := ownDeadline(now, now.Add(tc.runtime)).Sub(now); got != tc.want {
			t.Errorf("of %v: %v, want %v", tc.runtime, got, tc.want)
		}
	}
}

// An answer and the end of its context must not be mistaken for each other.
func TestQuickAnswersAreNeverLate(t *testing.T) {
	e, err := New(Options{Name: "inlay", Index: "40", Socket: "/s", Adjuster: adjuster{}})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{engine: e, requestTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5000 {
				if a, _, err := s.CreateContainer(t.Context(), testPod(), ours("app")); err != nil || !isGranted(a) {
					t.Errorf("%v, %v", a, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestRequestUnderWayIsAnsweredWhenTheEngineStops(t *testing.T) {
	inside := make(chan struct{})
	r, e := connected(t, adjuster{adjust: func(ctx context.Context, _ *api.PodSandbox, _ *api.Container) (*api.ContainerAdjustment, error) {
		close(inside)
		select {
		case <-time.After(300 * time.Millisecond):
			return granted(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}, enginetest.Options{})
	go func() {
		<-inside
		_ = e.stop()
	}()
	if got, err := r.CreateContainer(t.Context(), testPod(), ours("app")); err != nil || !isGranted(got) {
		t.Errorf("%v, %v", got, err)
	}
	if err := e.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// counter is an Observer.
type counter struct {
	mu         sync.Mutex
	requests   map[string]int
	reconnects int
}

func (c *counter) ObserveRequest(event string, result Result, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == nil {
		c.requests = map[string]int{}
	}
	c.requests[event+"/"+string(result)]++
	if took < 0 || took > 10*time.Second {
		c.requests["absurd duration"]++
	}
}

func (c *counter) ObserveReconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reconnects++
}

func TestRequestsAreCountedByResult(t *testing.T) {
	var c counter
	r, _ := connected(t, adjuster{adjust: func(ctx context.Context, _ *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, error) {
		switch ctr.GetName() {
		case "no":
			return nil, errors.New("no")
		case "panic":
			panic("oops")
		case "slow":
			<-ctx.Done()
		}
		return granted(), nil
	}}, enginetest.Options{RequestTimeout: 5 * time.Second},
		func(o *Options, _ *timing) { o.Observer = &c })
	for _, ctr := range []*api.Container{plain("a"), plain("b"), ours("app"), ours("no"), ours("panic"), ours("slow")} {
		_, _ = r.CreateContainer(t.Context(), testPod(), ctr)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	want := map[string]int{
		"Synchronize/ok": 1, "CreateContainer/plain": 2, "CreateContainer/adjusted": 1, "CreateContainer/refused": 1,
		"CreateContainer/panic": 1, "CreateContainer/timeout": 1,
	}
	if diff := cmp.Diff(want, c.requests); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// While connections come and go a container of ours may be created bare (that is NRI; the gate is for it), but a plain
// one is never refused and nothing of ours is half done.
func TestRequestsWhileTheConnectionIsCut(t *testing.T) {
	r, e := connected(t, adjuster{}, enginetest.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				ctr := plain(fmt.Sprint("c", n, "-", i))
				if i%2 == 0 {
					ctr.Annotations = map[string]string{oursKey: "1"}
				}
				got, err := r.CreateContainer(t.Context(), testPod(), ctr)
				switch {
				case err != nil && i%2 == 1:
					t.Errorf("plain container refused: %v", err)
				case len(got.GetEnv()) > 0 && i%2 == 1:
					t.Errorf("plain container adjusted: %v", got)
				case i%2 == 0 && len(got.GetEnv()) > 0 && !isGranted(got):
					t.Errorf("half an adjustment: %v", got)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	for ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
		r.Drop()
	}
	wg.Wait()
	e.awaitSynchronized(t)
	if e.Status().Reconnects == 0 {
		t.Error("the connection was never cut")
	}
}
