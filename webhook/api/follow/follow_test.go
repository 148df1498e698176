package follow

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/webhook/api/follow/followtest"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	iface = "69528db6eb31577a8c3668f9faa081f6"
	other = "bfac4d851ee856fe8c95865ce1bbaa2d"
	nlb0  = "d8424dc4a4a3c413f89e433683f9040b"
	limit = 20 * time.Second
)

func function(iface string) followtest.Object {
	return followtest.Object{"interfaceId": iface, "mode": "region", "afuId": nlb0}
}

// view is a handler that keeps what it is told.
type view struct {
	t *testing.T

	mu       sync.Mutex
	busy     bool
	objects  map[string]string // namespace/name → interface id, or why it leads nowhere
	replaces int
	step     time.Time
	aways    []error
	changed  chan struct{}
}

func newView(t *testing.T) *view {
	return &view{t: t, objects: map[string]string{}, changed: make(chan struct{}, 1)}
}

func (v *view) do(f func()) {
	v.mu.Lock()
	if v.busy {
		v.t.Error("two calls at once")
	}
	v.busy = true
	v.mu.Unlock()
	time.Sleep(10 * time.Microsecond)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.busy = false
	f()
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

func (v *view) keep(o v2.Object) {
	if len(o.GetAnnotations()) > 0 || len(o.GetManagedFields()) > 0 || o.GetUID() == "" || o.GetCreationTimestamp().Time.IsZero() {
		v.t.Errorf("%s/%s is kept as %+v", o.GetNamespace(), o.GetName(), o)
	}
	target, err := o.Lead()
	text := string(target.Interface)
	if err != nil {
		text = err.Error()
	}
	v.objects[o.GetNamespace()+"/"+o.GetName()] = text
}

func (v *view) Replace(objects []v2.Object) {
	v.do(func() {
		v.replaces++
		v.objects = map[string]string{}
		for _, o := range objects {
			v.keep(o)
		}
	})
}
func (v *view) Upsert(o v2.Object) { v.do(func() { v.keep(o) }) }
func (v *view) Delete(namespace, name string) {
	v.do(func() { delete(v.objects, namespace+"/"+name) })
}

func (v *view) InStep(at time.Time) {
	v.do(func() {
		if !at.After(v.step) || at.After(time.Now()) {
			v.t.Errorf("in step at %v after %v", at, v.step)
		}
		v.step = at
	})
}
func (v *view) Away(err error) { v.do(func() { v.aways = append(v.aways, err) }) }

// until waits for a state.
func (v *view) until(what string, ok func() bool) {
	v.t.Helper()
	deadline := time.After(limit)
	for {
		v.mu.Lock()
		good := ok()
		v.mu.Unlock()
		if good {
			return
		}
		select {
		case <-v.changed:
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			v.mu.Lock()
			defer v.mu.Unlock()
			v.t.Fatalf("%s: not within %v; objects %v, replaces %d, away %v", what, limit, v.objects, v.replaces, v.aways)
		}
	}
}

func (v *view) untilObjects(what string, want map[string]string) {
	v.t.Helper()
	v.until(what, func() bool { return cmp.Equal(v.objects, want) })
}

type run struct {
	*view
	server *followtest.Server
	logs   *logrustest.Hook
	end    func()
}

func start(t *testing.T, o followtest.Options, only fpga.InterfaceID, l limits, prepare func(*followtest.Server)) *run {
	t.Helper()
	server := followtest.Start(t, o)
	if prepare != nil {
		prepare(server)
	}
	client, err := Client(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	log, hook := logrustest.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	v := newView(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Mappings{Client: client, Kind: v2.KindAcceleratorFunction, Interface: only, Log: log}.source().run(ctx, v, l)
	}()
	end := sync.OnceFunc(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("Run does not end with its context")
			<-done
		}
	})
	t.Cleanup(end)
	return &run{view: v, server: server, logs: hook, end: end}
}

func quick() limits {
	l := usual
	l.first, l.last, l.quiet = 20*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond
	return l
}

// servers are the ways in which an API server can tell a beginning.
var servers = map[string]followtest.Options{
	"stream": {Bookmarks: 50 * time.Millisecond},
	"list":   {Bookmarks: 50 * time.Millisecond, NoWatchList: true},
	"pages":  {Bookmarks: 50 * time.Millisecond, NoWatchList: true, PageSize: 2},
}

func TestTheHandlerIsInStep(t *testing.T) {
	for name, o := range servers {
		t.Run(name, func(t *testing.T) {
			r := start(t, o, "", quick(), func(s *followtest.Server) {
				for i := range 5 {
					s.Put(v2.KindAcceleratorFunction, "a", fmt.Sprint("f", i), function(iface))
				}
				s.Put(v2.KindFpgaRegion, "a", "of-another-kind", function(iface))
			})
			all := map[string]string{"a/f0": iface, "a/f1": iface, "a/f2": iface, "a/f3": iface, "a/f4": iface}
			r.untilObjects("list", all)
			r.server.Put(v2.KindAcceleratorFunction, "b", "f9", function(iface))
			all["b/f9"] = iface
			r.untilObjects("created", all)
			r.server.Put(v2.KindAcceleratorFunction, "b", "f9", function(other))
			all["b/f9"] = other
			r.untilObjects("changed", all)
			r.server.Delete(v2.KindAcceleratorFunction, "a", "f0")
			delete(all, "a/f0")
			r.untilObjects("deleted", all)
			r.mu.Lock()
			now := r.step
			r.mu.Unlock()
			r.until("bookmark", func() bool { return r.step.After(now.Add(60 * time.Millisecond)) })
			if r.replaces != 1 || len(r.aways) > 0 {
				t.Errorf("%d replaces, away %v", r.replaces, r.aways)
			}
		})
	}
}

