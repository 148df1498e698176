package lease_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/webhook/lease"
)

func TestOneOfManyLeadsAndStays(t *testing.T) {
	bubble(t, func(t *testing.T, g *group) {
		var all []*replica
		for i := range 4 {
			all = append(all, g.start(fmt.Sprint("replica-", i)))
		}
		g.pass(toTake)
		first := g.stored()
		g.pass(10 * time.Minute)
		times := int32(0)
		for _, r := range all {
			times += r.began.Load()
			if r.leads.Load() != (r.id == first) {
				t.Errorf("%s leads: %v, and first did %s", r.id, r.leads.Load(), first)
			}
			if w := r.warnings(); len(w) > 0 {
				t.Errorf("%s: %q", r.id, w)
			}
		}
		l := g.lease()
		if times != 1 || *l.Spec.LeaseTransitions != 0 || *l.Spec.LeaseDurationSeconds != 15 || time.Since(l.Spec.RenewTime.Time) > lease.Retry {
			t.Errorf("%d terms; %+v", times, l.Spec)
		}
		// Who leads only writes, every 2 s; three others look every 2 to 4.4 s.
		if n := g.server.Requests(http.MethodPut); n < 290 || n > 310 {
			t.Errorf("%d writes in ten minutes", n)
		}
		if n := g.server.Requests(http.MethodGet); n > 900 || n < 400 {
			t.Errorf("%d reads in ten minutes", n)
		}
	})
}

func TestWhoIsToldToEndGivesTheLeaseBackWhenItsWorkHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T, g *group) {
		a := g.start("a")
		g.pass(toTake)
		b := g.start("b")
		g.pass(time.Minute)
		a.must(true, "first")
		b.must(false, "first")
		a.stop() // work makes sure that the Lease is a's until its end
		if g.stored() != "" {
			t.Errorf("the Lease has %q", g.stored())
		}
		g.pass(toTake)
		b.must(true, "after")
		l := g.lease()
		if *l.Spec.LeaseTransitions != 1 || time.Since(l.Spec.AcquireTime.Time) > toTake {
			t.Errorf("%+v", l.Spec)
		}
	})
}

func TestWhoIsKilledIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, g *group) {
		a := g.start("a")
		g.pass(toTake)
		b := g.start("b")
		g.pass(time.Minute)
		cut := time.Now()
		a.server.meet(fails("no route to host"), nil) // it does not know that it is dead
		g.pass(lease.Deadline + time.Second)
		a.must(false, "after its deadline")
		if late := a.ended.Sub(cut); late > lease.Deadline+time.Second {
			t.Errorf("it worked for %v", late)
		}
		g.pass(time.Until(cut.Add(lease.Duration-lease.Retry)) - time.Millisecond) // it may have been renewed a Retry ago
		b.must(false, "before the Lease has ended")
		g.pass(lease.Retry + 2*toTake)
		b.must(true, "then")
		a.server.meet(nil, nil)
		g.pass(time.Minute)
		a.must(false, "come back")
	})
}

func TestAnOutageOfTheAPIServer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		lasts  time.Duration
		answer func(*http.Request) int
		terms  int32
	}{
		{"is sat out", lease.Deadline / 2, func(*http.Request) int { return http.StatusServiceUnavailable }, 1},
		{"that is too long ends the work", lease.Deadline + time.Second, func(*http.Request) int { return http.StatusServiceUnavailable }, 2},
		{"without answers is sat out", lease.Deadline / 2, silent, 1},
		{"without answers that is too long ends the work", lease.Deadline + time.Second, silent, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, g *group) {
				a := g.start("a")
				g.pass(toTake + time.Minute)
				g.server.Intercept(tt.answer)
				g.pass(tt.lasts)
				a.must(tt.terms == 1, "at its end")
				g.server.Intercept(nil)
				g.pass(time.Minute)
				a.must(true, "after it")
				if n := a.began.Load(); n != tt.terms {
					t.Errorf("%d terms", n)
				}
				if w := a.warnings(); len(w) != 1 || !strings.Contains(w[0], "cannot be had") {
					t.Errorf("said %q", w)
				}
			})
		})
	}
}

