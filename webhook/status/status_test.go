package status_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/webhook/api/follow"
	"github.com/inlay-project/inlay/webhook/api/follow/followtest"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/mappings"
	"github.com/inlay-project/inlay/webhook/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	iface    = "69528db6eb31577a8c3668f9faa081f6"
	nlb0     = "d8424dc4a4a3c413f89e433683f9040b"
	function = v2.KindAcceleratorFunction
	region   = v2.KindFpgaRegion
	limit    = 20 * time.Second
	resource = "fpga.intel.com/region-" + iface
)

func spec(mode string) followtest.Object {
	return followtest.Object{"interfaceId": iface, "mode": mode, "afuId": nlb0}
}

var regionSpec = followtest.Object{"interfaceId": iface}

// replica is one process: it follows the mappings, and leads when told to.
type replica struct {
	t      *testing.T
	server *followtest.Server
	writer *status.Writer
	index  *mappings.Index
	logs   *logrustest.Hook
}

func start(t *testing.T, server *followtest.Server, rate float32) *replica {
	t.Helper()
	config := server.Config()
	config.QPS, config.Burst, config.ContentType = 10_000, 10_000, "application/json"
	client, err := follow.Client(config)
	if err != nil {
		t.Fatal(err)
	}
	events, err := status.EventClient(config)
	if err != nil {
		t.Fatal(err)
	}
	log, hook := logrustest.NewNullLogger()
	r := &replica{t: t, server: server, index: mappings.NewIndex(), logs: hook}
	r.writer = status.New(status.Config{Client: client, Events: events, Rate: rate, Log: log}, r.index)
	for _, kind := range []v2.Kind{function, region} {
		r.background(func(ctx context.Context) {
			follow.Mappings{Client: client, Kind: kind, Log: log}.Run(ctx, follow.Both(r.index.Handler(kind), r.writer.Handler(kind)))
		})
	}
	return r
}

// background runs until the test ends or stop is called.
func (r *replica) background(run func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	stop = func() { cancel(); <-done }
	r.t.Cleanup(stop)
	return stop
}

func (r *replica) lead() (stop func()) { return r.background(r.writer.Lead) }

// ready is a mapping's status in a word: its reason and resource.
func ready(s *followtest.Server, kind v2.Kind, namespace, name string) string {
	st := s.Status(kind, namespace, name)
	if st == nil || len(st.Conditions) == 0 {
		return "none"
	}
	i := slices.IndexFunc(st.Conditions, func(c metav1.Condition) bool { return c.Type == v2.ConditionReady })
	if i < 0 {
		return "other"
	}
	return string(st.Conditions[i].Status) + " " + st.Conditions[i].Reason + " " + st.Resource
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

func (r *replica) until(what string, want map[string]string) {
	r.t.Helper()
	got := func() map[string]string {
		all := map[string]string{}
		for k := range want {
			p := strings.Split(k, "/")
			all[k] = ready(r.server, v2.Kind(p[0]), p[1], p[2])
		}
		return all
	}
	end := time.Now().Add(limit)
	for ; !cmp.Equal(want, got()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%s: (-want +got)\n%s", what, cmp.Diff(want, got()))
		}
	}
}

// quiet makes sure that nothing is written any more. A replica that has yet to hear of a write may read once more for it.
func (r *replica) quiet(what string) {
	r.t.Helper()
	writes := r.server.Requests("put")
	for end := time.Now().Add(limit); ; {
		gets := r.server.Requests("get")
		time.Sleep(200 * time.Millisecond)
		if n := r.server.Requests("put") - writes; n > 0 {
			r.t.Fatalf("%s: %d writes although nothing differs", what, n)
		}
		if r.server.Requests("get") == gets {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%s: reads without end although nothing differs", what)
		}
	}
}

const (
	good     = "True LeadsToResource " + resource
	conflict = "False NameConflict "
	badMode  = "False InvalidMode "
)

