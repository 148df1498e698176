package kubetest

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests[r.Method]++
	intercept := s.intercept
	s.mu.Unlock()
	if intercept != nil {
		if code := intercept(r); code != 0 {
			fail(w, code, r.URL.Path)
			return
		}
	}
	if r.Context().Err() != nil {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	path := r.URL.Path
	if r.URL.Query().Get("watch") == "true" {
		name, _ := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
		s.watch(w, r, path+"/"+name)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
		s.get(w, path)
	case http.MethodPost:
		s.create(w, path, body)
	case http.MethodPut:
		s.update(w, path, body)
	case http.MethodPatch:
		s.patch(w, path, body)
	default:
		fail(w, http.StatusMethodNotAllowed, r.Method)
	}
}

func (s *Server) get(w http.ResponseWriter, path string) {
	if o := s.objects[path]; o != nil {
		reply(w, http.StatusOK, o)
		return
	}
	fail(w, http.StatusNotFound, path)
}

func (s *Server) create(w http.ResponseWriter, path string, body []byte) {
	var o Object
	if err := json.Unmarshal(body, &o); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	path += "/" + text(o, "name")
	if s.objects[path] != nil {
		failWith(w, http.StatusConflict, "AlreadyExists", path)
		return
	}
	reply(w, http.StatusCreated, s.store(path, o))
}

func (s *Server) update(w http.ResponseWriter, path string, body []byte) {
	var o Object
	was := s.objects[path]
	switch err := json.Unmarshal(body, &o); {
	case err != nil:
		fail(w, http.StatusBadRequest, err.Error())
	case was == nil:
		fail(w, http.StatusNotFound, path)
	case text(o, "resourceVersion") != text(was, "resourceVersion"):
		fail(w, http.StatusConflict, "the object has been modified")
	default:
		reply(w, http.StatusOK, s.store(path, o))
	}
}

// patch answers a patch whose test fails as Kubernetes does: 422.
func (s *Server) patch(w http.ResponseWriter, path string, body []byte) {
	was := s.objects[path]
	if was == nil {
		fail(w, http.StatusNotFound, path)
		return
	}
	patch, err := jsonpatch.DecodePatch(body)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	before, err := json.Marshal(was)
	var after []byte
	if err == nil {
		after, err = patch.Apply(before)
	}
	var o Object
	if err == nil {
		err = json.Unmarshal(after, &o)
	}
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	reply(w, http.StatusOK, s.store(path, o))
}

// watch tells an object as it is, and then whenever it has changed.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, path string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	var told Object
	for r.Context().Err() == nil {
		s.mu.Lock()
		now, changed := s.objects[path], s.changed
		s.mu.Unlock()
		event := ""
		switch {
		case told == nil && now != nil:
			event = "ADDED"
		case told != nil && now == nil:
			event, now, told = "DELETED", told, nil
		case !reflect.DeepEqual(told, now):
			event = "MODIFIED"
		}
		if event != "" {
			if json.NewEncoder(w).Encode(Object{"type": event, "object": now}) != nil {
				return
			}
			if event != "DELETED" {
				told = now
			}
		}
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
		}
	}
}

// text is a member of an object's metadata.
func text(o Object, member string) string {
	meta, _ := o["metadata"].(Object)
	s, _ := meta[member].(string)
	return s
}

// reason is what Kubernetes calls a status code.
func reason(code int) string {
	switch code {
	case http.StatusUnprocessableEntity:
		return "Invalid"
	case http.StatusInternalServerError:
		return "InternalError"
	}
	return strings.ReplaceAll(http.StatusText(code), " ", "")
}

func fail(w http.ResponseWriter, code int, message string) { failWith(w, code, reason(code), message) }

func failWith(w http.ResponseWriter, code int, reason, message string) {
	reply(w, code, Object{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code,
	})
}

func reply(w http.ResponseWriter, code int, o Object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o) // the client may have gone
}