func TestAChangeIsToldWithinASecondAlsoAfterABreak(t *testing.T) {
	for name, o := range servers {
		for how, disturb := range map[string]func(*followtest.Server){
			"cut":  func(s *followtest.Server) { s.Cut() },
			"gone": func(s *followtest.Server) { s.Compact(); s.Cut() },
			"down": func(s *followtest.Server) { s.SetDown(http.StatusServiceUnavailable); s.SetDown(0) },
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				r := start(t, o, "", usual, func(s *followtest.Server) {
					s.Put(v2.KindAcceleratorFunction, "a", "f", function(iface))
				})
				r.untilObjects("list", map[string]string{"a/f": iface})
				// A busy machine may be late by itself, but not three times.
				best := time.Hour
				for i := 0; i < 3 && best > time.Second; i++ {
					time.Sleep(50 * time.Millisecond) // the watch stands
					disturb(r.server)
					name := fmt.Sprint("g", i)
					r.server.Delete(v2.KindAcceleratorFunction, "a", "f")
					r.server.Put(v2.KindAcceleratorFunction, "a", name, function(iface))
					began := time.Now()
					r.until("after the break", func() bool { return r.objects["a/f"] == "" && r.objects["a/"+name] == iface })
					best = min(best, time.Since(began))
				}
				if best > time.Second {
					t.Errorf("told after %v", best)
				}
				r.until("away", func() bool { return len(r.aways) > 0 })
			})
		}
	}
}

func TestAnObjectThatWasDeletedAndMadeAnewInAGapIsTheNewOne(t *testing.T) {
	for name, o := range servers {
		for how, forget := range map[string]bool{"history kept": false, "history forgotten": true} {
			t.Run(name+"/"+how, func(t *testing.T) {
				r := start(t, o, "", quick(), func(s *followtest.Server) {
					s.Put(v2.KindAcceleratorFunction, "a", "f", function(iface))
					s.Put(v2.KindAcceleratorFunction, "a", "g", function(iface))
				})
				r.untilObjects("list", map[string]string{"a/f": iface, "a/g": iface})
				r.server.SetDown(http.StatusServiceUnavailable)
				r.until("away", func() bool { return len(r.aways) > 0 })
				r.server.Delete(v2.KindAcceleratorFunction, "a", "f")
				r.server.Put(v2.KindAcceleratorFunction, "a", "f", function(other))
				r.server.Delete(v2.KindAcceleratorFunction, "a", "g")
				if forget {
					r.server.Compact()
				}
				r.server.SetDown(0)
				r.untilObjects("back", map[string]string{"a/f": other})
				r.mu.Lock()
				now := r.step
				r.mu.Unlock()
				r.until("in step again", func() bool { return r.step.After(now) })
			})
		}
	}
}

