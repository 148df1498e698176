package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/inlay-project/inlay/webhook/fpga"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counts is an Observer that remembers.
type counts struct {
	mu     sync.Mutex
	of     map[string]int // "mutate translated"
	panics int
}

func (c *counts) Reviewed(check bool, decision string, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]int{}
	}
	c.of[fmt.Sprint(check)+" "+decision]++
}

func (c *counts) Panicked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.panics++
}

// service is a handler behind TLS.
type service struct {
	*httptest.Server
	handler *handler
	counts  *counts
	logs    *logrustest.Hook
}

func start(t *testing.T, tables Tables) *service {
	t.Helper()
	log, logs := logrustest.NewNullLogger()
	s := &service{counts: &counts{}, logs: logs}
	s.handler = newHandler(Config{Tables: tables, Observer: s.counts, Log: log})
	s.Server = httptest.NewUnstartedServer(s.handler)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// post sends a body and gives status and answer.
func (s *service) post(t testing.TB, path, body string) (int, string) {
	t.Helper()
	r, err := s.Client().Post(s.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestReviewsAreAnsweredOverHTTPS(t *testing.T) {
	s := start(t, ns1())
	for _, tt := range []struct {
		path, body string
		allowed    bool
		counted    string
	}{
		{MutatePath, usual(), true, "false translated"},
		{MutatePath, reviewOf(`{}`), true, "false allowed"},
		{MutatePath, reviewOf(podOf("none")), false, "false denied"},
		{MutatePath, `{}`, false, "false malformed"},
		{CheckPath, usual(), false, "true denied"},
		{CheckPath, reviewOf(podOf("region-" + iface)), true, "true allowed"},
		{MutatePath, reviewOf(podOf("none", strings.Repeat("x", 3000))), false, "false denied"},
	} {
		before := s.counts.of[tt.counted]
		status, answer := s.post(t, tt.path, tt.body)
		if status != http.StatusOK || parse(t, []byte(answer)).Allowed != tt.allowed || s.counts.of[tt.counted] != before+1 {
			t.Errorf("%s: %d %s, counted %v, want %s", tt.path, status, answer, s.counts.of, tt.counted)
		}
	}
}

func TestADenialIsLoggedWithWhatAnAdministratorWillBeAsked(t *testing.T) {
	s := start(t, ns1())
	s.post(t, MutatePath, reviewOf(podOf("none")))
	e := s.logs.LastEntry()
	if e == nil || e.Level != logrus.InfoLevel || e.Data["uid"] != uid || e.Data["namespace"] != "ns1" || e.Data["pod"] != "p" ||
		!strings.Contains(fmt.Sprint(e.Data["reason"]), "none") {
		t.Errorf("log %+v", e)
	}
	s.logs.Reset()
	s.post(t, MutatePath, usual())
	if e := s.logs.LastEntry(); e != nil {
		t.Errorf("a pod that is translated is logged: %+v", e)
	}
}

// annotated is a pod with an annotation, as the API server writes it.
func annotated(value string) string {
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{"a": value}}})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestWhatIsNoReviewGetsAStatus(t *testing.T) {
	s := start(t, ns1())
	const mib = 1 << 20
	for _, tt := range []struct {
		name, method, path, contentType string
		encoding                        string
		body                            io.Reader
		status                          int
		text                            string
	}{
		{"GET", "GET", MutatePath, "application/json", "", nil, 405, "GET"},
		{"PUT", "PUT", MutatePath, "application/json", "", strings.NewReader("{}"), 405, "PUT"},
		{"no such path", "POST", "/", "application/json", "", strings.NewReader("{}"), 404, "/pods"},
		{"below a path", "POST", "/pods/", "application/json", "", strings.NewReader("{}"), 404, "/pods"},
		{"no content type", "POST", MutatePath, "", "", strings.NewReader("{}"), 415, `""`},
		{"YAML", "POST", MutatePath, "application/yaml", "", strings.NewReader("{}"), 415, "application/yaml"},
		{"text", "POST", CheckPath, "text/plain", "", strings.NewReader("{}"), 415, "text/plain"},
		{"protobuf", "POST", MutatePath, "application/vnd.kubernetes.protobuf", "", strings.NewReader("{}"), 415, "protobuf"},
		{"with a charset", "POST", MutatePath, "application/json; charset=utf-8", "", strings.NewReader(reviewOf("{}")), 200, "allowed"},
		{"compressed", "POST", MutatePath, "application/json", "gzip", strings.NewReader("{}"), 415, "gzip"},
		{"no length", "POST", MutatePath, "application/json", "", struct{ io.Reader }{strings.NewReader("{}")}, 411, "Content-Length"},
		{"no JSON", "POST", MutatePath, "application/json", "", strings.NewReader("hello"), 400, "no JSON"},
		{"nothing", "POST", MutatePath, "application/json", "", strings.NewReader(""), 400, "no JSON"},
		{"10 MiB", "POST", MutatePath, "application/json", "", strings.NewReader(strings.Repeat(" ", 10*mib)), 413, "8 MiB"},
		{"1.4 MB of what JSON escapes", "POST", MutatePath, "application/json", "", strings.NewReader(reviewOf(annotated(strings.Repeat("<", 1_400_000)))), 413, "the body is larger than 8 MiB"},
		{"8 MiB of values", "POST", MutatePath, "application/json", "", strings.NewReader("[" + strings.Repeat("0,", 4*mib-1) + "0"), 400, "no JSON"},
		{"8 MiB of blanks", "POST", MutatePath, "application/json", "", strings.NewReader(strings.Repeat(" ", 8*mib-2) + "{}"), 200, `"allowed":false`},
		{"a pod of 7 MiB", "POST", MutatePath, "application/json", "", strings.NewReader(reviewOf(`{"metadata":{"annotations":{"a":"` + strings.Repeat("a", 7*mib) + `"}}}`)), 200, `"allowed":true`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, s.URL+tt.path, tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			if tt.encoding != "" {
				r.Header.Set("Content-Encoding", tt.encoding)
			}
			got, err := s.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Body.Close()
			b, err := io.ReadAll(got.Body)
			if err != nil || got.StatusCode != tt.status || !strings.Contains(string(b), tt.text) {
				t.Errorf("%d %s, %v; want %d %s", got.StatusCode, b, err, tt.status, tt.text)
			}
			if tt.status == 405 && got.Header.Get("Allow") != "POST" {
				t.Errorf("header %v", got.Header)
			}
		})
	}
}

