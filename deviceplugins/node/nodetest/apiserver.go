package nodetest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// APIServer serves one Node.
type APIServer struct {
	name   string
	server *httptest.Server

	mu       sync.Mutex
	version  int
	object   metav1.PartialObjectMetadata
	down     bool
	refusal  string        // of patches; "" = they are taken
	changed  chan struct{} // closed at every change
	patches  []string
	requests map[string]int
	strange  []string
}

// Start serves the Node of this name until the test ends.
func Start(t testing.TB, name string) *APIServer {
	t.Helper()
	a := &APIServer{name: name, changed: make(chan struct{}), requests: map[string]int{}}
	a.object.TypeMeta = metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}
	a.object.Name, a.object.UID = name, "8f6c"
	a.object.Labels, a.object.Annotations = map[string]string{"kubernetes.io/hostname": name}, map[string]string{}
	a.bump()
	a.server = httptest.NewServer(a)
	t.Cleanup(func() {
		a.SetDown(true) // ends the watches, which Close waits for
		a.server.Close()
		if strange := a.Strange(); len(strange) > 0 {
			t.Errorf("asked of the API server beside the own Node: %q", strange)
		}
	})
	return a
}

// URL is the server's address.
func (a *APIServer) URL() string { return a.server.URL }

// Kubeconfig writes a kubeconfig file that leads here.
func (a *APIServer) Kubeconfig(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: c
clusters: [{name: k, cluster: {server: %q}}]
users: [{name: u, user: {}}]
contexts: [{name: c, context: {cluster: k, user: u}}]
`, a.URL())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Annotate sets an annotation of the Node; the empty value takes it away.
func (a *APIServer) Annotate(key, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	set(&a.object.Annotations, key, value)
	a.bump()
}

// SetLabel sets a label of the Node, as somebody else's hand does; the empty value takes it away.
func (a *APIServer) SetLabel(key, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	set(&a.object.Labels, key, value)
	a.bump()
}

// Touch changes the Node in what is nobody's concern here, as its heartbeats do.
func (a *APIServer) Touch() { a.Annotate("example.com/heartbeat", strconv.Itoa(a.Version()+1)) }

// SetDown makes the server answer nothing but errors and end its watches, or answer again.
func (a *APIServer) SetDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
	close(a.changed)
	a.changed = make(chan struct{})
}

// RefusePatches makes the server refuse patches with these words, as an admission policy does; "" takes them again.
func (a *APIServer) RefusePatches(why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refusal = why
}

// Label is a label's value now.
func (a *APIServer) Label(key string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.object.Labels[key]
}

// Patches are the bodies of the patches so far.
func (a *APIServer) Patches() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.patches...)
}

// Requests is how many requests of a kind ("get", "watch", "patch") came so far.
func (a *APIServer) Requests(kind string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests[kind]
}

// Strange are the requests that are not for the own Node.
func (a *APIServer) Strange() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.strange...)
}

// Version is the Node's resource version.
func (a *APIServer) Version() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.version
}

func set(m *map[string]string, key, value string) {
	next := maps.Clone(*m) // what was handed out stays as it is
	if value == "" {
		delete(next, key)
	} else {
		next[key] = value
	}
	*m = next
}

// bump makes the object a newer one and tells the watches. Called with mu held.
func (a *APIServer) bump() {
	a.version++
	a.object.ResourceVersion = strconv.Itoa(a.version)
	close(a.changed)
	a.changed = make(chan struct{})
}

// ServeHTTP implements http.Handler.
func (a *APIServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	own := r.URL.Path == "/api/v1/nodes/"+a.name
	watch := r.URL.Path == "/api/v1/nodes" && r.URL.Query().Get("watch") == "true" &&
		r.URL.Query().Get("fieldSelector") == "metadata.name="+a.name
	a.mu.Lock()
	down, refusal := a.down, a.refusal
	kind := ""
	switch {
	case own && r.Method == http.MethodGet:
		kind = "get"
	case own && r.Method == http.MethodPatch:
		kind = "patch"
	case watch && r.Method == http.MethodGet:
		kind = "watch"
	default:
		a.strange = append(a.strange, r.Method+" "+r.URL.String())
	}
	a.requests[kind]++
	a.mu.Unlock()
	switch {
	case down:
		http.Error(w, "the API server is down", http.StatusServiceUnavailable)
	case kind == "get":
		a.mu.Lock()
		object := a.object
		a.mu.Unlock()
		reply(w, object)
	case kind == "watch":
		a.watch(w, r)
	case kind == "patch" && refusal != "":
		http.Error(w, refusal, http.StatusForbidden)
	case kind == "patch":
		a.patch(w, r)
	default:
		http.Error(w, "forbidden", http.StatusForbidden)
	}
}

func reply(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object) // the client may have gone
}

// watch sends the object each time it is newer than the client's.
func (a *APIServer) watch(w http.ResponseWriter, r *http.Request) {
	known, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	for {
		a.mu.Lock()
		object, version, changed, down := a.object, a.version, a.changed, a.down
		a.mu.Unlock()
		if down {
			return
		}
		if version > known {
			known = version
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "MODIFIED", "object": object})
		}
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (a *APIServer) patch(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var patch struct {
		Metadata struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(body, &patch); err != nil || r.Header.Get("Content-Type") != "application/merge-patch+json" {
		http.Error(w, "not a merge patch", http.StatusUnsupportedMediaType)
		return
	}
	a.mu.Lock()
	a.patches = append(a.patches, string(body))
	for key, value := range patch.Metadata.Labels {
		set(&a.object.Labels, key, value)
	}
	a.bump()
	object := a.object
	a.mu.Unlock()
	reply(w, object)
}
