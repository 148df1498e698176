package mirror

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	logrustest "github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/deviceplugins/sgx/epc"
	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/webhook/api/follow"
	"github.com/inlay-project/inlay/webhook/api/follow/followtest"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// enclave is a pod with a container "c" of that limit; 0 is none.
func enclave(namespace, name, uid string, limit int64) *epc.Pod {
	p := &epc.Pod{RuntimeUID: uid, Enclaves: true}
	p.Namespace, p.Name = namespace, name
	if limit > 0 {
		p.Limits = map[string]int64{"c": limit}
	}
	return p
}

// static is the copy of a static pod.
func static(namespace, name, uid string, limit int64) *epc.Pod {
	p := enclave(namespace, name, uid, limit)
	p.Static = true
	return p
}

// plain is a pod without enclaves, or one that has ended.
func plain(namespace, name string) *epc.Pod {
	p := enclave(namespace, name, "u-"+name, 0)
	p.Enclaves = false
	return p
}

// enclavesOf gives a policy's pods as "uid=namespace/name:limit"; "open" says that no enclave is limited.
func enclavesOf(p *policy.Policy) string {
	if p.EPC == nil {
		return "open"
	}
	var all []string
	for uid, pod := range p.EPC.Pods {
		line := uid + "=" + pod.Namespace + "/" + pod.Name
		for c, n := range pod.Containers {
			line += fmt.Sprintf(" %s:%d", c, n)
		}
		all = append(all, line)
	}
	if len(all) == 0 {
		return "closed"
	}
	return strings.Join(sorted(all), ", ")
}

func (r *rig) wantEnclaves(what, want string) *policy.Policy {
	r.t.Helper()
	soon()
	p, err := policy.Read(r.file, 0, time.Now())
	if err != nil {
		r.t.Fatalf("%s: %v", what, err)
	}
	if got := enclavesOf(p); got != want {
		r.t.Errorf("%s: the file holds %q, want %q", what, got, want)
	}
	return p
}

// withSGX is a rig that runs on a node with SGX and without cards.
func withSGX(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, filepath.Join(t.TempDir(), "inlay", "policy.json"))
	r.See(false, nil)
	r.SeeSGX(true)
	r.run()
	return r
}

func TestAPodsLimitIsInTheFileWithin50Milliseconds_S6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := withSGX(t)
		r.wantEnclaves("before the pods are in step", "closed")
		r.pods.InStep(time.Now())
		soon()
		if len(r.Missing()) == 0 {
			t.Error("in step with what was not told yet")
		}
		r.pods.Replace([]*epc.Pod{enclave("a", "one", "u1", 4096), plain("a", "other")})
		r.wantEnclaves("told, but not in step", "closed")
		r.pods.InStep(time.Now())
		r.wantEnclaves("in step", "u1=a/one c:4096")
		for _, c := range []struct {
			what   string
			change func()
			want   string
		}{
			{"comes", func() { r.pods.upsert(enclave("a", "two", "u2", 0)) }, "u1=a/one c:4096, u2=a/two"},
			{"of another limit", func() { r.pods.upsert(enclave("a", "two", "u2", 7)) }, "u1=a/one c:4096, u2=a/two c:7"},
			{"made anew under its name", func() { r.pods.upsert(enclave("a", "two", "u3", 7)) }, "u1=a/one c:4096, u3=a/two c:7"},
			{"has ended", func() { r.pods.upsert(plain("a", "one")) }, "u3=a/two c:7"},
			{"a static one", func() { r.pods.upsert(static("b", "s-n1", "hash", 9)) }, "hash=b/s-n1 c:9, u3=a/two c:7"},
			{"deleted", func() { r.pods.remove("a", "two") }, "hash=b/s-n1 c:9"},
			{"none is left", func() { r.pods.all() }, "closed"},
		} {
			before := r.counts.now().ok
			c.change()
			r.wantEnclaves(c.what, c.want)
			if n := r.counts.now().ok - before; n != 1 {
				t.Errorf("%s: %d writes", c.what, n)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestWhatChangesNoLimitIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := withSGX(t)
		r.pods.all(enclave("a", "one", "u1", 4096))
		r.wantEnclaves("in step", "u1=a/one c:4096")
		before := r.counts.now().ok
		r.pods.upsert(enclave("a", "one", "u1", 4096)) // its status has changed
		r.pods.upsert(plain("a", "two"))
		r.pods.remove("a", "two")
		r.pods.remove("a", "never-told")
		r.pods.all(plain("a", "two"), enclave("a", "one", "u1", 4096))
		r.wantEnclaves("afterwards", "u1=a/one c:4096")
		if n := r.counts.now().ok - before; n != 0 {
			t.Errorf("%d writes", n)
		}
	})
}

