package followtest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	verb := s.verb(r, parts)
	s.mu.Lock()
	s.requests[verb]++
	pods := parts[len(parts)-1] == "pods"
	if pods {
		s.requests["pods"]++
	}
	s.mu.Unlock()
	if !s.wait(r) {
		return
	}
	s.mu.Lock()
	down, forbid := s.down, s.forbid
	s.mu.Unlock()
	switch {
	case pods && forbid:
		fail(w, http.StatusForbidden, "Forbidden", `pods is forbidden: User "test" cannot list resource "pods" in API group "" at the cluster scope`)
	case down == http.StatusGone:
		fail(w, down, "Expired", "the API server is down: it has forgotten everything")
	case down != 0:
		fail(w, down, "ServiceUnavailable", "the API server is down")
	case verb == "list":
		s.list(w, r, kindOf(parts[len(parts)-1]))
	case verb == "watch":
		s.watch(w, r, kindOf(parts[len(parts)-1]))
	case verb == "get", verb == "put":
		s.single(w, r, key(kindOf(parts[5]), parts[4], parts[6]))
	case verb == "event":
		s.event(w, r)
	default:
		fail(w, http.StatusNotFound, "NotFound", "the server could not find the requested resource "+r.URL.Path)
	}
}

func (s *Server) verb(r *http.Request, parts []string) string {
	ours := len(parts) > 3 && strings.Join(parts[:3], "/") == "apis/fpga.intel.com/v2"
	collection := ours && len(parts) == 4 || strings.Join(parts, "/") == "api/v1/pods"
	switch {
	case collection && r.URL.Query().Get("watch") == "true":
		return "watch"
	case collection:
		return "list"
	case ours && len(parts) == 7 && r.Method == http.MethodGet:
		return "get"
	case ours && len(parts) == 8 && parts[7] == "status" && r.Method == http.MethodPut:
		return "put"
	case parts[len(parts)-1] == "events" && r.Method == http.MethodPost:
		return "event"
	}
	return "strange"
}

// wait stands still as long as the test wants.
func (s *Server) wait(r *http.Request) bool {
	for {
		s.mu.Lock()
		stall, changed := s.stall, s.changed
		s.mu.Unlock()
		if !stall {
			return true
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return false
		}
	}
}

func kindOf(resource string) v2.Kind {
	switch resource {
	case "pods":
		return kindPod
	case v2.KindFpgaRegion.Resource():
		return v2.KindFpgaRegion
	}
	return v2.KindAcceleratorFunction
}

func versionOf(kind v2.Kind) string {
	if kind == kindPod {
		return "v1"
	}
	return "fpga.intel.com/v2"
}

// selectable are the fields by which objects of a kind can be selected.
func selectable(kind v2.Kind) string {
	if kind == kindPod {
		return "nodeName"
	}
	return "interfaceId"
}

func fail(w http.ResponseWriter, code int, reason, message string) {
	reply(w, code, Object{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code,
	})
}

func reply(w http.ResponseWriter, code int, o any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o) // the client may have gone
}

// selector gives the value of the selectable field that a request selects.
func (s *Server) selector(w http.ResponseWriter, r *http.Request, kind v2.Kind) (selected string, ok bool) {
	field := r.URL.Query().Get("fieldSelector")
	selected, known := strings.CutPrefix(field, "spec."+selectable(kind)+"=")
	if field != "" && (!known || s.options.NoSelector && kind != kindPod) {
		fail(w, http.StatusBadRequest, "BadRequest", "field label not supported: "+field)
		return "", false
	}
	return selected, true
}

