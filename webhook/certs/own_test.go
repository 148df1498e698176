package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shake makes a connection as an API server does that has this bundle.
func shake(t *testing.T, s Source, bundle, name string) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(bundle))
	a, b := net.Pipe()
	defer a.Close()
	// A client that refuses sends an alert while the server still writes: a pipe without a buffer holds both.
	for _, end := range []net.Conn{a, b} {
		if err := end.SetDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan error, 1)
	go func() {
		defer b.Close()
		served <- tls.Server(b, &tls.Config{GetCertificate: s.GetCertificate, MinVersion: tls.VersionTLS12}).Handshake()
	}()
	c := tls.Client(a, &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12})
	err := c.Handshake()
	a.Close()
	_ = <-served //nolint:staticcheck // errcheck wants the blank: what the client says is enough
	return err
}

func TestReplicasThatStartTogetherEndWithOneCA(t *testing.T) {
	for _, absent := range []bool{false, true} {
		t.Run(fmt.Sprintf("Secret absent %t", absent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				if absent {
					w.secret = nil
				}
				w.meet = func(string, string) fault { time.Sleep(10 * time.Millisecond); return fine }
				var all []*replica
				for i := range 3 {
					r := w.start(t, fmt.Sprint("r", i), shortPolicy())
					defer r.stop()
					all = append(all, r)
				}
				if _, err := all[0].GetCertificate(nil); err == nil {
					t.Error("a certificate before anything was read")
				}
				if m := strings.Join(all[0].Missing(), "\n"); !strings.Contains(m, "no certificate yet") {
					t.Errorf("missing: %s", m)
				}
				until(t, time.Second, "all ready", func() bool {
					return !slices.ContainsFunc(all, func(r *replica) bool { return len(r.Missing()) > 0 })
				})
				for _, r := range all {
					if !r.leaf().Equal(all[0].leaf()) {
						t.Error("two leaves")
					}
					for i := range 2 {
						for _, name := range []string{"hook.ns.svc", "hook.ns.svc.cluster.local"} {
							if err := shake(t, r, w.bundle(i), name); err != nil {
								t.Errorf("%s by configuration %d: %v", name, i, err)
							}
						}
						if err := shake(t, r, w.bundle(i), "hook.other.svc"); err == nil {
							t.Error("a certificate for another namespace's service")
						}
					}
				}
				if n := strings.Count(w.bundle(0), "BEGIN"); n != 1 || w.bundle(1) != w.bundle(0) {
					t.Errorf("%d CAs", n)
				}
			})
		})
	}
}

// stage says where a rotation stands.
func stage(w *fakeWorld, p Policy) string {
	c := parse(w.data(), time.Now(), p)
	switch {
	case c.ca == nil || c.leaf == nil:
		return "broken: " + strings.Join(c.problems, "; ")
	case !c.rotated():
		return fmt.Sprintf("joined, %d CAs", len(c.bundle))
	case len(c.bundle) > 1:
		return fmt.Sprintf("issued, %d CAs", len(c.bundle))
	}
	return "steady"
}

func TestANewCAComesInStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := newFakeWorld(), shortPolicy()
		r := w.start(t, "r", p)
		defer r.stop()
		time.Sleep(time.Minute)
		first := r.leaf().Issuer.CommonName
		began := time.Now()
		type change struct {
			Stage string
		}
		var got []change
		var at []time.Time
		for time.Since(began) < 30*time.Minute {
			if s := stage(w, p); len(got) == 0 || got[len(got)-1].Stage != s {
				got = append(got, change{Stage: s})
				at = append(at, time.Now())
			}
			if err := w.violation([]*replica{r}, p, p.Overlap/2, 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		want := []change{{Stage: "steady"}, {Stage: "joined, 2 CAs"}, {Stage: "issued, 2 CAs"}, {Stage: "steady"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		for i := 2; i < 4; i++ {
			// It was looked at every second, so a stage may have begun up to a second before it was seen.
			if d := at[i].Sub(at[i-1]); d < p.Overlap-time.Second || d > p.Overlap+5*time.Second {
				t.Errorf("%s after %s", got[i].Stage, d)
			}
		}
		if r.leaf().Issuer.CommonName == first {
			t.Error("still a leaf of the first CA")
		}
		if strings.Count(w.bundle(0), "BEGIN") != 1 || w.bundle(0) != w.bundle(1) {
			t.Error("the old CA is still in the configurations")
		}
		if left := time.Until(r.NotAfter()); left < p.RotateBefore || left > p.Validity {
			t.Errorf("certificate for %s", left)
		}
	})
}

// TestAProcessMayDieAtEveryStep has each single call of a whole rotation fail, in each way, with and without the process
// dying of it.
func TestAProcessMayDieAtEveryStep(t *testing.T) {
	var calls map[string]int
	synctest.Test(t, func(t *testing.T) { calls = oneRotation(t, "without a fault", fine, false, "", 0) })
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		tries := calls[call]
		writes := call == "write secret" || call == "set bundle"
		if !writes {
			tries = min(tries, 2) // of hundreds, most of which find nothing new
		}
		for i := range tries {
			n := i * calls[call] / tries
			for _, f := range []fault{failBefore, failAfter, stall} {
				for _, dies := range []bool{false, true} {
					if testing.Short() && (f != failAfter || !dies) {
						continue
					}
					if f == stall && dies || f == failAfter && !writes {
						continue // the same as failBefore
					}
					name := fmt.Sprintf("call %q %d fails by %d, process dies %t", call, n, f, dies)
					synctest.Test(t, func(t *testing.T) { oneRotation(t, name, f, dies, call, n) })
				}
			}
		}
	}
}