func TestTheStatusSaysWhereAMappingLeads(t *testing.T) {
	s := followtest.Start(t, followtest.Options{})
	s.Put(function, "a", "f", spec("region"))
	s.Put(function, "a", "odd", spec("afoo"))
	s.Put(region, "b", "f", regionSpec)
	r := start(t, s, 1000)
	r.lead()
	r.until("first", map[string]string{"AcceleratorFunction/a/f": good, "AcceleratorFunction/a/odd": badMode, "FpgaRegion/b/f": good})
	r.quiet("first")

	s.Put(function, "a", "odd", spec("region"))
	s.Put(function, "a", "f", spec("xregion"))
	r.until("changed", map[string]string{"AcceleratorFunction/a/f": badMode, "AcceleratorFunction/a/odd": good})
	r.quiet("changed")
	st := s.Status(function, "a", "odd")
	if st.ObservedGeneration != 2 || st.Conditions[0].ObservedGeneration != 2 || st.Conditions[0].Message == "" || st.Conditions[0].LastTransitionTime.IsZero() {
		t.Errorf("status %+v", st)
	}

	s.Put(function, "a", "f", spec("region"))
	s.Delete(function, "a", "odd")
	s.Delete(region, "b", "f")
	s.Put(region, "b", "f", followtest.Object{"interfaceId": "x"})
	r.until("made anew", map[string]string{"AcceleratorFunction/a/f": good, "FpgaRegion/b/f": "False InvalidInterfaceId "})
	r.quiet("made anew")
	if n := s.Requests("event"); n > 0 {
		t.Errorf("%d events", n)
	}
}

func TestAMappingThatLosesItsNameIsToldWithAnEvent(t *testing.T) {
	s := followtest.Start(t, followtest.Options{})
	s.Put(function, "a", "f", spec("region"))
	s.Put(region, "a", "f", regionSpec)
	r := start(t, s, 1000)
	r.lead()
	r.until("conflict", map[string]string{"AcceleratorFunction/a/f": good, "FpgaRegion/a/f": conflict})
	until(t, "event", func() bool { return len(s.Events()) > 0 })
	r.quiet("conflict")
	s.Cut()
	s.Compact()
	time.Sleep(100 * time.Millisecond)

	s.Put(function, "a", "f", spec("afoo"))
	r.until("the older one leads nowhere", map[string]string{"AcceleratorFunction/a/f": badMode, "FpgaRegion/a/f": good})
	s.Delete(function, "a", "f")
	s.Put(function, "a", "f", spec("region"))
	r.until("now the other is older", map[string]string{"AcceleratorFunction/a/f": conflict, "FpgaRegion/a/f": good})
	s.Delete(region, "a", "f")
	r.until("it is gone", map[string]string{"AcceleratorFunction/a/f": good})
	r.quiet("it is gone")

	events := s.Events()
	if len(events) != 2 {
		t.Fatalf("events %v", events)
	}
	for i, kind := range []v2.Kind{region, function} {
		e := events[i]
		about := e["regarding"].(map[string]any)
		if e["type"] != "Warning" || e["reason"] != "NameConflict" || e["action"] == "" || e["note"] == "" ||
			about["kind"] != string(kind) || about["namespace"] != "a" || about["name"] != "f" || about["uid"] == "" ||
			e["metadata"].(map[string]any)["namespace"] != "a" {
			t.Errorf("event %v", e)
		}
	}
}

func TestOnlyALeaderWrites(t *testing.T) {
	s := followtest.Start(t, followtest.Options{})
	s.Put(function, "a", "f", spec("region"))
	one, two := start(t, s, 1000), start(t, s, 1000)
	until(t, "both know", func() bool { return len(one.index.Missing())+len(two.index.Missing()) == 0 })
	one.quiet("nobody leads")
	if n := s.Requests("get"); n > 0 {
		t.Errorf("nobody leads: %d reads", n)
	}
	stop := one.lead()
	one.until("one leads", map[string]string{"AcceleratorFunction/a/f": good})
	stop()
	s.Put(function, "a", "g", spec("region"))
	one.quiet("nobody leads any more")
	stop = two.lead()
	two.until("two leads", map[string]string{"AcceleratorFunction/a/g": good})
	stop()
	one.lead()
	one.quiet("one leads again and finds all said")
	if diff := cmp.Diff([]string{"AcceleratorFunction/a/f", "AcceleratorFunction/a/g"}, s.Writes()); diff != "" {
		t.Errorf("writes (-want +got)\n%s", diff)
	}
}