// Anybody who may create pods can make one look like the copy of a static pod with the UID of another.
func TestAPodThatClaimsAnothersUIDChangesNoLimit(t *testing.T) {
	for name, c := range map[string]struct {
		pods []*epc.Pod
		want string
	}{
		"of a pod":                {[]*epc.Pod{enclave("b", "victim", "u1", 4096), static("a", "forged", "u1", 1<<40)}, "u1=b/victim c:4096"},
		"of a pod, told later":    {[]*epc.Pod{static("a", "forged", "u1", 0), enclave("b", "victim", "u1", 4096)}, "u1=b/victim c:4096"},
		"of a static pod":         {[]*epc.Pod{static("kube-system", "s-n1", "hash", 4096), static("a", "forged", "hash", 1<<40)}, "closed"},
		"of nobody":               {[]*epc.Pod{static("a", "s", "hash", 1), enclave("b", "p", "u1", 2)}, "hash=a/s c:1, u1=b/p c:2"},
		"of a pod and one beside": {[]*epc.Pod{static("a", "forged", "u1", 1), enclave("b", "victim", "u1", 2), static("c", "s", "hash", 3)}, "hash=c/s c:3, u1=b/victim c:2"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := withSGX(t)
				r.pods.all(c.pods...)
				r.wantEnclaves("in step", c.want)
			})
		})
	}
}

func TestWithoutSGXNoPodIsAskedForAndNothingIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := started(t, iface)
		r.functions(iface).all()
		r.regions(iface).all(region("a", "r", iface))
		time.Sleep(time.Minute)
		r.wantEnclaves("without SGX", "open")
		if r.pods.runs != 0 {
			t.Error("pods are followed")
		}
		r.SeeSGX(true)
		r.wantEnclaves("from the moment that it is there", "closed")
		r.pods.all(enclave("a", "one", "u1", 4096))
		r.want("a/r")
		r.wantEnclaves("in step", "u1=a/one c:4096")
		for range 3 {
			r.SeeSGX(true)
			synctest.Wait()
		}
		if r.pods.runs != 1 {
			t.Errorf("followed %d times", r.pods.runs)
		}
	})
}

// The file's time is the mirror's promise of age: it must not be younger than anything that the file holds.
func TestWhatTheFileOfBeforeHadOfPodsStaysUntilTheyAreInStep(t *testing.T) {
	const before = `{"format":1,"synced":"1999-12-31T00:00:00Z","namespaces":{"old":{"fpgaRegions":[{"name":"r","interfaceId":"` + iface + `"}]}},
		"epc":{"pods":{"u1":{"namespace":"a","name":"one","containers":{"c":4096}}}}}`
	for name, c := range map[string]struct {
		first, second func(r *rig)
	}{
		"cards first": {func(r *rig) { r.See(true, []fpga.InterfaceID{iface}) }, func(r *rig) { r.SeeSGX(true) }},
		"SGX first":   {func(r *rig) { r.SeeSGX(true) }, func(r *rig) { r.See(true, []fpga.InterfaceID{iface}) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, filepath.Join(t.TempDir(), "policy.json"))
				if err := os.WriteFile(r.file, []byte(before), 0o600); err != nil {
					t.Fatal(err)
				}
				c.first(r)
				r.run()
				soon()
				if text, err := os.ReadFile(r.file); err != nil || string(text) != before {
					t.Errorf("before anything was in step it became %s, %v", text, err)
				}
				r.functions(iface).all()
				r.regions(iface).all(region("a", "new", iface))
				r.wantEnclaves("the mappings are in step", "u1=a/one c:4096")
				c.second(r)
				r.wantEnclaves("and both are seen", "u1=a/one c:4096")
				r.want("a/new")
				r.regions(iface).upsert(region("a", "more", iface))
				if p := r.wantEnclaves("a change of mappings", "u1=a/one c:4096"); p.Synced.Year() != 1999 {
					t.Errorf("pods of 1999 are told to be of %v", p.Synced)
				}
				if got := strings.Join(r.Missing(), "\n"); !strings.Contains(got, "the pods of this node were never in step") {
					t.Errorf("missing: %q", got)
				}
				r.pods.all(enclave("b", "two", "u2", 0))
				if p := r.wantEnclaves("in step", "u2=b/two"); time.Since(p.Synced) > 2*time.Second {
					t.Errorf("in step, and the file is %v old", time.Since(p.Synced))
				}
				if lines := r.Missing(); len(lines) > 0 {
					t.Errorf("missing: %q", lines)
				}
			})
		})
	}
}