func TestOnlyTheWantedInterfaceIsTold(t *testing.T) {
	for name, o := range map[string]followtest.Options{
		"selected by the server":         {},
		"left out here, stream":          {NoSelector: true},
		"left out here, list":            {NoSelector: true, NoWatchList: true},
		"left out here, list of 2 pages": {NoSelector: true, NoWatchList: true, PageSize: 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, o, iface, quick(), func(s *followtest.Server) {
				s.Put(v2.KindAcceleratorFunction, "a", "f", function(iface))
				s.Put(v2.KindAcceleratorFunction, "a", "g", function(other))
				s.Put(v2.KindAcceleratorFunction, "b", "f", function(iface))
			})
			r.untilObjects("list", map[string]string{"a/f": iface, "b/f": iface})
			r.server.Put(v2.KindAcceleratorFunction, "a", "f", function(other))
			r.untilObjects("gone to another", map[string]string{"b/f": iface})
			r.server.Put(v2.KindAcceleratorFunction, "a", "g", function(iface))
			r.untilObjects("come from another", map[string]string{"a/g": iface, "b/f": iface})
			if told := count(r.logs, "cannot select"); o.NoSelector != (told == 1) {
				t.Errorf("told %d times that the server cannot select", told)
			}
			if n := r.server.Requests("watch") + r.server.Requests("list"); n > 5 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestAMappingThatCannotBeReadLeadsNowhereAndTheOthersAreRead(t *testing.T) {
	for name, o := range servers {
		t.Run(name, func(t *testing.T) {
			r := start(t, o, "", quick(), func(s *followtest.Server) {
				s.Put(v2.KindAcceleratorFunction, "a", "list", followtest.Object{"interfaceId": 69528, "mode": "af"})
				s.Put(v2.KindAcceleratorFunction, "a", "text", "no object")
				s.Put(v2.KindAcceleratorFunction, "a", "good", function(iface))
			})
			nowhere := `mode "" is neither af nor region`
			want := map[string]string{"a/list": nowhere, "a/text": nowhere, "a/good": iface}
			r.untilObjects("list", want)
			r.server.Put(v2.KindAcceleratorFunction, "a", "good", followtest.Object{"interfaceId": []any{iface}})
			want["a/good"] = nowhere
			r.untilObjects("becomes unreadable", want)
			r.server.Put(v2.KindAcceleratorFunction, "a", "list", function(iface))
			want["a/list"] = iface
			r.untilObjects("becomes readable", want)
			r.server.Delete(v2.KindAcceleratorFunction, "a", "text")
			delete(want, "a/text")
			r.untilObjects("deleted", want)
			if r.replaces != 1 || len(r.aways) > 0 {
				t.Errorf("%d replaces, away %v", r.replaces, r.aways)
			}
		})
	}
}

func TestAnAPIServerThatIsAwayIsAskedMoreAndMoreRarely(t *testing.T) {
	for name, o := range servers {
		t.Run(name, func(t *testing.T) { isAskedMoreAndMoreRarely(t, o, http.StatusInternalServerError) })
		t.Run(name+"/410 for ever", func(t *testing.T) { isAskedMoreAndMoreRarely(t, o, http.StatusGone) })
	}
}

func isAskedMoreAndMoreRarely(t *testing.T, o followtest.Options, answer int) {
	t.Helper()
	r := start(t, o, "", quick(), func(s *followtest.Server) { s.SetDown(answer) })
	time.Sleep(time.Second)
	r.until("away", func() bool { return len(r.aways) > 0 })
	// 20, 40, 80, 160, 200, 200 … ms, each at least half of it: not more than 14 tries of two requests.
	n := r.server.Requests("watch") + r.server.Requests("list")
	if n > 30 {
		t.Errorf("%d requests in a second", n)
	}
	r.mu.Lock()
	if len(r.aways) == 0 || len(r.aways) > 15 || !strings.Contains(r.aways[0].Error(), "the API server is down") {
		t.Errorf("away %v", r.aways)
	}
	r.mu.Unlock()
	if told := count(r.logs, "cannot be followed"); told != 1 {
		t.Errorf("logged %d times", told)
	}
	r.server.Put(v2.KindAcceleratorFunction, "a", "f", function(iface))
	r.server.SetDown(0)
	r.untilObjects("back", map[string]string{"a/f": iface})
	r.until("in step", func() bool { return !r.step.IsZero() && count(r.logs, "followed again") == 1 })
}

// Run must end soon in every state, also while it waits for a server that refuses connections.
func TestRunEndsWithItsContext(t *testing.T) {
	for name, prepare := range map[string]func(*followtest.Server){
		"down":       func(s *followtest.Server) { s.SetDown(http.StatusInternalServerError) },
		"overloaded": func(s *followtest.Server) { s.SetDown(http.StatusTooManyRequests) },
		"stalled":    func(s *followtest.Server) { s.SetStall(true) },
		"refused":    func(s *followtest.Server) { s.Close() },
	} {
		for kind, o := range servers {
			t.Run(name+"/"+kind, func(t *testing.T) {
				r := start(t, o, "", usual, prepare)
				time.Sleep(300 * time.Millisecond)
				r.end()
			})
		}
	}
}

func TestAServerThatStandsStillIsLeft(t *testing.T) {
	for name, o := range servers {
		t.Run(name, func(t *testing.T) {
			l := quick()
			l.answer, l.list = 100*time.Millisecond, 150*time.Millisecond
			r := start(t, o, "", l, func(s *followtest.Server) {
				s.Put(v2.KindAcceleratorFunction, "a", "f", function(iface))
				s.SetStall(true)
			})
			r.until("away", func() bool { return len(r.aways) > 0 })
			r.server.SetStall(false)
			r.untilObjects("back", map[string]string{"a/f": iface})
		})
	}
}

// Without bookmarks of the server's an open watch is in step all the same, as of the time that a dead connection takes.
func TestAnOpenWatchWithoutEventsIsInStep(t *testing.T) {
	v := newView(t)
	log, _ := logrustest.NewNullLogger()
	s := &step[v2.Object]{handler: v, log: log, limits: quick(), open: true, told: time.Now().Add(-2 * deadAfter)}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	s.listen(ctx)
	if d := time.Since(v.step); d < deadAfter || d > deadAfter+10*time.Second {
		t.Errorf("in step as of %v ago", d)
	}
	last := v.step
	s.ended(io.ErrUnexpectedEOF)
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	s.listen(ctx)
	if v.step != last {
		t.Error("in step although the watch is broken")
	}
}

func count(hook *logrustest.Hook, text string) int {
	return len(slices.DeleteFunc(hook.AllEntries(), func(e *logrus.Entry) bool { return !strings.Contains(e.Message, text) }))
}