func TestAConflictingWriteIsTriedAgain(t *testing.T) {
	s := followtest.Start(t, followtest.Options{})
	s.Put(function, "a", "f", spec("region"))
	s.Conflict(function, "a", "f", 3)
	r := start(t, s, 1000)
	r.lead()
	r.until("after conflicts", map[string]string{"AcceleratorFunction/a/f": good})
	if n := s.Requests("put"); n != 4 {
		t.Errorf("%d writes", n)
	}
	r.quiet("after conflicts")
}

func TestARefusedStatusIsGivenUpUntilTheMappingChanges(t *testing.T) {
	s := followtest.Start(t, followtest.Options{})
	s.Put(function, "a", "odd", spec("afoo"))
	s.Put(function, "a", "unreadable", followtest.Object{"interfaceId": 5})
	s.Put(function, "a", "z", spec("region"))
	s.Refuse(function, "a", "odd", "spec.mode: Unsupported value")
	r := start(t, s, 1000)
	r.lead()
	r.until("the other", map[string]string{"AcceleratorFunction/a/z": good, "AcceleratorFunction/a/odd": "none", "AcceleratorFunction/a/unreadable": "none"})
	told := func() int {
		n := 0
		for _, e := range r.logs.AllEntries() {
			if strings.Contains(e.Message, "refuses this mapping's status") && e.Level == logrus.WarnLevel {
				n++
			}
		}
		return n
	}
	until(t, "told", func() bool { return told() == 2 })
	s.Compact()
	s.Cut()
	time.Sleep(time.Second)
	r.quiet("listed anew")
	if n := told(); n != 2 || s.Requests("put") != 2 {
		t.Errorf("told %d times, %d writes", n, s.Requests("put"))
	}
	s.Refuse(function, "a", "odd", "")
	s.Put(function, "a", "odd", spec("region"))
	s.Put(function, "a", "unreadable", spec("region"))
	r.until("changed", map[string]string{"AcceleratorFunction/a/odd": good, "AcceleratorFunction/a/unreadable": good})
}

func TestAnAPIServerThatComesBackIsWrittenTo(t *testing.T) {
	s := followtest.Start(t, followtest.Options{})
	r := start(t, s, 1000)
	r.lead()
	until(t, "in step", func() bool { return len(r.index.Missing()) == 0 })
	s.Put(function, "a", "f", spec("region"))
	s.SetDown(http.StatusServiceUnavailable)
	time.Sleep(300 * time.Millisecond)
	s.Put(function, "a", "g", spec("region"))
	s.SetDown(0)
	r.until("back", map[string]string{"AcceleratorFunction/a/f": good, "AcceleratorFunction/a/g": good})
	r.quiet("back")
}

func TestWritesKeepTheirPace(t *testing.T) {
	s := followtest.Start(t, followtest.Options{})
	for i := range 40 {
		s.Put(function, "a", fmt.Sprint("f", i), spec("region"))
	}
	r := start(t, s, 20)
	began := time.Now()
	r.lead()
	until(t, "all written", func() bool { return s.Requests("put") == 40 })
	// 20 at once, the others at 20 a second.
	if d := time.Since(began); d < 900*time.Millisecond {
		t.Errorf("40 objects in %v", d)
	}
}

func TestTenThousandMappingsAreLittleToRemember(t *testing.T) {
	var functions []v2.Object
	for n := range 1000 {
		for i := range 10 {
			functions = append(functions, &v2.AcceleratorFunction{
				ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("team-%04d-namespace", n), Name: fmt.Sprintf("accelerator-function-%d", i)},
				Spec:       v2.AcceleratorFunctionSpec{Mode: "region", InterfaceID: iface, AfuID: nlb0},
			})
		}
	}
	index := mappings.NewIndex()
	index.Handler(function).Replace(functions)
	before := heap()
	w := status.New(status.Config{Log: logrus.New()}, index)
	w.Handler(function).Replace(functions)
	live := heap() - before
	t.Logf("10,000 mappings: %.2f MiB live beside the tables", float64(live)/(1<<20))
	if live > 4<<20 {
		t.Error("more than 4 MiB")
	}
	runtime.KeepAlive(functions)
	runtime.KeepAlive(w)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
