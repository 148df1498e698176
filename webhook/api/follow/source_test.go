package follow

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// A list is told to be in step as of now, so it must not come from a cache that lags.
func TestAListIsOfTheNewestStateOrAtLeastOfTheKnownOne(t *testing.T) {
	for name, c := range map[string]struct {
		options metav1.ListOptions
		want    string
	}{
		"the first":                     {metav1.ListOptions{ResourceVersion: "0", Limit: 500}, "limit=500"},
		"after a forgotten history":     {metav1.ListOptions{Limit: 500}, "limit=500"},
		"a further page":                {metav1.ListOptions{Limit: 500, Continue: "x"}, "continue=x&limit=500"},
		"a further one":                 {metav1.ListOptions{ResourceVersion: "7"}, "resourceVersion=7"},
		"a further one, begun in pages": {metav1.ListOptions{ResourceVersion: "7", Limit: 500}, "resourceVersion=7"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := ""
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.URL.RawQuery
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"metadata":{"resourceVersion":"9"},"items":[]}`))
			}))
			defer server.Close()
			client, err := Client(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			log, _ := logrustest.NewNullLogger()
			s := &source[v2.Object]{
				Source: Mappings{Client: client, Kind: v2.KindFpgaRegion, Log: log}.source(), limits: usual,
				step: &step[v2.Object]{handler: deaf{}, log: log, limits: usual},
			}
			if _, err := s.ListWithContext(t.Context(), c.options); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

// A timer that runs keeps all that its function refers to.
func TestAStreamThatIsClosedLeavesNoTimer(t *testing.T) {
	for name, afterwards := range map[string]func(e *events[v2.Object]){
		"in its beginning":                        func(*events[v2.Object]) {},
		"while an event of its beginning is read": func(e *events[v2.Object]) { _, _, _ = e.Decode() },
	} {
		t.Run(name, func(t *testing.T) {
			log, _ := logrustest.NewNullLogger()
			stream, cancel := context.WithCancelCause(t.Context())
			e := &events[v2.Object]{
				decoder: decoder[v2.Object]{decode: mappings{kind: v2.KindFpgaRegion, log: log}.object, log: log},
				limits:  usual, run: t.Context(), stream: stream, cancel: cancel,
				step: &step[v2.Object]{handler: deaf{}, log: log, limits: usual}, began: time.Now(), beginning: true,
				life: time.AfterFunc(time.Hour, func() {}), stall: time.AfterFunc(time.Hour, func() {}),
				json: json.NewDecoder(strings.NewReader(`{"type":"ADDED","object":{"metadata":{"name":"r"}}}`)),
			}
			e.Close()
			afterwards(e)
			if e.life.Stop() || e.stall.Stop() {
				t.Error("a timer still ran")
			}
		})
	}
}

// A pod of a megabyte is nothing that a watch may hold on to for the rest of its life.
func TestALargeObjectLeavesNoLargeBuffer(t *testing.T) {
	event := func(name string, size int) string {
		return `{"type":"MODIFIED","object":{"metadata":{"name":"` + name + `","annotations":{"x":"` + strings.Repeat("y", size) + `"}}}}` + "\n"
	}
	log, _ := logrustest.NewNullLogger()
	stream, cancel := context.WithCancelCause(t.Context())
	e := &events[v2.Object]{
		decoder: decoder[v2.Object]{decode: mappings{kind: v2.KindFpgaRegion, log: log}.object, log: log},
		limits:  usual, run: t.Context(), stream: stream, cancel: cancel,
		step: &step[v2.Object]{handler: deaf{}, log: log, limits: usual}, began: time.Now(),
		life: time.AfterFunc(time.Hour, func() {}), stall: time.AfterFunc(time.Hour, func() {}),
	}
	defer e.Close()
	var text strings.Builder
	for i := range 20 {
		text.WriteString(event("small", 10) + event("large", 1<<20+i*1000) + event("next", 10))
	}
	e.read(strings.NewReader(text.String()))
	for range 20 {
		for _, want := range []string{"small", "large", "next"} {
			_, o, err := e.Decode()
			if err != nil || o.(v2.Object).GetName() != want {
				t.Fatalf("%v, %v, want %s", o, err, want)
			}
		}
		if cap(e.raw) > roomy {
			t.Fatalf("a buffer of %d bytes stays", cap(e.raw))
		}
	}
	if _, _, err := e.Decode(); err == nil {
		t.Error("no end")
	}
}