func TestANodeWithSGXAloneLeavesMappingsOfBeforeUntilTheyAreInStep(t *testing.T) {
	for name, c := range map[string]struct{ before, atFirst, then string }{
		"none":                       {"", "closed", "closed"},
		"an empty one":               {`{"format":1,"synced":"1999-12-31T00:00:00Z","namespaces":{}}`, "closed", "u1=a/one c:1"},
		"one that cannot be used":    {`{"format":9}`, "", "u1=a/one c:1"},
		"one of cards that are late": {`{"format":1,"synced":"1999-12-31T00:00:00Z","namespaces":{"old":{"fpgaRegions":[{"name":"r","interfaceId":"` + iface + `"}]}}}`, "open", "open"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, filepath.Join(t.TempDir(), "policy.json"))
				if c.before != "" {
					if err := os.WriteFile(r.file, []byte(c.before), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				r.See(false, nil)
				r.SeeSGX(true)
				r.run()
				soon()
				if c.atFirst == "" {
					if text, err := os.ReadFile(r.file); err != nil || string(text) != c.before {
						t.Errorf("%s, %v", text, err)
					}
				} else {
					r.wantEnclaves("at first", c.atFirst)
				}
				if name == "none" {
					return
				}
				r.pods.all(enclave("a", "one", "u1", 1))
				r.wantEnclaves("the pods are in step", c.then)
				if r.functions(iface) != nil {
					r.want("old/r")
					r.functions(iface).all()
					r.regions(iface).all()
					r.want("old/r")
					soon()
					r.want("nothing")
					r.wantEnclaves("everything is in step", "u1=a/one c:1")
				}
			})
		})
	}
}

func TestPodsThatMayNotBeReadHoldUpNoMappings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, filepath.Join(t.TempDir(), "policy.json"))
		r.See(true, []fpga.InterfaceID{iface})
		r.SeeSGX(true)
		r.run()
		r.pods.Away(errors.New("pods is forbidden"))
		r.functions(iface).all(function("a", "one", "region", iface, nlb0))
		r.regions(iface).all()
		if p := r.wantEnclaves("forbidden", "closed"); time.Since(p.Synced) > 2*time.Second {
			t.Errorf("the mappings are in step, and the file is %v old", time.Since(p.Synced))
		}
		r.want("a/one")
		want := "policy: the pods of this node were never in step with the API server, so none gets enclaves that is not known from before: pods is forbidden"
		if got := strings.Join(r.Missing(), "\n"); got != want {
			t.Errorf("missing: %q", got)
		}
	})
}

func TestTheTimeStandsStillWhilePodsAreNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := withSGX(t)
		r.pods.all(enclave("a", "one", "u1", 1))
		minutes := func(n int) *policy.Policy {
			for range n {
				r.pods.InStep(time.Now())
				time.Sleep(time.Minute)
			}
			return r.wantEnclaves("later", "u1=a/one c:1")
		}
		before := r.counts.now().ok
		if p := minutes(10); time.Since(p.Synced) > 6*time.Minute {
			t.Errorf("in step, and the file is %v old", time.Since(p.Synced))
		}
		if n := r.counts.now().ok - before; n < 1 || n > 3 {
			t.Errorf("%d writes in ten minutes", n)
		}
		stood := r.wantEnclaves("now", "u1=a/one c:1").Synced
		r.pods.Away(errors.New("connection refused"))
		time.Sleep(time.Hour)
		if p := r.wantEnclaves("away", "u1=a/one c:1"); !p.Synced.Equal(stood) || len(r.Missing()) > 0 {
			t.Errorf("away, and the time went on from %v to %v; missing %q", stood, p.Synced, r.Missing())
		}
	})
}

