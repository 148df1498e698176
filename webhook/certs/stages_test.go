package certs

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// untilStage waits for a stage while nobody meets what he does not trust.
func untilStage(t *testing.T, w *fakeWorld, all []*replica, p Policy, prefix string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Minute); !strings.HasPrefix(stage(w, p), prefix); time.Sleep(time.Second) {
		if err := w.violation(all, p, p.Overlap/2, p.Overlap/4); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatalf("still %s, not %s", stage(w, p), prefix)
		}
	}
}

func TestAReplicaThatIsCutOffIsNotReadyBeforeItsCALeaves(t *testing.T) {
	for _, before := range []string{"steady", "joined"} {
		for _, into := range []time.Duration{0, 30 * time.Second, 110 * time.Second} {
			t.Run(fmt.Sprintf("%s %s", before, into), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, all := running(t)
					p := shortPolicy()
					if before == "joined" {
						untilStage(t, w, all, p, before)
					} else {
						time.Sleep(15 * time.Minute)
					}
					time.Sleep(into)
					w.mu.Lock()
					w.meet = func(replica, _ string) fault {
						if replica == "a" {
							return failBefore
						}
						return fine
					}
					w.mu.Unlock()
					untilStage(t, w, all, p, "issued")
					time.Sleep(time.Second)
					if all[0].leaf().Equal(all[1].leaf()) {
						t.Fatal("a was not cut off")
					}
					untilStage(t, w, all, p, "steady")
					if len(all[0].Missing()) == 0 || len(all[1].Missing()) > 0 {
						t.Errorf("a: %v, b: %v", all[0].Missing(), all[1].Missing())
					}
				})
			})
		}
	}
}

// A change that is undone before anybody looks leaves only the generation behind.
func TestANewCAWaitsAnewWhenABundleWasAwayForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, all := running(t)
		p := shortPolicy()
		old := w.bundle(0)
		untilStage(t, w, all, p, "joined")
		time.Sleep(p.Overlap - 10*time.Second)
		w.change(func() {
			with := w.configs[0].Entries[0].CABundle
			w.configs[0] = w.configs[0].with([]byte(old), w.rv+1)
			w.past = append(w.past, bundles{at: time.Now(), each: [][]byte{[]byte(old)}})
			w.configs[0] = w.configs[0].with(with, w.rv+1)
		})
		began := time.Now()
		untilStage(t, w, all, p, "issued")
		if d := time.Since(began); d < p.Overlap {
			t.Errorf("issued after %s", d)
		}
	})
}

// A request may be carried out long after its sender gave it up.
func TestALateWriteDoesNotBringAnOldBundleBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, all := running(t)
		p := shortPolicy()
		old := w.config(0)
		bundle := []byte(w.bundle(0))
		w.setBundle(0, nil) // what the late write was to mend
		stale := w.config(0)
		untilStage(t, w, all, p, "issued")
		for _, c := range []*Configuration{old, stale} {
			if err := (registration{client{w, "late"}, 0}).SetBundle(t.Context(), c, bundle); err == nil {
				t.Error("an old bundle is back")
			}
		}
		untilStage(t, w, all, p, "steady")
	})
}
