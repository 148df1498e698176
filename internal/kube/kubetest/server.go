package kubetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"sync"

	"k8s.io/client-go/rest"
)

// Object is what is stored: JSON, so that it can be malformed.
type Object = map[string]any

// Server is the API server. The zero value is not one, New makes it.
type Server struct {
	mu        sync.Mutex
	version   int
	objects   map[string]Object // by path
	changed   chan struct{}     // closed at every change
	intercept func(*http.Request) int
	requests  map[string]int
}

// New makes a server without objects.
func New() *Server {
	return &Server{objects: map[string]Object{}, changed: make(chan struct{}), requests: map[string]int{}}
}

// Config leads here, through memory and without a limit of requests a second.
func (s *Server) Config() *rest.Config {
	return &rest.Config{Host: "http://kubetest", QPS: -1, Transport: transport{s}}
}

// Intercept has f look at each request before it is answered: with a status code that it gives, if that is not 0.
// A request that is to get no answer waits in f for the end of its context.
func (s *Server) Intercept(f func(*http.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Put stores an object as somebody else would. The path is that of its URL.
func (s *Server) Put(path string, o any) {
	b, err := json.Marshal(o)
	var stored Object
	if err == nil {
		err = json.Unmarshal(b, &stored)
	}
	if err != nil {
		panic(fmt.Sprintf("%s: %v", path, err)) // a mistake in a test
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(path, stored)
}

// Delete takes an object away.
func (s *Server) Delete(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(path, nil)
}

// Get reads an object into o; false if there is none.
func (s *Server) Get(path string, o any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := s.objects[path]
	if stored == nil {
		return false
	}
	b, err := json.Marshal(stored)
	if err == nil {
		err = json.Unmarshal(b, o)
	}
	if err != nil {
		panic(fmt.Sprintf("%s: %v", path, err)) // a mistake in a test
	}
	return true
}

// Requests is how many came so far with this method, those without an answer too.
func (s *Server) Requests(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[method]
}

// store is called with mu held. What was stored before stays as it is.
func (s *Server) store(path string, o Object) Object {
	s.version++
	if o == nil {
		delete(s.objects, path)
	} else {
		o = maps.Clone(o)
		meta, _ := o["metadata"].(Object)
		meta = maps.Clone(meta)
		if meta == nil {
			meta = Object{}
		}
		meta["resourceVersion"] = strconv.Itoa(s.version)
		o["metadata"] = meta
		s.objects[path] = o
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return o
}
