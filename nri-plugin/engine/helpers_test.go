package engine

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

func TestMain(m *testing.M) {
	// Started by the adaptation from its plugin folder, this binary is a pre-installed plugin (inherited_test.go).
	if os.Getenv(api.PluginSocketEnvVar) != "" {
		os.Exit(beThePlugin())
	}
	if os.Getenv("NRI_CHATTER") == "" {
		logrus.SetLevel(logrus.PanicLevel)
	} // the adaptation's own chatter
	goleak.VerifyTestMain(m)
}

// oursKey marks the containers that the test adjuster claims.
const oursKey = "test.inlay/ours"

// adjuster claims containers with oursKey and answers with adjust.
type adjuster struct {
	wants  func(*api.Container) bool
	adjust func(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, error)
}

func (a adjuster) Wants(_ *api.PodSandbox, ctr *api.Container) bool {
	if a.wants != nil {
		return a.wants(ctr)
	}
	_, ours := ctr.GetAnnotations()[oursKey]
	return ours
}

func (a adjuster) Adjust(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, error) {
	if a.adjust != nil {
		return a.adjust(ctx, pod, ctr)
	}
	return granted(), nil
}

func granted() *api.ContainerAdjustment {
	a := &api.ContainerAdjustment{}
	a.AddEnv("GRANTED", "yes")
	return a
}

func isGranted(a *api.ContainerAdjustment) bool {
	env := a.GetEnv()
	return len(env) == 1 && env[0].Key == "GRANTED" && env[0].Value == "yes"
}

func testPod() *api.PodSandbox {
	return &api.PodSandbox{Id: "pod0", Name: "web", Namespace: "shop", Uid: "u0"}
}

func ours(name string) *api.Container {
	return &api.Container{Id: "id-" + name, PodSandboxId: "pod0", Name: name, Annotations: map[string]string{oursKey: "1"}}
}

func plain(name string) *api.Container {
	return &api.Container{Id: "id-" + name, PodSandboxId: "pod0", Name: name}
}

// socketPath is short: a unix socket's path has room for 107 bytes.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "eng")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "nri.sock")
}

func startRuntime(t testing.TB, socket string, opts enginetest.Options) *enginetest.Runtime {
	t.Helper()
	r, err := enginetest.Start(socket, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// running is an engine whose Run is under way.
type running struct {
	*Engine
	ended <-chan struct{} // closed when Run has returned
	stop  func() error    // ends Run and returns its error; at the end of the test at the latest
}

// startEngine runs an engine; a test that wants other options or times changes them in prepare.
func startEngine(t testing.TB, socket string, a Adjuster, prepare ...func(*Options, *timing)) *running {
	t.Helper()
	opts := Options{Name: "inlay", Index: "40", Socket: socket, Adjuster: a, Version: "test"}
	times := defaultTiming()
	for _, f := range prepare {
		f(&opts, &times)
	}
	e, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	e.timing = times
	return runEngine(t, e)
}

func runEngine(t testing.TB, e *Engine) *running {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		err = e.Run(ctx)
	}()
	r := &running{Engine: e, ended: ended, stop: func() error {
		cancel()
		<-ended
		return err
	}}
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// awaitStatus waits for a status and returns how long that took.
func (r *running) awaitStatus(t testing.TB, what string, is func(nristatus.Status) bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !is(r.Status()) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("not %s after 10 s: %+v", what, r.Status())
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

func (r *running) awaitSynchronized(t testing.TB) time.Duration {
	t.Helper()
	return r.awaitStatus(t, "synchronized", func(s nristatus.Status) bool { return s.Connected && s.Synchronized })
}

func waitPlugins(t testing.TB, r *enginetest.Runtime, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("10 s have passed"))
	defer cancel()
	if err := r.WaitPlugins(ctx, n); err != nil {
		t.Fatal(err)
	}
}

// expectUntouched creates a container whose OCI spec must be the same with and without us.
func expectUntouched(t testing.TB, r *enginetest.Runtime, ctr *api.Container) {
	t.Helper()
	a, err := r.CreateContainer(t.Context(), testPod(), ctr)
	if err != nil {
		t.Errorf("container %s refused: %v", ctr.GetName(), err)
		return
	}
	spec := func() *rspec.Spec {
		return &rspec.Spec{
			Process:     &rspec.Process{Args: []string{"true"}, Env: []string{"PATH=/bin"}},
			Annotations: ctr.GetAnnotations(),
			Linux:       &rspec.Linux{Resources: &rspec.LinuxResources{}},
		}
	}
	got := spec()
	if err := enginetest.ApplyAdjustment(got, a, nil); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(spec(), got); diff != "" {
		t.Errorf("container %s was changed (-without +with)\n%s", ctr.GetName(), diff)
	}
}

// connected is the usual stage: a runtime and an engine that know each other.
func connected(t testing.TB, a Adjuster, opts enginetest.Options, prepare ...func(*Options, *timing)) (*enginetest.Runtime, *running) {
	t.Helper()
	socket := socketPath(t)
	r := startRuntime(t, socket, opts)
	e := startEngine(t, socket, a, prepare...)
	waitPlugins(t, r, 1)
	e.awaitSynchronized(t)
	return r, e
}

// refuseConnections is a runtime that takes a connection and closes it at once (fault A of the stub), until stopped.
func refuseConnections(t testing.TB, socket string) (stop func()) {
	t.Helper()
	os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	stop = sync.OnceFunc(func() { l.Close(); <-done })
	t.Cleanup(stop)
	return stop
}
