package engine

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"

	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

// backInTime is what is promised after the runtime's socket is back, backAtLast what a busy machine may make of it.
const (
	backInTime = time.Second
	backAtLast = 5 * time.Second
)

func TestRuntimeRestarts(t *testing.T) {
	socket := socketPath(t)
	var c counter
	r := startRuntime(t, socket, enginetest.Options{})
	e := startEngine(t, socket, adjuster{}, func(o *Options, _ *timing) { o.Observer = &c })
	e.awaitSynchronized(t)
	var took []time.Duration
	const restarts = 15
	for n := range restarts {
		r.Stop()
		e.awaitStatus(t, "disconnected", func(s nristatus.Status) bool { return !s.Connected })
		if n%5 == 4 {
			time.Sleep(700 * time.Millisecond) // until the back-off is at its longest
		}
		if n%2 == 1 {
			os.Remove(socket) // a runtime that ends in order removes it
		}
		r = startRuntime(t, socket, enginetest.Options{})
		took = append(took, e.awaitSynchronized(t))
		waitPlugins(t, r, 1)
		if got, err := r.CreateContainer(t.Context(), testPod(), ours("app")); err != nil || !isGranted(got) {
			t.Fatalf("after restart %d: %v, %v", n, got, err)
		}
	}
	slices.Sort(took)
	median, worst := took[restarts/2], took[restarts-1]
	t.Logf("back after %v, at most %v", median, worst)
	if median > backInTime || worst > backAtLast {
		t.Errorf("back after %v, at most %v; want within %v, at most %v", median, worst, backInTime, backAtLast)
	}
	if s := e.Status(); s.Reconnects != restarts || s.LastError != "" {
		t.Errorf("status %+v", s)
	}
	if c.reconnects != restarts {
		t.Errorf("%d reconnects counted, want %d", c.reconnects, restarts)
	}
}

func TestRuntimeAppearsLater(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, socket string){
		"no socket": func(t *testing.T, socket string) {},
		"no folder": func(t *testing.T, socket string) {
			if err := os.Remove(filepath.Dir(socket)); err != nil {
				t.Fatal(err)
			}
		},
		"a socket that nobody listens on": func(t *testing.T, socket string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			l.Close()
		},
		"a plain file": func(t *testing.T, socket string) {
			if err := os.WriteFile(socket, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			socket := socketPath(t)
			prepare(t, socket)
			e := startEngine(t, socket, adjuster{})
			e.awaitStatus(t, "failing", func(s nristatus.Status) bool { return strings.HasPrefix(s.LastError, "NRI socket: dial unix") })
			time.Sleep(600 * time.Millisecond) // until the back-off is at its longest
			startRuntime(t, socket, enginetest.Options{})
			if took := e.awaitSynchronized(t); took > backAtLast {
				t.Errorf("connected %v after the socket was there", took)
			}
		})
	}
}

func TestStopWhileThereIsNoRuntime(t *testing.T) {
	e := startEngine(t, socketPath(t), adjuster{})
	e.awaitStatus(t, "failing", func(s nristatus.Status) bool { return s.LastError != "" })
	began := time.Now()
	if err := e.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Run took %v to end", took)
	}
}

// Fault A of the stub: a connection that was closed before the registration spoils the stub for ever.
func TestRuntimeThatClosesBeforeTheRegistration(t *testing.T) {
	socket := socketPath(t)
	stop := refuseConnections(t, socket)
	e := startEngine(t, socket, adjuster{})
	e.awaitStatus(t, "failing", func(s nristatus.Status) bool { return strings.Contains(s.LastError, "register with the runtime") })
	time.Sleep(300 * time.Millisecond)
	stop()
	startRuntime(t, socket, enginetest.Options{})
	if took := e.awaitSynchronized(t); took > backAtLast {
		t.Errorf("connected only after %v", took)
	}
}

