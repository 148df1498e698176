package followtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Options say what a server can do.
type Options struct {
	NoWatchList bool          // initial events are refused, as before Kubernetes 1.27
	NoSelector  bool          // spec.interfaceId is no field to select by, as before Kubernetes 1.30
	Bookmarks   time.Duration // how often; 0 is never beside the one that ends initial events
	PageSize    int           // at most so many objects a page; 0 is as many as asked for
}

// Object is what is stored: JSON, so that it can be malformed.
type Object = map[string]any

// Server is the API server.
type Server struct {
	options Options
	server  *httptest.Server

	mu       sync.Mutex
	version  int
	objects  map[string]Object // by kind/namespace/name
	history  []change
	gone     int           // versions up to this one are forgotten
	changed  chan struct{} // closed at every change
	cut      chan struct{} // closed to end all streams
	down     int           // status code of every answer, if not 0
	forbid   bool          // pods are not for this account
	stall    bool          // requests are taken and not answered
	refuse   map[string]string
	conflict map[string]int
	requests map[string]int
	writes   []string
	events   []Object
}

// kindPod is not one of ours, and is stored beside them.
const kindPod v2.Kind = "Pod"

type change struct {
	version  int
	kind     v2.Kind
	was, now Object // nil: was not, is not any more
}

// Start serves until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{
		options: o, version: 1, objects: map[string]Object{}, changed: make(chan struct{}), cut: make(chan struct{}),
		refuse: map[string]string{}, conflict: map[string]int{}, requests: map[string]int{},
	}
	s.server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.SetStall(false)
		s.SetDown(http.StatusServiceUnavailable)
		s.server.Close() // a second time does nothing
	})
	return s
}

// Config leads here.
func (s *Server) Config() *rest.Config { return &rest.Config{Host: s.server.URL} }

// Put creates an object, or changes its spec.
func (s *Server) Put(kind v2.Kind, namespace, name string, spec any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key(kind, namespace, name)
	was := s.objects[k]
	meta := Object{
		"namespace": namespace, "name": name, "generation": 1, "uid": fmt.Sprintf("uid-%d", s.version),
		"creationTimestamp": time.Unix(1_700_000_000+int64(s.version), 0).UTC().Format(time.RFC3339),
		"annotations":       Object{"kubectl.kubernetes.io/last-applied-configuration": strings.Repeat("x", 100)},
		"managedFields":     []any{Object{"manager": "kubectl", "fieldsV1": Object{"f:spec": Object{}}}},
	}
	now := Object{"apiVersion": "fpga.intel.com/v2", "kind": string(kind), "metadata": meta, "spec": spec}
	if was != nil {
		old := was["metadata"].(Object)
		meta["uid"], meta["creationTimestamp"] = old["uid"], old["creationTimestamp"]
		meta["generation"] = old["generation"].(int) + 1
		now["status"] = was["status"]
	}
	s.store(kind, k, was, now)
}

// PutPod creates a pod, or changes it: spec and status are as given, and of metadata what names and versions leave. It
// gives the pod's UID.
func (s *Server) PutPod(namespace, name string, pod Object) (uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key(kindPod, namespace, name)
	was := s.objects[k]
	meta := Object{"uid": fmt.Sprintf("0f8b2c8e-3c1e-4a52-9c0a-%012d", s.version)}
	given, _ := pod["metadata"].(Object)
	maps.Copy(meta, given)
	meta["namespace"], meta["name"] = namespace, name
	if was != nil {
		meta["uid"] = was["metadata"].(Object)["uid"]
	}
	now := maps.Clone(pod)
	now["apiVersion"], now["kind"], now["metadata"] = "v1", string(kindPod), meta
	s.store(kindPod, k, was, now)
	return meta["uid"].(string)
}

// DeletePod takes a pod away.
func (s *Server) DeletePod(namespace, name string) { s.Delete(kindPod, namespace, name) }

// PodRequests is how many lists and watches of pods came so far.
func (s *Server) PodRequests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests["pods"]
}

// Forbid answers every request for pods with 403, or no more.
func (s *Server) Forbid(pods bool) {
	s.mu.Lock()
	s.forbid = pods
	s.mu.Unlock()
	s.Cut()
}

// Delete takes an object away.
func (s *Server) Delete(kind v2.Kind, namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key(kind, namespace, name)
	if was := s.objects[k]; was != nil {
		s.store(kind, k, was, nil)
	}
}

// Status is an object's status, nil if it has none.
func (s *Server) Status(kind v2.Kind, namespace, name string) *v2.MappingStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[key(kind, namespace, name)]
	if o == nil || o["status"] == nil {
		return nil
	}
	b, err := json.Marshal(o["status"])
	var status v2.MappingStatus
	if err != nil || json.Unmarshal(b, &status) != nil {
		return nil
	}
	return &status
}

// Compact forgets the history: who wants to go on from there gets 410 Gone.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.gone, s.history = s.version, nil
}

// Cut ends all streams in the middle of a word.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.cut)
	s.cut = make(chan struct{})
}

// SetDown makes every answer one with this status code and ends the streams; 0 is back.
func (s *Server) SetDown(code int) {
	s.mu.Lock()
	s.down = code
	s.mu.Unlock()
	s.Cut()
}

// SetStall makes requests wait for an answer.
func (s *Server) SetStall(stall bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stall = stall
	close(s.changed)
	s.changed = make(chan struct{})
}

// Refuse makes every write of an object's status fail with 422 and this message.
func (s *Server) Refuse(kind v2.Kind, namespace, name, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse[key(kind, namespace, name)] = message
}

// Conflict makes the next n writes of an object's status find a newer object.
func (s *Server) Conflict(kind v2.Kind, namespace, name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conflict[key(kind, namespace, name)] = n
}

// Requests is how many of a verb came so far: list, watch, get, put, event.
func (s *Server) Requests(verb string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[verb]
}

// Writes are the objects whose status was written, as kind/namespace/name, in order.
func (s *Server) Writes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

// Events are the events created so far.
func (s *Server) Events() []Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

func key(kind v2.Kind, namespace, name string) string {
	return string(kind) + "/" + namespace + "/" + name
}

// store is called with mu held. What was handed out stays as it is.
func (s *Server) store(kind v2.Kind, k string, was, now Object) {
	s.version++
	if now == nil {
		last := maps.Clone(was)
		last["metadata"] = maps.Clone(was["metadata"].(Object))
		last["metadata"].(Object)["resourceVersion"] = strconv.Itoa(s.version)
		delete(s.objects, k)
		s.history = append(s.history, change{s.version, kind, last, nil})
	} else {
		now["metadata"].(Object)["resourceVersion"] = strconv.Itoa(s.version)
		s.objects[k] = now
		s.history = append(s.history, change{s.version, kind, was, now})
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// Close makes the server refuse connections from now on.
func (s *Server) Close() {
	s.SetDown(http.StatusServiceUnavailable)
	s.server.Close()
}