func TestAWriteInBetweenIsNoLossAndStays(t *testing.T) {
	bubble(t, func(t *testing.T, g *group) {
		a, b := g.start("a"), g.start("b")
		g.pass(time.Minute)
		for range 30 {
			l := g.lease()
			l.Labels = map[string]string{"team": "x"}
			g.server.Put(path, &l)
			g.pass(5 * time.Second)
		}
		if a.began.Load()+b.began.Load() != 1 {
			t.Errorf("%d and %d terms", a.began.Load(), b.began.Load())
		}
		l := g.lease()
		if l.Labels["team"] != "x" {
			t.Error("the label is gone")
		}
		l.Labels["team"] = "y"
		g.server.Put(path, &l)
		b.stop()
		a.stop()
		if l := g.lease(); l.Labels["team"] != "y" || g.stored() != "" {
			t.Errorf("given back: %+v", l)
		}
	})
}

func TestALostAnswerIsNoLoss(t *testing.T) {
	bubble(t, func(t *testing.T, g *group) {
		reset := fails("connection reset by peer")
		a := g.startWith("a", reset)
		g.pass(toTake)
		a.must(false, "it does not know that it leads")
		n := 0
		a.server.meet(nil, func(r *http.Request) error {
			if n++; n%3 == 0 {
				return reset(r)
			}
			return nil
		})
		g.pass(5 * time.Minute)
		a.must(true, "with every third answer lost")
		if n := a.began.Load(); n != 1 || *g.lease().Spec.LeaseTransitions != 0 {
			t.Errorf("%d terms, %+v", n, g.lease().Spec)
		}
	})
}

func TestWhatTimeItIsForOthersDoesNotMatter(t *testing.T) {
	for _, skew := range []time.Duration{-1000 * time.Hour, 0, 1000 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, g *group) {
				g.put("other", time.Now().Add(skew), 20)
				a := g.start("a")
				for range 30 {
					g.pass(10 * time.Second)
					g.put("other", time.Now().Add(skew), 20)
				}
				a.must(false, "while another renews")
				g.pass(19 * time.Second)
				a.must(false, "before the other's Lease has ended")
				g.pass(time.Second + 2*toTake)
				a.must(true, "after it has")
			})
		})
	}
}

func TestWhoComesLateWaitsForAWholeTerm(t *testing.T) {
	bubble(t, func(t *testing.T, g *group) {
		g.put("other", time.Now().Add(-time.Minute), 15)
		a := g.start("a")
		g.pass(14 * time.Second)
		a.must(false, "it has seen nothing for 14 s")
		g.pass(time.Second + toTake)
		a.must(true, "then")
	})
}

func TestALeaseThatIsTakenAwayEndsTheWork(t *testing.T) {
	bubble(t, func(t *testing.T, g *group) {
		a := g.start("a")
		g.pass(toTake + time.Minute)
		a.robbed.Store(true)
		g.put("other", time.Now(), 15)
		g.pass(lease.Retry + time.Second) // the second is its work's
		a.must(false, "the Lease has another's name")
		g.pass(10 * time.Second)
		if got := g.stored(); got != "other" {
			t.Errorf("the Lease has %q", got)
		}
	})
}

func TestALeaseThatIsDeletedIsMadeAnew(t *testing.T) {
	bubble(t, func(t *testing.T, g *group) {
		a := g.start("a")
		g.pass(toTake + time.Minute)
		g.server.Delete(path)
		g.pass(3 * lease.Retry)
		a.must(true, "after that")
		if g.stored() != "a" || a.began.Load() != 1 {
			t.Errorf("the Lease has %q, %d terms", g.stored(), a.began.Load())
		}
	})
}

func TestARenewalUnderWayDoesNotKeepTheLeaseFromBeingGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T, g *group) {
		a := g.start("a")
		g.pass(toTake + time.Minute)
		a.server.meet(nil, func(r *http.Request) error { // it is done, and the answer comes too late
			if r.Method == http.MethodPut {
				a.server.meet(nil, nil)
				<-r.Context().Done()
				return r.Context().Err()
			}
			return nil
		})
		g.pass(lease.Retry)
		a.stop()
		if got := g.stored(); got != "" {
			t.Errorf("the Lease has %q", got)
		}
	})
}

func TestARightThatIsMissingIsToldOnceAndWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, g *group) {
		g.server.Intercept(func(*http.Request) int { return http.StatusForbidden })
		a := g.start("a")
		g.pass(10 * time.Minute)
		if w := a.warnings(); len(w) != 1 {
			t.Errorf("said %q", w)
		}
		g.server.Intercept(nil)
		g.pass(toTake)
		a.must(true, "then")
	})
}
