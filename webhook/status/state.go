package status

import (
	"hash/maphash"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/webhook/api/follow"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// mapping is one object's place in its namespace.
type mapping struct {
	kind v2.Kind
	name string
}

// item is one object in the queue.
type item struct {
	mapping
	namespace string
}

// state is what is remembered of an object. Sums stand for what they are made of.
type state struct {
	version uint64 // of the UID and the generation: which object, and which spec
	says    uint64 // of the answer that its status gives; 0 is none, or one about another generation
	refused uint64 // of the answer that the API server would not store; 0 is none
}

// answer is where a mapping leads, as its status says it.
type answer struct {
	ready                     bool
	reason, message, resource string
}

func (w *Writer) sum(a answer) uint64 { return maphash.Comparable(w.seed, a) }

// wanted is the answer that a mapping's status should give; ok is false where the tables have no such mapping.
func (w *Writer) wanted(i item) (a answer, ok bool) {
	a.ready, a.reason, a.message, a.resource = w.tables.Table(i.namespace).Ready(i.kind, i.name)
	return a, a.reason != ""
}

// said is the answer that an object's status gives; ok is false if it gives none about the object as it is.
func said(o v2.Object) (a answer, ok bool) {
	s := o.State()
	c := meta.FindStatusCondition(s.Conditions, v2.ConditionReady)
	if c == nil || s.ObservedGeneration != o.GetGeneration() || c.ObservedGeneration != o.GetGeneration() {
		return answer{}, false
	}
	return answer{c.Status == metav1.ConditionTrue, c.Reason, c.Message, s.Resource}, c.Status != metav1.ConditionUnknown
}

func (w *Writer) version(o v2.Object) uint64 {
	return maphash.Comparable(w.seed, struct {
		uid        string
		generation int64
	}{string(o.GetUID()), o.GetGeneration()})
}

func (w *Writer) stateOf(o v2.Object) state {
	s := state{version: w.version(o)}
	if a, ok := said(o); ok {
		s.says = w.sum(a)
	}
	return s
}

// Handler takes what is told of one kind, after the tables.
func (w *Writer) Handler(kind v2.Kind) follow.Handler[v2.Object] { return handler{w, kind} }

type handler struct {
	*Writer
	kind v2.Kind
}

// Replace implements follow.Handler.
func (h handler) Replace(objects []v2.Object) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := make(map[string]map[mapping]state, len(h.known))
	for namespace, in := range h.known {
		for m, s := range in {
			if m.kind != h.kind {
				put(known, item{m, namespace}, s)
			}
		}
	}
	for _, o := range objects {
		h.remember(known, h.itemOf(o), o)
	}
	h.known = known
	h.synced[h.kind] = true
	h.lookAtAll()
}

// Upsert implements follow.Handler.
func (h handler) Upsert(o v2.Object) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.itemOf(o)
	h.remember(h.known, i, o)
	h.lookAt(i.namespace, i.name)
}

// Delete implements follow.Handler.
func (h handler) Delete(namespace, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.known[namespace], mapping{h.kind, name})
	if len(h.known[namespace]) == 0 {
		delete(h.known, namespace)
	}
	h.lookAt(namespace, name)
}

// InStep implements follow.Handler.
func (h handler) InStep(time.Time) {}

// Away implements follow.Handler.
func (h handler) Away(error) {}

func (h handler) itemOf(o v2.Object) item {
	return item{mapping{h.kind, o.GetName()}, o.GetNamespace()}
}

// remember keeps what an object says. What the API server refused of this very spec it would refuse again.
func (w *Writer) remember(known map[string]map[mapping]state, i item, o v2.Object) {
	s := w.stateOf(o)
	if old := w.known[i.namespace][i.mapping]; old.version == s.version {
		s.refused = old.refused
	}
	put(known, i, s)
}

func put(known map[string]map[mapping]state, i item, s state) {
	if known[i.namespace] == nil {
		known[i.namespace] = map[mapping]state{}
	}
	known[i.namespace][i.mapping] = s
}

// lookAt queues those of a name whose status is not what it should be. Called with mu held.
func (w *Writer) lookAt(namespace, name string) {
	if w.queue == nil || !w.complete() {
		return
	}
	for _, kind := range v2.Kinds() {
		if i := (item{mapping{kind, name}, namespace}); w.differs(i) {
			w.queue.Add(i)
		}
	}
}

func (w *Writer) lookAtAll() {
	if w.queue == nil || !w.complete() {
		return
	}
	for namespace, in := range w.known {
		for m := range in {
			if i := (item{m, namespace}); w.differs(i) {
				w.queue.Add(i)
			}
		}
	}
}

// complete tells whether both kinds are known: before, a name may look free that is not.
func (w *Writer) complete() bool {
	for _, kind := range v2.Kinds() {
		if !w.synced[kind] {
			return false
		}
	}
	return true
}

func (w *Writer) differs(i item) bool {
	s, known := w.known[i.namespace][i.mapping]
	if !known {
		return false
	}
	want, ok := w.wanted(i)
	if !ok {
		return false
	}
	sum := w.sum(want)
	return sum != s.says && sum != s.refused
}
