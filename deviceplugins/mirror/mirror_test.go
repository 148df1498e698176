package mirror

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/policy"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}

func TestTheFileIsFirstWrittenWhenEverythingIsInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := started(t, iface, other)
		r.functions(iface).all(function("video", "encode", "region", iface, nlb0), function("video", "scale", "af", iface, nlb3))
		r.regions(iface).all()
		r.functions(other).all()
		soon()
		r.want("")
		if got := strings.Join(r.Missing(), "\n"); got != "policy: FpgaRegions of interface "+other+" were never in step with the API server" {
			t.Errorf("missing: %q", got)
		}
		r.regions(other).Replace([]v2.Object{region("lab", "bench", other)})
		soon()
		r.want("") // it was told, but not that it is in step
		r.regions(other).InStep(time.Now())
		soon()
		now := time.Now().Add(-50 * time.Millisecond).UTC().Truncate(time.Second)
		want := &policy.Policy{Format: 1, Synced: now, Namespaces: map[string]policy.Namespace{
			"video": {Functions: []policy.Function{
				{Name: "encode", Interface: iface, Function: nlb0, Mode: policy.ModeRegion},
				{Name: "scale", Interface: iface, Function: nlb3, Mode: policy.ModeAF},
			}},
			"lab": {Regions: []policy.Region{{Name: "bench", Interface: other}}},
		}}
		if diff := cmp.Diff(want, r.want("lab/bench video/encode video/scale")); diff != "" {
			t.Errorf("file (-want +got):\n%s", diff)
		}
		if lines := r.Missing(); len(lines) > 0 {
			t.Errorf("missing: %q", lines)
		}
		for path, want := range map[string]os.FileMode{r.file: 0o600, filepath.Dir(r.file): 0o700 | os.ModeDir} {
			if st, err := os.Stat(path); err != nil || st.Mode() != want {
				t.Errorf("%s: %v, %v", path, st.Mode(), err)
			}
		}
		if r.counts.now().ok != 1 || r.counts.now().held != 3 || r.counts.now().synced.Unix() != now.Unix() {
			t.Errorf("counted %+v", r.counts.now())
		}
	})
}

func TestAChangeIsInTheFileWithin50Milliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := started(t, iface)
		r.functions(iface).all(function("a", "one", "region", iface, nlb0))
		r.regions(iface).all()
		soon()
		for _, c := range []struct {
			change func()
			want   string
		}{
			{func() { r.functions(iface).upsert(function("a", "two", "region", iface, nlb3)) }, "a/one a/two"},
			{func() { r.regions(iface).upsert(region("b", "three", iface)) }, "a/one a/two b/three"},
			{func() { r.functions(iface).remove("a", "one") }, "a/two b/three"},
			{func() { r.functions(iface).upsert(function("a", "two", "regions", iface, nlb3)) }, "b/three"},
			{func() { r.functions(iface).upsert(function("a", "two", "af", iface, nlb0)) }, "a/two b/three"},
			{func() { r.functions(iface).all() }, "b/three"},
			{func() { r.regions(iface).remove("b", "three") }, "nothing"},
		} {
			before := r.counts.now().ok
			c.change()
			soon()
			r.want(c.want)
			if n := r.counts.now().ok - before; n != 1 {
				t.Errorf("%s: %d writes", c.want, n)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestChangesThatComeTogetherAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := started(t, iface)
		r.functions(iface).all()
		r.regions(iface).all()
		time.Sleep(time.Second)
		before := r.counts.now().ok
		for i := range 500 {
			r.functions(iface).upsert(function("a", fmt.Sprintf("f%03d", i), "region", iface, nlb0))
			time.Sleep(200 * time.Microsecond)
		}
		soon()
		if n := len(namesOf(r.want(strings.Join(namesOf500(), " ")))); n != 500 {
			t.Errorf("%d mappings", n)
		}
		if n := r.counts.now().ok - before; n > 6 {
			t.Errorf("%d writes in 100 ms", n)
		}
	})
}

func namesOf500() []string {
	var names []string
	for i := range 500 {
		names = append(names, fmt.Sprintf("a/f%03d", i))
	}
	return names
}

func TestWhatChangesNoGrantIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := started(t, iface)
		objects := []v2.Object{function("a", "one", "region", iface, nlb0), function("a", "bad", "afoo", iface, nlb0)}
		r.functions(iface).all(objects...)
		r.regions(iface).all()
		soon()
		r.want("a/one")
		before := r.counts.now().ok
		r.functions(iface).upsert(objects[0]) // its status was written
		r.functions(iface).upsert(objects[1])
		r.functions(iface).upsert(function("a", "foreign", "region", other, nlb0))
		r.functions(iface).remove("a", "never-told")
		r.functions(iface).all(objects[1], objects[0])
		soon()
		r.want("a/one")
		if n := r.counts.now().ok - before; n != 0 {
			t.Errorf("%d writes", n)
		}
	})
}

func TestTheTimeGoesOnWhileInStepAndStandsStillWhileTheAPIServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := started(t, iface)
		r.functions(iface).all(function("a", "one", "region", iface, nlb0))
		time.Sleep(30 * time.Second)
		r.regions(iface).all()
		soon()
		minute := func(tell ...*scripted) {
			for _, s := range tell {
				s.InStep(time.Now())
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		before := r.counts.now().ok
		for range 10 {
			minute(r.functions(iface), r.regions(iface))
			if age := time.Since(r.want("a/one").Synced); age > 6*time.Minute {
				t.Errorf("in step, and the file is %v old", age)
			}
		}
		if n := r.counts.now().ok - before; n < 1 || n > 2 {
			t.Errorf("%d writes in ten minutes", n)
		}
		r.functions(iface).Away(errors.New("connection refused"))
		stood := r.want("a/one").Synced
		for range 10 {
			minute(r.regions(iface)) // the other half may go on
		}
		// A change of the other half counts, and says nothing new of the age.
		r.regions(iface).upsert(region("a", "two", iface))
		soon()
		if p := r.want("a/one a/two"); p.Synced.Sub(stood) > 5*time.Minute {
			t.Errorf("away, and the time went on from %v to %v", stood, p.Synced)
		}
		if lines := r.Missing(); len(lines) > 0 {
			t.Errorf("an API server that is away is no news: %q", lines)
		}
		r.functions(iface).all() // "one" was deleted meanwhile
		soon()
		if p := r.want("a/two"); time.Since(p.Synced) > 2*time.Second {
			t.Errorf("in step again, and the file is %v old", time.Since(p.Synced))
		}
	})
}