func TestWithoutTheNodesNameNothingIsKeptAndThatIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, filepath.Join(t.TempDir(), "policy.json"))
		r.c.Pods = nil
		r.See(false, nil)
		r.SeeSGX(true)
		r.run()
		r.SeeSGX(true)
		r.wantEnclaves("an empty file", "open")
		if n := r.logged("its name is not known"); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

func TestLimitsThatAreSwitchedOffAreTakenFromTheFile(t *testing.T) {
	const before = `{"format":1,"synced":"1999-12-31T00:00:00Z","namespaces":{},"epc":{"pods":{"u1":{"namespace":"a","name":"one","containers":{"c":4096}}}}}`
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, filepath.Join(t.TempDir(), "policy.json"))
		if err := os.WriteFile(r.file, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		r.See(false, nil)
		r.run()
		r.wantEnclaves("SGX was not seen", "u1=a/one c:4096")
		r.SeeSGX(false)
		r.wantEnclaves("off", "open")
		if r.pods.runs != 0 || len(r.Missing()) > 0 {
			t.Errorf("followed %d times, missing %q", r.pods.runs, r.Missing())
		}
		r.SeeSGX(true)
		r.wantEnclaves("on, and not in step", "u1=a/one c:4096")
		r.pods.all(enclave("a", "two", "u2", 1))
		r.wantEnclaves("in step", "u2=a/two c:1")
		for range 2 {
			r.SeeSGX(false)
			r.wantEnclaves("off again", "open")
			r.pods.upsert(enclave("a", "two", "u2", 7))
			r.SeeSGX(true)
			r.wantEnclaves("on again", "u2=a/two c:7")
		}
		if r.pods.runs != 1 {
			t.Errorf("followed %d times", r.pods.runs)
		}
	})
}

// podObject is a pod of a node as the API server stores it.
func podObject(node, phase, epcLimit string) spec {
	return spec{
		"spec": spec{"nodeName": node, "containers": []any{spec{
			"name": "c", "resources": spec{"limits": spec{"sgx.intel.com/enclave": "1", "sgx.intel.com/epc": epcLimit}},
		}}},
		"status": spec{"phase": phase},
	}
}

func TestTheFileFollowsThePodsThroughWhateverHappensToTheAPIServer(t *testing.T) {
	for name, o := range map[string]followtest.Options{
		"a new server":      {Bookmarks: 100 * time.Millisecond},
		"without WatchList": {NoWatchList: true, PageSize: 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := followtest.Start(t, o)
			one := s.PutPod("a", "one", podObject("n1", "Pending", "1Mi"))
			s.PutPod("a", "elsewhere", podObject("n2", "Running", "1Mi"))
			s.PutPod("a", "waiting", podObject("", "Pending", "1Mi"))
			s.PutPod("a", "three", podObject("n1", "Succeeded", "1Mi"))
			m, file := podMirror(t, s)
			if m.SeeSGX(true); s.PodRequests() > 0 {
				t.Error("asked before the mirror ran")
			}
			m.begin()
			holds := func(want string) {
				t.Helper()
				began := time.Now()
				for {
					p, err := policy.Read(file, 0, time.Now())
					if err == nil && enclavesOf(p) == want {
						return
					}
					if err != nil && !errors.Is(err, policy.ErrMissing) {
						t.Fatal(err)
					}
					if time.Since(began) > 20*time.Second {
						t.Fatalf("%+v, %v, want %q", p, err, want)
					}
					time.Sleep(2 * time.Millisecond)
				}
			}
			holds(one + "=a/one c:1048576")
			two := s.PutPod("a", "two", podObject("n1", "Pending", "4Ki"))
			holds(strings.Join(sorted([]string{one + "=a/one c:1048576", two + "=a/two c:4096"}), ", "))
			s.PutPod("a", "waiting", podObject("n1", "Pending", "1"))
			s.PutPod("a", "one", podObject("n1", "Failed", "1Mi"))
			s.DeletePod("a", "waiting")
			holds(two + "=a/two c:4096")
			s.Cut()
			s.PutPod("a", "two", podObject("n1", "Running", "4Ki"))
			holds(two + "=a/two c:4096")

			// While the API server is away a process ends, another begins, and pods come and go.
			s.SetDown(http.StatusServiceUnavailable)
			m.end()
			s.DeletePod("a", "two")
			four := s.PutPod("a", "four", podObject("n1", "Pending", "8Ki"))
			s.Compact()
			m = m.again(t)
			m.SeeSGX(true)
			m.begin()
			time.Sleep(100 * time.Millisecond)
			holds(two + "=a/two c:4096")
			s.SetDown(0)
			holds(four + "=a/four c:8192")
		})
	}
}