func matches(kind v2.Kind, o Object, selected string) bool {
	if o == nil {
		return false
	}
	spec, _ := o["spec"].(Object)
	return selected == "" || spec[selectable(kind)] == selected
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, kind v2.Kind) {
	selected, ok := s.selector(w, r, kind)
	if !ok {
		return
	}
	q := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	var items []Object
	after := q.Get("continue")
	next := ""
	limit, _ := strconv.Atoi(q.Get("limit"))
	if s.options.PageSize > 0 && limit > 0 {
		limit = min(limit, s.options.PageSize)
	}
	for _, k := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.HasPrefix(k, string(kind)+"/") || k <= after || !matches(kind, s.objects[k], selected) {
			continue
		}
		if limit > 0 && len(items) == limit {
			next = key(kind, items[limit-1]["metadata"].(Object)["namespace"].(string), items[limit-1]["metadata"].(Object)["name"].(string))
			break
		}
		items = append(items, s.objects[k])
	}
	reply(w, http.StatusOK, Object{
		"apiVersion": versionOf(kind), "kind": string(kind) + "List",
		"items": items, "metadata": Object{"resourceVersion": strconv.Itoa(s.version), "continue": next},
	})
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, kind v2.Kind) {
	q := r.URL.Query()
	initial := q.Get("sendInitialEvents") == "true"
	if initial && s.options.NoWatchList {
		fail(w, http.StatusUnprocessableEntity, "Invalid", "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
		return
	}
	selected, ok := s.selector(w, r, kind)
	if !ok {
		return
	}
	known, _ := strconv.Atoi(q.Get("resourceVersion"))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	send := func(t string, o Object) {
		_ = json.NewEncoder(w).Encode(Object{"type": t, "object": o})
	}
	s.mu.Lock()
	cut, gone := s.cut, s.gone
	if initial {
		for _, k := range slices.Sorted(maps.Keys(s.objects)) {
			if strings.HasPrefix(k, string(kind)+"/") && matches(kind, s.objects[k], selected) {
				send("ADDED", s.objects[k])
			}
		}
		known = s.version
		send("BOOKMARK", bookmark(kind, known, Object{"k8s.io/initial-events-end": "true"}))
	}
	s.mu.Unlock()
	if known < gone {
		send("ERROR", Object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old resource version"})
		return
	}
	s.stream(w, r, kind, selected, known, cut, send)
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request, kind v2.Kind, selected string, known int, cut chan struct{}, send func(string, Object)) {
	var bookmarks <-chan time.Time
	if s.options.Bookmarks > 0 {
		ticker := time.NewTicker(s.options.Bookmarks)
		defer ticker.Stop()
		bookmarks = ticker.C
	}
	for {
		s.mu.Lock()
		version, changed := s.version, s.changed
		history := s.history
		s.mu.Unlock()
		for _, c := range history {
			if c.version <= known || c.kind != kind {
				continue
			}
			was, now := matches(kind, c.was, selected), matches(kind, c.now, selected)
			switch {
			case now && was:
				send("MODIFIED", c.now)
			case now:
				send("ADDED", c.now)
			case was:
				send("DELETED", c.was)
			}
		}
		known = max(known, version)
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-bookmarks:
			send("BOOKMARK", bookmark(kind, known, nil))
		case <-r.Context().Done():
			return
		case <-cut:
			fmt.Fprint(w, `{"type":"ADDED","object":{"apiVer`)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
}

func bookmark(kind v2.Kind, version int, annotations Object) Object {
	return Object{"apiVersion": versionOf(kind), "kind": string(kind), "spec": Object{}, "metadata": Object{
		"resourceVersion": strconv.Itoa(version), "creationTimestamp": nil, "annotations": annotations,
	}}
}

func (s *Server) single(w http.ResponseWriter, r *http.Request, k string) {
	var body Object
	if r.Method == http.MethodPut {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			fail(w, http.StatusBadRequest, "BadRequest", err.Error())
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[k]
	switch {
	case o == nil:
		fail(w, http.StatusNotFound, "NotFound", k+" not found")
		return
	case body == nil:
		reply(w, http.StatusOK, o)
		return
	case s.refuse[k] != "":
		fail(w, http.StatusUnprocessableEntity, "Invalid", s.refuse[k])
		return
	}
	meta, _ := body["metadata"].(Object)
	forced := s.conflict[k] > 0
	if forced {
		s.conflict[k]--
	}
	if forced || meta["resourceVersion"] != o["metadata"].(Object)["resourceVersion"] {
		fail(w, http.StatusConflict, "Conflict", "the object has been modified")
		return
	}
	now := maps.Clone(o)
	now["metadata"] = maps.Clone(o["metadata"].(Object))
	now["status"] = body["status"]
	s.writes = append(s.writes, k)
	kind, _, _ := strings.Cut(k, "/")
	s.store(v2.Kind(kind), k, o, now)
	reply(w, http.StatusOK, now)
}

func (s *Server) event(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	var o Object
	if err := json.Unmarshal(b, &o); err != nil {
		fail(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	s.mu.Lock()
	s.events = append(s.events, o)
	s.mu.Unlock()
	reply(w, http.StatusCreated, o)
}