func TestACardThatAppearsLaterAddsItsMappingsWhenTheyAreInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := started(t, iface)
		r.functions(iface).all(function("a", "one", "region", iface, nlb0))
		r.regions(iface).all()
		soon()
		r.See(true, []fpga.InterfaceID{iface, other})
		soon()
		r.functions(other).Away(errors.New("forbidden"))
		r.regions(other).Replace([]v2.Object{region("a", "late", other)})
		r.functions(iface).upsert(function("a", "two", "region", iface, nlb3))
		soon()
		r.want("a/one a/two")
		if got := strings.Join(r.Missing(), "\n"); !strings.Contains(got, "AcceleratorFunctions of interface "+other+" were never in step with the API server: forbidden") {
			t.Errorf("missing: %q", got)
		}
		r.regions(other).InStep(time.Now())
		soon()
		r.want("a/late a/one a/two")
		r.functions(other).all(function("b", "more", "af", other, nlb0))
		soon()
		r.want("a/late a/one a/two b/more")

		r.See(true, []fpga.InterfaceID{other}) // the first card is in reset
		r.See(false, nil)                      // and now the other one
		r.functions(iface).upsert(function("a", "three", "region", iface, nlb3))
		soon()
		r.want("a/late a/one a/three a/two b/more")
		r.See(true, []fpga.InterfaceID{iface, other})
		soon()
		for key, s := range r.sources {
			if s.runs != 1 {
				t.Errorf("%s was begun %d times", key, s.runs)
			}
		}
	})
}

func TestAWriteThatFailsIsToldOnceAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := started(t, iface)
		var mu sync.Mutex
		var reason error
		fails := func(with error) {
			mu.Lock()
			defer mu.Unlock()
			reason = with
		}
		real := r.put
		r.put = func(file string, text []byte, changed bool) error {
			mu.Lock()
			defer mu.Unlock()
			if reason != nil {
				return fmt.Errorf("%s cannot be written: %w", file, reason)
			}
			return real(file, text, changed)
		}
		r.functions(iface).all(function("a", "one", "region", iface, nlb0))
		r.regions(iface).all()
		soon()
		fails(syscall.ENOSPC)
		r.functions(iface).upsert(function("a", "two", "region", iface, nlb0))
		for range 10 {
			time.Sleep(time.Minute)
			r.functions(iface).InStep(time.Now())
			r.regions(iface).InStep(time.Now())
		}
		synctest.Wait()
		if n := r.logged("the policy file stays as it is"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		if n := r.counts.now().failed; n < 12 || n > 20 {
			t.Errorf("%d tries in ten minutes", n)
		}
		if got := strings.Join(r.Missing(), "\n"); got != "policy: "+r.file+" cannot be written: no space left on device" {
			t.Errorf("missing: %q", got)
		}
		r.want("a/one")
		fails(syscall.EROFS)
		before := r.counts.now().failed
		r.functions(iface).remove("a", "one") // a change is tried at once
		soon()
		if n := r.logged("the policy file stays as it is"); n != 2 || r.counts.now().failed > before+2 {
			t.Errorf("another reason: logged %d times, %d tries", n, r.counts.now().failed-before)
		}
		fails(nil)
		time.Sleep(lastRetry * 2)
		synctest.Wait()
		r.want("a/two")
		if lines := r.Missing(); len(lines) > 0 {
			t.Errorf("missing: %q", lines)
		}
	})
}

func TestWithoutCardsNothingIsFollowedAndAnEmptyFileIsWrittenIfThereIsNone(t *testing.T) {
	for name, before := range map[string]string{"no file": "", "a file of before": `{"format":1,"namespaces":{}}`, "something else": "?"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, filepath.Join(t.TempDir(), "policy.json"))
				if before != "" {
					if err := os.WriteFile(r.file, []byte(before), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				r.run()
				time.Sleep(time.Minute)
				if _, err := os.Stat(r.file); (err == nil) != (before != "") {
					t.Error("something was written before anybody looked for cards")
				}
				for range 10 {
					r.See(false, nil)
					time.Sleep(time.Minute)
				}
				if before == "" {
					r.want("nothing")
				} else if b, err := os.ReadFile(r.file); err != nil || string(b) != before {
					t.Errorf("%s, %v", b, err)
				}
				if len(r.sources) != 0 || len(r.Missing()) != 0 || r.counts.now().ok > 1 {
					t.Errorf("sources %v, missing %q, counted %+v", r.sources, r.Missing(), r.counts.now())
				}
				r.See(true, nil) // a card whose id cannot be read
				r.See(true, []fpga.InterfaceID{iface})
				synctest.Wait()
				r.functions(iface).all(function("a", "one", "region", iface, nlb0))
				r.regions(iface).all()
				soon()
				r.want("a/one")
			})
		})
	}
}

func TestASickCardIsNoReasonForAnEmptyFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := started(t)
		time.Sleep(time.Minute)
		r.want("")
	})
}
