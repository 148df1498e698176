package mirror

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/deviceplugins/sgx/epc"
	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/webhook/api/follow"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

func TestMain(m *testing.M) {
	if childtest.Role() == asWriter {
		writeForEver(os.Args[1])
	}
	goleak.VerifyTestMain(m)
}

const (
	iface = "69528db6eb31577a8c3668f9faa081f6"
	other = "bfac4d851ee856fe8c95865ce1bbaa2d"
	nlb0  = "d8424dc4a4a3c413f89e433683f9040b"
	nlb3  = "f7df405cbd7acf7222f144b0b93acd18"
)

func function(namespace, name, mode, iface, afu string) v2.Object {
	return &v2.AcceleratorFunction{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v2.AcceleratorFunctionSpec{Mode: mode, InterfaceID: iface, AfuID: afu},
	}
}

func region(namespace, name, iface string) v2.Object {
	return &v2.FpgaRegion{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v2.FpgaRegionSpec{InterfaceID: iface},
	}
}

// scripted is a source in the test's hand.
type scripted struct {
	follow.Handler[v2.Object] // of the mirror; nil before Run
	runs                      int
}

func (s *scripted) Run(ctx context.Context, h follow.Handler[v2.Object]) {
	s.Handler = h
	s.runs++
	<-ctx.Done()
}

// all tells the whole, in step as of now.
func (s *scripted) all(objects ...v2.Object) {
	s.Replace(objects)
	s.InStep(time.Now())
}

// upsert and remove tell an event as package follow does.
func (s *scripted) upsert(o v2.Object) {
	s.Upsert(o)
	s.InStep(time.Now())
}

func (s *scripted) remove(namespace, name string) {
	s.Delete(namespace, name)
	s.InStep(time.Now())
}

// counts is an Observer.
type counts struct {
	mu sync.Mutex
	tally
}

type tally struct {
	ok, failed, held int
	synced           time.Time
}

func (c *counts) now() tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tally
}

func (c *counts) Holds(synced time.Time, mappings int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.synced, c.held = synced, mappings
}

func (c *counts) Written(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed++
	} else {
		c.ok++
	}
}

// rig is a mirror that runs until the test ends, with sources in the test's hand. It belongs into a synctest bubble.
type rig struct {
	*Mirror
	t       *testing.T
	file    string
	counts  counts
	log     *test.Hook
	sources map[string]*scripted // "AcceleratorFunction/<interface id>"
	pods    *scriptedPods
}

// scriptedPods is a source of pods in the test's hand.
type scriptedPods struct {
	follow.Handler[*epc.Pod] // of the mirror; nil before Run
	runs                     int
}

func (s *scriptedPods) Run(ctx context.Context, h follow.Handler[*epc.Pod]) {
	s.Handler = h
	s.runs++
	<-ctx.Done()
}

// all tells the whole, in step as of now.
func (s *scriptedPods) all(pods ...*epc.Pod) {
	s.Replace(pods)
	s.InStep(time.Now())
}

// upsert and remove tell an event as package follow does.
func (s *scriptedPods) upsert(p *epc.Pod) {
	s.Upsert(p)
	s.InStep(time.Now())
}

func (s *scriptedPods) remove(namespace, name string) {
	s.Delete(namespace, name)
	s.InStep(time.Now())
}

func newRig(t *testing.T, file string) *rig {
	t.Helper()
	log, hook := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	r := &rig{t: t, file: file, log: hook, sources: map[string]*scripted{}, pods: &scriptedPods{}}
	r.Mirror = New(Config{
		File: file, Observer: &r.counts, Log: log, Pods: r.pods,
		Source: func(kind v2.Kind, iface fpga.InterfaceID) Source {
			key := string(kind) + "/" + string(iface)
			if r.sources[key] == nil {
				r.sources[key] = &scripted{}
			}
			return r.sources[key]
		},
	})
	// The mirror asks for sources one after the other, but starts them at the same time.
	var mu sync.Mutex
	source := r.c.Source
	r.c.Source = func(kind v2.Kind, iface fpga.InterfaceID) Source {
		mu.Lock()
		defer mu.Unlock()
		return source(kind, iface)
	}
	return r
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	r.t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
}

// started is a rig that runs on a node with cards of these interface ids.
func started(t *testing.T, ids ...fpga.InterfaceID) *rig {
	t.Helper()
	r := newRig(t, filepath.Join(t.TempDir(), "inlay", "policy.json"))
	r.See(true, ids)
	r.run()
	return r
}

func (r *rig) functions(iface string) *scripted { return r.sources["AcceleratorFunction/"+iface] }
func (r *rig) regions(iface string) *scripted   { return r.sources["FpgaRegion/"+iface] }

// soon is the promise: what was told until now is in the file after it.
func soon() {
	time.Sleep(50 * time.Millisecond)
	synctest.Wait()
}

// want compares the file with "namespace/name" of what it shall hold, "" = there is no file.
func (r *rig) want(names string) *policy.Policy {
	r.t.Helper()
	p, err := policy.Read(r.file, 0, time.Now())
	if errors.Is(err, policy.ErrMissing) {
		if names != "" {
			r.t.Errorf("there is no file, want %s", names)
		}
		return &policy.Policy{}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if got := strings.Join(namesOf(p), " "); got != names {
		r.t.Errorf("the file holds %q, want %q", got, names)
	}
	return p
}

// namesOf gives a policy's entries in the file's order; "nothing" says that there are none.
func namesOf(p *policy.Policy) []string {
	var names []string
	for ns, n := range p.Namespaces {
		for _, f := range n.Functions {
			names = append(names, ns+"/"+f.Name)
		}
		for _, f := range n.Regions {
			names = append(names, ns+"/"+f.Name)
		}
	}
	if len(names) == 0 {
		return []string{"nothing"}
	}
	return sorted(names)
}

// logged counts the lines of a message.
func (r *rig) logged(message string) int {
	n := 0
	for _, e := range r.log.AllEntries() {
		if strings.Contains(e.Message, message) {
			n++
		}
	}
	return n
}

// contextOf is one that the test may end before its cleanups do.
func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(context.WithoutCancel(t.Context()))
}
