package mappings

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	logrustest "github.com/sirupsen/logrus/hooks/test"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	webhook "github.com/inlay-project/inlay/webhook/fpga"
	"github.com/inlay-project/inlay/webhook/jsonread"
)

// server answers questions, each after a while.
type server struct {
	mu      sync.Mutex
	has     []v2.Object
	err     error
	takes   time.Duration
	asked   []string // "Kind namespace/name", or the ids in the name's place
	now     int
	atATime int // requests under way, at most
}

func (s *server) ask(ctx context.Context, kind v2.Kind, namespace string, q webhook.Sought) ([]v2.Object, error) {
	s.mu.Lock()
	s.asked = append(s.asked, fmt.Sprintf("%s %s/%s%s%.3s", kind, namespace, q.Name, q.Interface, q.Function))
	s.now++
	s.atATime = max(s.atATime, s.now)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []v2.Object
	for _, o := range s.has {
		target, _ := o.Lead()
		is := o.GetName() == q.Name
		if q.Name == "" {
			is = target.Interface == q.Interface && (q.Function == "" || target.Function == q.Function)
		}
		if is && o.Kind() == kind && o.GetNamespace() == namespace {
			found = append(found, o)
		}
	}
	return found, s.err
}

func (s *server) finder() *Finder {
	log, _ := logrustest.NewNullLogger()
	return NewFinder(s.ask, log)
}

func names(entries []webhook.Entry) string {
	var all []string
	for _, e := range entries {
		all = append(all, string(e.Kind)+" "+e.Name)
	}
	return strings.Join(all, ", ")
}

func named(name string) webhook.Sought { return webhook.Sought{Name: name} }

func TestWhatThePodSeeksIsAskedForAndNothingElse(t *testing.T) {
	s := &server{has: []v2.Object{
		function("ns1", "n0o", "region"), function("ns1", "n0p", "af"), region("ns1", "a10"), function("ns1", "both", "af"), region("ns1", "both"),
	}}
	for _, tt := range []struct {
		name      string
		namespace string
		sought    []webhook.Sought
		want      string
		asked     []string
	}{
		{"a function", "ns1", []webhook.Sought{named("n0o")}, "AcceleratorFunction n0o", []string{"AcceleratorFunction ns1/n0o", "FpgaRegion ns1/n0o"}},
		{"a card", "ns1", []webhook.Sought{named("a10")}, "FpgaRegion a10", []string{"AcceleratorFunction ns1/a10", "FpgaRegion ns1/a10"}},
		{"two of a name", "ns1", []webhook.Sought{named("both")}, "AcceleratorFunction both, FpgaRegion both", []string{"AcceleratorFunction ns1/both", "FpgaRegion ns1/both"}},
		{"another namespace's", "ns2", []webhook.Sought{named("n0o")}, "", []string{"AcceleratorFunction ns2/n0o", "FpgaRegion ns2/n0o"}},
		{"the second is not asked for where the first is not", "ns1", []webhook.Sought{named("x"), named("n0o")}, "", []string{"AcceleratorFunction ns1/x", "FpgaRegion ns1/x"}},
		{
			"two names", "ns1",
			[]webhook.Sought{named("n0o"), named("a10")},
			"AcceleratorFunction n0o, FpgaRegion a10",
			[]string{"AcceleratorFunction ns1/a10", "AcceleratorFunction ns1/n0o", "FpgaRegion ns1/a10", "FpgaRegion ns1/n0o"},
		},
		{
			"a region", "ns1",
			[]webhook.Sought{{Interface: iface}},
			"AcceleratorFunction n0o, AcceleratorFunction n0p, AcceleratorFunction both, FpgaRegion a10, FpgaRegion both",
			[]string{"AcceleratorFunction ns1/" + iface, "FpgaRegion ns1/" + iface},
		},
		{
			"a function by its ids", "ns1",
			[]webhook.Sought{{Interface: iface, Function: nlb0}},
			"AcceleratorFunction n0o, AcceleratorFunction n0p, AcceleratorFunction both",
			[]string{"AcceleratorFunction ns1/" + iface + "d84"},
		},
		{"a name that no object has", "ns1", []webhook.Sought{named("N3O_")}, "", nil},
		{"a name that leads elsewhere", "ns1", []webhook.Sought{named("../secrets")}, "", nil},
		{"a namespace that leads elsewhere", "ns1/../ns2", []webhook.Sought{named("n0o")}, "", nil},
		{"no namespace", "", []webhook.Sought{named("n0o")}, "", nil},
		{"an id that is none", "ns1", []webhook.Sought{{Interface: "69528db6"}}, "", nil},
		{"an id in upper case", "ns1", []webhook.Sought{{Interface: "69528DB6EB31577A8C3668F9FAA081F6"}}, "", nil},
		{"a function that selects more", "ns1", []webhook.Sought{{Interface: iface, Function: "d84,metadata.namespace=ns2"}}, "", nil},
		{"nothing", "ns1", nil, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s.asked = nil
				if got := names(s.finder().Find(t.Context(), tt.namespace, tt.sought)); got != tt.want {
					t.Errorf("found %q, want %q", got, tt.want)
				}
				less := func(a, b string) bool { return a < b }
				if diff := cmp.Diff(tt.asked, s.asked, sorted(less)); diff != "" {
					t.Errorf("asked (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A Deployment with a wrong name: its ReplicaSet tries again and again, and 500 pods come at once.
func TestAStormOfAWrongNameIsTwoRequestsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{takes: 5 * time.Millisecond}
		f := s.finder()
		var pods sync.WaitGroup
		for i := range 5000 { // 500 at once, and again each 300 ms
			pods.Go(func() {
				time.Sleep(time.Duration(i/500) * 300 * time.Millisecond)
				if got := f.Find(t.Context(), "ns1", []webhook.Sought{named("wrong")}); len(got) > 0 {
					t.Errorf("found %v", got)
				}
			})
		}
		began := time.Now()
		pods.Wait()
		if took := time.Since(began); took > 2710*time.Millisecond || len(s.asked) != 2*3 {
			t.Errorf("%d requests in %v; want 2 a second", len(s.asked), took)
		}
	})
}

// Many names, none of them there: as many as whoever wants to load the API server can think of.
func TestAStormOfManyNamesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{takes: 20 * time.Millisecond}
		f := s.finder()
		var pods sync.WaitGroup
		const seconds = 10
		for i := range seconds * 1000 {
			pods.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				f.Find(t.Context(), "ns1", []webhook.Sought{named(fmt.Sprintf("wrong-%d", i))})
			})
		}
		pods.Wait()
		if n, most := len(s.asked), 2*(100+seconds*50); n > most || n < most/2 {
			t.Errorf("%d requests, want at most %d", n, most)
		}
		if s.atATime > 2*8 {
			t.Errorf("%d requests at a time", s.atATime)
		}
		if n := len(f.answers); n > 100+50 {
			t.Errorf("%d answers are kept", n)
		}
	})
}

func TestALateMappingIsFoundByAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{takes: 5 * time.Millisecond, has: []v2.Object{function("ns1", "n0o", "region")}}
		f := s.finder()
		var pods sync.WaitGroup
		for i := range 500 {
			ctx, gone := context.WithCancel(t.Context())
			if i == 0 {
				time.AfterFunc(time.Millisecond, gone) // who asked first does not wait for the answer
			}
			defer gone()
			pods.Go(func() {
				if got := names(f.Find(ctx, "ns1", []webhook.Sought{named("n0o")})); got != "AcceleratorFunction n0o" && ctx.Err() == nil {
					t.Errorf("found %q", got)
				}
			})
			synctest.Wait()
		}
		pods.Wait()
		if len(s.asked) != 2 {
			t.Errorf("%d requests", len(s.asked))
		}
		// What was there is not remembered: it may be gone.
		s.has = nil
		if got := f.Find(t.Context(), "ns1", []webhook.Sought{named("n0o")}); len(got) > 0 {
			t.Errorf("found after its end: %v", got)
		}
	})
}

func TestWhatWasNotThereIsFoundASecondLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		f := s.finder()
		find := func() string { return names(f.Find(t.Context(), "ns1", []webhook.Sought{named("n0o")})) }
		if got := find(); got != "" {
			t.Errorf("found %q", got)
		}
		s.has = []v2.Object{function("ns1", "n0o", "region")}
		time.Sleep(againAfter - time.Millisecond)
		if got := find(); got != "" || len(s.asked) != 2 {
			t.Errorf("within the second: found %q by %d requests", got, len(s.asked))
		}
		time.Sleep(time.Millisecond)
		if got := find(); got == "" {
			t.Error("not found after a second")
		}
	})
}

// The namespace is the request's memory, which the next request takes.
func TestAnAnswerIsKeptUnderANameOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		f := s.finder()
		namespace := []byte("ns1")
		f.Find(t.Context(), jsonread.Alias(namespace), []webhook.Sought{named("n0o")})
		copy(namespace, "ns2")
		f.Find(t.Context(), "ns1", []webhook.Sought{named("n0o")})
		if len(s.asked) != 2 {
			t.Errorf("asked %v", s.asked)
		}
	})
}

func TestAnAPIServerThatDoesNotAnswerCostsNobodyMoreThanASecond(t *testing.T) {
	for name, s := range map[string]*server{
		"silent":  {takes: time.Hour},
		"refuses": {err: errors.New("too many requests")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, began := s.finder(), time.Now()
				f.Find(t.Context(), "ns1", []webhook.Sought{named("first")})
				if took := time.Since(began); took > 500*time.Millisecond {
					t.Errorf("one pod alone waits for %v", took)
				}
				time.Sleep(againAfter)
				s.asked = nil
				var pods sync.WaitGroup
				for i := range 1000 {
					pods.Go(func() {
						began := time.Now()
						got := f.Find(t.Context(), "ns1", []webhook.Sought{named(fmt.Sprintf("n%d", i)), named("n0o")})
						if took := time.Since(began); len(got) > 0 || took > time.Second {
							t.Errorf("found %v after %v", got, took)
						}
					})
				}
				pods.Wait()
				n := len(s.asked)
				if n > 2*8 || n == 0 { // what was under way when the first one failed
					t.Errorf("%d requests", n)
				}
				began = time.Now()
				f.Find(t.Context(), "ns1", []webhook.Sought{named("other")})
				if time.Since(began) > 0 || len(s.asked) != n {
					t.Error("it is asked again at once")
				}
				time.Sleep(againAfter)
				f.Find(t.Context(), "ns1", []webhook.Sought{named("other")})
				if len(s.asked) == n {
					t.Error("it is never asked again")
				}
			})
		})
	}
}