// oneRotation begins with nothing and ends with the second CA. The n-th such call meets the fault.
func oneRotation(t *testing.T, name string, f fault, dies bool, call string, n int) map[string]int {
	w, p := newFakeWorld(), shortPolicy()
	died := make(chan struct{}, 1)
	count := map[string]int{}
	armed := f != fine
	w.meet = func(_, c string) fault {
		w.mu.Lock()
		defer w.mu.Unlock()
		count[c]++
		if !armed || c != call || count[c] != n+1 {
			return fine
		}
		armed = false
		if dies {
			died <- struct{}{}
		}
		return f
	}
	r := w.start(t, "r", p)
	defer func() { r.stop() }()
	time.Sleep(time.Minute)
	other := w.start(t, "other", p)
	defer other.stop()
	for end := time.Now().Add(27 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Second) {
		select {
		case <-died:
			r.stop()
			r = w.start(t, "r", p)
		default:
		}
		if err := w.violation([]*replica{r, other}, p, p.Overlap/2, 0); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if s := stage(w, p); s != "steady" || w.bundle(0) != string(w.data()[keyBundle]) || w.bundle(0) != w.bundle(1) {
		t.Fatalf("%s: ends %s\n%s", name, s, strings.Join(r.log(), "\n"))
	}
	if m := append(r.Missing(), other.Missing()...); len(m) > 0 {
		t.Fatalf("%s: ends with %v", name, m)
	}
	return count
}

// TestNoClientMeetsACertificateThatItDoesNotTrust has three replicas in a world where calls take random times, fail
// before or after they are done, or are never answered; replicas are cut off, killed and started; the Secret is deleted
// or damaged; a configuration is deleted and created.
func TestNoClientMeetsACertificateThatItDoesNotTrust(t *testing.T) {
	runs := uint64(4)
	if testing.Short() {
		runs = 2
	}
	for seed := range runs {
		synctest.Test(t, func(t *testing.T) { randomRun(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func randomRun(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	w, p := newFakeWorld(), shortPolicy()
	cut := map[string]time.Time{}
	dice := func(n int) int { w.mu.Lock(); defer w.mu.Unlock(); return rng.IntN(n) }
	w.meet = func(replica, call string) fault {
		if dice(3) == 0 {
			time.Sleep(time.Duration(dice(2000)) * time.Millisecond)
		}
		w.mu.Lock()
		off := time.Now().Before(cut[replica])
		w.mu.Unlock()
		switch n := dice(60); {
		case off && n < 30:
			return failBefore
		case off || n == 0:
			return stall
		case n == 1:
			return failBefore
		case n == 2:
			return failAfter
		}
		return fine
	}
	var events []string
	var all []*replica
	for i := range 3 {
		all = append(all, w.start(t, fmt.Sprint("r", i), p))
	}
	defer func() {
		for _, r := range all {
			r.stop()
		}
	}()
	check := func() {
		if err := w.violation(all, p, p.Overlap/2, p.Overlap/4); err != nil {
			for _, r := range all {
				t.Logf("%s:\n%s", r.name, strings.Join(r.log()[max(0, len(r.log())-15):], "\n"))
			}
			t.Fatalf("seed %d, %s: %v\n%s", seed, time.Now(), err, strings.Join(events[max(0, len(events)-10):], "\n"))
		}
	}
	cas := map[string]bool{}
	for range 4 * 60 * 30 { // four hours
		time.Sleep(2 * time.Second)
		check()
		if leaf := all[0].leaf(); leaf != nil {
			cas[leaf.Issuer.CommonName] = true
		}
		if dice(150) != 0 {
			continue
		}
		what, i := dice(7), dice(3)
		events = append(events, fmt.Sprintf("%s event %d on %d", time.Now(), what, i))
		switch what {
		case 0: // killed and started
			all[i].stop()
			all[i] = w.start(t, all[i].name, p)
		case 1, 2: // cut off, also for longer than a rotation lasts
			w.mu.Lock()
			cut[all[i].name] = time.Now().Add(time.Duration(rng.IntN(int(4 * p.Overlap))))
			w.mu.Unlock()
		case 3: // a configuration goes
			w.change(func() { w.configs[i%2] = nil })
		case 4:
			if w.config(i%2) == nil {
				w.create(i % 2)
			}
		case 5: // the Secret goes while somebody serves; without anybody there is nothing to keep
			if slices.ContainsFunc(all, func(r *replica) bool { return len(r.Missing()) == 0 && time.Now().After(cut[r.name].Add(time.Minute)) }) {
				w.change(func() { w.secret = nil })
			}
		case 6: // a key of the CA is damaged: a rotation out of turn
			w.change(func() {
				if w.secret != nil && w.secret.Data != nil {
					data := maps.Clone(w.secret.Data)
					data[keyCAKey] = []byte("x")
					w.secret = &Secret{ResourceVersion: fmt.Sprint(w.rv + 1), Data: data}
				}
			})
		}
	}
	if len(cas) < 4 {
		t.Errorf("seed %d: only %d CAs in four hours", seed, len(cas))
	}
}