// broken panics as a mistake in translation would.
type broken struct{ tables }

func (broken) Table(string) *fpga.Table { panic("index out of range") }

func TestAMistakeInTheProgramDeniesThePodAndNotTheProcess(t *testing.T) {
	s := start(t, broken{ns1()})
	for range 2 {
		status, answer := s.post(t, MutatePath, usual())
		got := parse(t, []byte(answer))
		if status != 200 || got.Allowed || string(got.UID) != uid || got.Result.Code != 500 {
			t.Errorf("%d %s", status, answer)
		}
	}
	if s.counts.panics != 2 || s.counts.of["false denied"] != 2 {
		t.Errorf("counted %d panics, %v", s.counts.panics, s.counts.of)
	}
	var stack string
	for _, e := range s.logs.AllEntries() {
		if e.Level == logrus.ErrorLevel && e.Data["uid"] == uid {
			stack = fmt.Sprint(e.Data["stack"])
		}
	}
	if !strings.Contains(stack, "broken") {
		t.Errorf("stack %q", stack)
	}
}

func TestManyClientsAtATimeGetTheirOwnAnswers(t *testing.T) {
	s := start(t, ns1())
	var wg sync.WaitGroup
	for c := range 16 {
		wg.Go(func() {
			for i := range 25 {
				id := fmt.Sprintf("%d-%d", c, i)
				names := []string{"n3o", "n0p", "none", "a10"}
				name := names[(c+i)%len(names)]
				pad := strings.Repeat(" ", i*i*i*10) // of any size, so that buffers change hands
				status, answer := s.post(t, MutatePath, strings.Replace(reviewOf(podOf(name)), uid, id, 1)+pad)
				got := parse(t, []byte(answer))
				if status != 200 || string(got.UID) != id || got.Allowed == (name == "none") {
					t.Errorf("%s asks for %s: %d %s", id, name, status, answer)
				}
			}
		})
	}
	wg.Wait()
}