// Most of a pod is dropped before it is read; what counts must not be.
func TestAllOfAPodThatCountsIsReadOfALargeOneToo(t *testing.T) {
	s := followtest.Start(t, followtest.Options{})
	large := podObject("n1", "Running", "1Mi")
	large["metadata"] = spec{"annotations": spec{
		"x": strings.Repeat("y", 1<<20), "kubernetes.io/config.hash": "hash", "kubernetes.io/config.mirror": "hash",
	}}
	s.PutPod("a", "large", large)
	m, file := podMirror(t, s)
	m.SeeSGX(true)
	m.begin()
	want := "hash=a/large c:1048576"
	for i := 0; ; i++ {
		if p, err := policy.Read(file, 0, time.Now()); err == nil && enclavesOf(p) == want {
			break
		} else if i > 5000 {
			t.Fatal(p, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// running is a mirror of a server's pods that can be ended.
type running struct {
	*Mirror
	server *followtest.Server
	file   string
	begin  func()
	end    func()
}

func podMirror(t *testing.T, s *followtest.Server) (r *running, file string) {
	t.Helper()
	r = &running{server: s, file: filepath.Join(t.TempDir(), "policy.json")}
	return r.again(t), r.file
}

func (r *running) again(t *testing.T) *running {
	t.Helper()
	log, _ := logrustest.NewNullLogger()
	source, err := epc.Source(r.server.Config(), "n1", log)
	if err != nil {
		t.Fatal(err)
	}
	client, err := follow.Client(r.server.Config())
	if err != nil {
		t.Fatal(err)
	}
	next := &running{server: r.server, file: r.file, Mirror: New(Config{
		File: r.file, Observer: &counts{}, Log: log, Pods: source,
		Source: func(kind v2.Kind, iface fpga.InterfaceID) Source {
			return follow.Mappings{Client: client, Kind: kind, Interface: iface, Log: log}
		},
	})}
	ctx, cancel := contextOf(t)
	var group sync.WaitGroup
	next.begin = func() { group.Go(func() { next.Run(ctx) }) }
	next.end = func() {
		cancel()
		group.Wait()
	}
	t.Cleanup(next.end)
	return next
}

func TestTheTextOfPodsDoesNotDependOnTheOrderOfWhatIsTold(t *testing.T) {
	pods := []*epc.Pod{
		enclave("b", "x", "u3", 1), enclave("a", "y", "u1", 0), static("a", "z", "hash", 2), enclave("a", `odd "name" <&>`, "u2", 5),
	}
	pods[0].Limits["b"], pods[0].Limits["a"] = 7, 8
	var first string
	for range 10 {
		slices.Reverse(pods)
		pods = append(pods[1:], pods[0])
		log, _ := logrustest.NewNullLogger()
		m := New(Config{Pods: &scriptedPods{}, Log: log})
		m.SeeSGX(true)
		m.pods.Replace(pods)
		m.pods.InStep(time.Unix(1e9, 0))
		var doc document
		doc.encode(m.sources, m.enclaves())
		doc.date(m.synced())
		if first == "" {
			first = string(doc.text)
		}
		if first != string(doc.text) {
			t.Fatalf("%s\n%s", first, doc.text)
		}
	}
	p, err := policy.Parse([]byte(first))
	if err != nil || enclavesOf(p) == "" || len(p.EPC.Pods) != 4 || p.EPC.Pods["u3"].Containers["a"] != 8 || !p.Synced.Equal(time.Unix(1e9, 0)) {
		t.Errorf("%v: %s", err, first)
	}
}