// Fault B of the stub: between RegisterPlugin and Configure it waits for ever, whatever happens to the connection.
func TestRuntimeThatGoesAwayBetweenRegistrationAndConfiguration(t *testing.T) {
	for _, tc := range []struct {
		name  string
		serve func(n int, p *fakePeer)
	}{
		{"closes", func(_ int, p *fakePeer) { p.awaitRegistration(); time.Sleep(5 * time.Millisecond); p.close() }},
		{"closes at once", func(_ int, p *fakePeer) { p.awaitRegistration(); p.close() }},
		{"says no more", func(int, *fakePeer) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			socket := socketPath(t)
			var seen atomic.Int32
			stop := startFakeRuntime(t, socket, func(n int, p *fakePeer) { seen.Store(int32(n + 1)); tc.serve(n, p) })
			e := startEngine(t, socket, adjuster{}, func(_ *Options, times *timing) { times.start = 400 * time.Millisecond })
			e.awaitStatus(t, "on its third attempt", func(nristatus.Status) bool { return seen.Load() >= 3 })
			stop()
			startRuntime(t, socket, enginetest.Options{})
			if took := e.awaitSynchronized(t); took > backAtLast {
				t.Errorf("connected only after %v", took)
			}
			if err := e.stop(); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

// The same with the cure taken out: the hang is real, and Run says that only a new process helps.
func TestRunEndsWhenTheStubCannotBeFreed(t *testing.T) {
	socket := socketPath(t)
	startFakeRuntime(t, socket, func(_ int, p *fakePeer) { p.awaitRegistration(); time.Sleep(5 * time.Millisecond); p.close() })
	e, err := New(Options{Name: "inlay", Index: "40", Socket: socket, Adjuster: adjuster{}})
	if err != nil {
		t.Fatal(err)
	}
	e.timing.release = 300 * time.Millisecond
	var stuck *session
	e.release = func(s *session) bool { stuck = s; return true }
	if err := e.Run(t.Context()); !errors.Is(err, ErrStuck) {
		t.Errorf("Run: %v", err)
	}
	if stuck == nil {
		t.Fatal("no attempt had to be freed")
	}
	deliverRefusal(stuck) // for goleak: with the cure it ends
	stuck.awaitClose()
}

// A runtime that takes us, and drops us at once, again and again, is not met with a busy loop.
func TestAttemptsAreSpacedWhenTheRuntimeDropsUs(t *testing.T) {
	socket := socketPath(t)
	var seen atomic.Int32
	startFakeRuntime(t, socket, func(_ int, p *fakePeer) {
		seen.Add(1)
		if !p.awaitRegistration() {
			return
		}
		_, _ = p.Configure(context.Background(), &api.ConfigureRequest{RuntimeName: "containerd", RuntimeVersion: "v2.2.1", RequestTimeout: 2000, RegistrationTimeout: 5000})
		_, _ = p.Synchronize(context.Background(), &api.SynchronizeRequest{})
		p.close()
	})
	startEngine(t, socket, adjuster{})
	time.Sleep(2 * time.Second)
	if n := seen.Load(); n < 3 || n > 20 {
		t.Errorf("%d connections in 2 s, want a few", n)
	}
}

// An old runtime sends neither its NRI version nor its timeouts; CRI-O 1.36 sends a version that nothing is known of.
func TestRuntimesWithOldNRI(t *testing.T) {
	for _, tc := range []struct {
		name string
		req  *api.ConfigureRequest
		nri  string
	}{
		{"containerd 1.7", &api.ConfigureRequest{RuntimeName: "containerd", RuntimeVersion: "v1.7.20"}, "v0.6.1"},
		{"CRI-O 1.36", &api.ConfigureRequest{RuntimeName: "cri-o", RuntimeVersion: "1.36.1", RequestTimeout: 2000, RegistrationTimeout: 5000}, ""},
		{"a stranger", &api.ConfigureRequest{RuntimeName: "podman", RuntimeVersion: "9"}, ""},
		{"new", &api.ConfigureRequest{RuntimeName: "containerd", RuntimeVersion: "v2.4.2", NRIVersion: "v0.12.3", RequestTimeout: 2000, RegistrationTimeout: 5000}, "v0.12.3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			socket := socketPath(t)
			events := make(chan int32, 1)
			asked := make(chan error, 1)
			startFakeRuntime(t, socket, func(_ int, p *fakePeer) {
				if !p.awaitRegistration() {
					return
				}
				rpl, err := p.Configure(context.Background(), tc.req)
				if err != nil {
					t.Errorf("Configure: %v", err)
					return
				}
				events <- rpl.Events
				if _, err := p.Synchronize(context.Background(), &api.SynchronizeRequest{}); err != nil {
					t.Errorf("Synchronize: %v", err)
				}
				// No deadline on the wire either.
				_, err = p.CreateContainer(context.Background(), &api.CreateContainerRequest{Pod: testPod(), Container: ours("app")})
				asked <- err
			})
			e := startEngine(t, socket, adjuster{adjust: func(ctx context.Context, _ *api.PodSandbox, _ *api.Container) (*api.ContainerAdjustment, error) {
				deadline, ok := ctx.Deadline()
				if left := time.Until(deadline); !ok || left < 500*time.Millisecond || left > 1600*time.Millisecond {
					t.Errorf("deadline in %v (%v), want 1.6 s, less what has passed", left, ok)
				}
				return granted(), nil
			}})
			if got := <-events; got != 1<<(api.Event_CREATE_CONTAINER-1) {
				t.Errorf("subscribed to %#x", got)
			}
			if err := <-asked; err != nil {
				t.Error(err)
			}
			e.awaitSynchronized(t)
			s := e.Status()
			if s.Runtime != tc.req.RuntimeName || s.RuntimeVersion != tc.req.RuntimeVersion {
				t.Errorf("status %+v", s)
			}
			if tc.nri != "" && s.NRIVersion != tc.nri {
				t.Errorf("NRI version %q, want %q", s.NRIVersion, tc.nri)
			}
		})
	}
}

func TestKnownEventsByNRIVersion(t *testing.T) {
	for version, want := range map[string]api.EventMask{
		"v0.2.0": 0x7ff, "v0.6.1": 0x7ff, "v0.9.0": 0x7ff, "v0.9.1-0.20250219030224-e597e7849f24": 0x7ff,
		"v0.10.0": 0x3fff, "v0.12.5": 0x3fff, "0.11.0": 0x3fff, "v1.0.0": 0x3fff,
		"": 0x7ff, "unknown": 0x7ff, api.UnknownVersion: 0x7ff, api.DevelVersion: 0x7ff, "v0": 0x7ff,
	} {
		if got := knownEvents(version); got != want {
			t.Errorf("NRI %q: %#x, want %#x", version, got, want)
		}
	}
}

func TestStatusChangesAreToldInOrder(t *testing.T) {
	changes := make(chan nristatus.Status, 100)
	r, e := connected(t, adjuster{}, enginetest.Options{Name: "cri-o", Version: "1.36.1"},
		func(o *Options, _ *timing) { o.StatusChanged = func(s nristatus.Status) { changes <- s } })
	r.Drop()
	e.awaitStatus(t, "back", func(s nristatus.Status) bool { return s.Reconnects == 1 && s.Synchronized })
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	close(changes)
	var got []string
	for s := range changes {
		var words []string
		for word, is := range map[string]bool{"connected": s.Connected, "synchronized": s.Synchronized, "again": s.Reconnects > 0} {
			if is {
				words = append(words, word)
			}
		}
		slices.Sort(words)
		if s.Connected && (s.Runtime != "cri-o" || s.RuntimeVersion != "1.36.1" || s.Version != "test") {
			t.Errorf("status %+v", s)
		}
		got = append(got, strings.Join(words, " ")+"/"+s.LastError)
	}
	// Connected and synchronized may be told as one: they overtake each other.
	got = slices.DeleteFunc(got, func(s string) bool { return s == "connected/" || s == "again connected/" })
	want := []string{"connected synchronized/", "/connection closed by the runtime", "again connected synchronized/", "again/stopped"}
	if !slices.Equal(got, want) {
		t.Errorf("told %q\nwant %q", got, want)
	}
}

// What happens if an operator runs it twice: NRI calls both, and their adjustments conflict.
func TestSamePluginTwiceRefusesOursOnly(t *testing.T) {
	socket := socketPath(t)
	r := startRuntime(t, socket, enginetest.Options{})
	startEngine(t, socket, adjuster{})
	startEngine(t, socket, adjuster{})
	waitPlugins(t, r, 2)
	if got, err := r.CreateContainer(t.Context(), testPod(), ours("app")); err == nil {
		t.Errorf("created with %v", got)
	}
	expectUntouched(t, r, plain("app"))
}

func TestNewRefusesWhatTheRuntimeWould(t *testing.T) {
	good := Options{Name: "inlay", Index: "40", Socket: "/s", Adjuster: adjuster{}}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Options){
		"no adjuster": func(o *Options) { o.Adjuster = nil },
		"no socket":   func(o *Options) { o.Socket = "" },
		"no name":     func(o *Options) { o.Name = "" },
		"bad name":    func(o *Options) { o.Name = "in lay" },
		"long index":  func(o *Options) { o.Index = "400" },
		"no index":    func(o *Options) { o.Index = "" },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