func TestWhatIsHeldIsGivenBack(t *testing.T) {
	s := start(t, ns1())
	for range 8 { // each would hold a good part of its budget
		s.post(t, MutatePath, reviewOf(`{"a":"`+strings.Repeat("x", 3<<20)+`"}`))
		s.post(t, MutatePath, reviewOf(`{"a":[`+strings.Repeat("0,", 60_000)+`0]}`))
		s.post(t, MutatePath, "[["+strings.Repeat("n", 3<<20))
		s.post(t, MutatePath, "hello")
	}
	b := s.handler.budget
	if !b.small.TryAcquire(smallBodies) || !b.large.TryAcquire(largeBodies) {
		t.Error("a part is still held")
	}
	for caller, s := range b.callers {
		if s.users != 0 || !s.small.TryAcquire(callerSmall) || !s.large.TryAcquire(callerLarge) {
			t.Errorf("%s still holds a part", caller)
		}
	}
}

func TestHugeReviewsWaitForEachOtherAndUsualOnesForNobody(t *testing.T) {
	s := start(t, ns1())
	b := s.handler.budget
	if err := b.large.Acquire(t.Context(), largeBodies); err != nil {
		t.Fatal(err)
	}
	if status, answer := s.post(t, MutatePath, usual()); status != 200 {
		t.Errorf("usual: %d %s", status, answer)
	}
	many := reviewOf(`{"metadata":{},"a":[` + strings.Repeat("0,", 50_000) + `0]}`)
	huge := reviewOf(`{"metadata":{},"a":"` + strings.Repeat("x", 100<<10) + `"}`)
	for _, body := range []string{many, huge} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+MutatePath, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if r, err := s.Client().Do(r); err == nil {
			r.Body.Close()
			t.Errorf("it did not wait: %s", r.Status)
		}
		cancel()
	}
	b.large.Release(largeBodies)
	for _, body := range []string{many, huge} {
		if status, answer := s.post(t, MutatePath, body); status != 200 || !parse(t, []byte(answer)).Allowed {
			t.Errorf("afterwards: %d %.200s", status, answer)
		}
	}
}

// However many bodies one address begins to send, the others are served: it holds its share and no more.
func TestOneCallerCannotHoldUpTheOthers(t *testing.T) {
	b := newBudget()
	var rooms []room
	for range callerSmall / smallBody {
		r, err := b.body(t.Context(), "10.0.0.1:1000", smallBody)
		if err != nil {
			t.Fatal(err)
		}
		rooms = append(rooms, r)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.body(short, "10.0.0.1:1001", smallBody); !errors.Is(err, errBusy) {
		t.Errorf("one more of it: %v", err)
	}
	for i := range 100 { // others, each once
		r, err := b.body(t.Context(), fmt.Sprintf("10.0.1.%d:1000", i), smallBody)
		if err != nil {
			t.Fatalf("another: %v", err)
		}
		r.release()
	}
	if n := len(b.callers); n > 20 {
		t.Errorf("%d addresses are remembered", n)
	}
	for _, r := range rooms {
		r.release()
	}
	if !b.small.TryAcquire(smallBodies) {
		t.Error("a part is still held")
	}
}

func TestReadingABodyTakesLittleMemoryWhateverIsInIt(t *testing.T) {
	for _, body := range []string{
		reviewOf("[" + strings.Repeat("0,", 500_000) + "0]"),
		reviewOf(`{"a":[` + strings.Repeat(`{"":{}},`, 250_000) + "0]}"),
		reviewOf(`{"a":` + strings.Repeat("[", 290) + strings.Repeat("]", 290) + "}"),
		reviewOf("{" + strings.Repeat(`"spec":0,`, 50_000) + `"":0}`),
		reviewOf(`{"metadata":{"labels":{` + strings.Repeat(`"a":"\n",`, 50_000) + `"":""}}}`),
		`{"request":{"uid":"u","object":` + strings.Repeat(`{"spec":`, 500_000),
		usual(),
	} {
		text := []byte(body)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, _ = (&reviewer{}).review(t.Context(), nil, text, false, sources{Tables: ns1()}, fpga.Options{}) // what it says is not the point
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
			t.Errorf("%.60s…: %d bytes allocated for %d", body, got, len(body))
		}
	}
}
