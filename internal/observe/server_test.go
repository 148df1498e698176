package observe

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server until the test ends.
func serve(t *testing.T, registry *Registry, ready ...Check) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", registry, ready...)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s
}

func run(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + s.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestReadyzListsWhatIsMissingALineEach(t *testing.T) {
	missing := map[string][]string{}
	check := func(name string) Check { return func() []string { return missing[name] } }
	s := serve(t, nil, check("kubelet"), check("nri"))
	for _, tt := range []struct {
		name    string
		missing map[string][]string
		code    int
		body    string
	}{
		{"nothing", nil, 200, "ready\n"},
		{"one", map[string][]string{"nri": {"nri: not connected"}}, 503, "nri: not connected\n"},
		{
			"several in the order of the checks",
			map[string][]string{"nri": {"nri: not connected"}, "kubelet": {"kubelet: no socket", "cdi: read-only file system"}},
			503, "kubelet: no socket\ncdi: read-only file system\nnri: not connected\n",
		},
		{"text of several lines", map[string][]string{"nri": {"nri: a\n\tb  c\n"}}, 503, "nri: a b c\n"},
	} {
		missing = tt.missing
		if code, body := get(t, s, "/readyz"); code != tt.code || body != tt.body {
			t.Errorf("%s: %d %q, want %d %q", tt.name, code, body, tt.code, tt.body)
		}
		if code, body := get(t, s, "/healthz"); code != 200 || body != "ok\n" {
			t.Errorf("%s: healthz %d %q", tt.name, code, body)
		}
	}
}

func TestACheckWithANameCanBeLeftOut(t *testing.T) {
	s, err := Listen("127.0.0.1:0", nil, func() []string { return nil })
	if err != nil {
		t.Fatal(err)
	}
	s.Also("hardware", func() []string { return []string{"card 1 is dead"} })
	run(t, s)
	for query, want := range map[string]int{
		"": 503, "?exclude=hardware": 200, "?exclude=other&exclude=hardware": 200, "?exclude=other": 503, "?exclude=": 503,
	} {
		if code, body := get(t, s, "/readyz"+query); code != want || (code == 503) != (body == "card 1 is dead\n") {
			t.Errorf("/readyz%s: %d %q, want %d", query, code, body, want)
		}
	}
	unnamed := serve(t, nil, func() []string { return []string{"kubelet: no socket"} })
	if code, _ := get(t, unnamed, "/readyz?exclude="); code != 503 {
		t.Errorf("a check without a name was left out: %d", code)
	}
}

func TestOnlyTheThreePathsAreServed(t *testing.T) {
	s := serve(t, nil)
	for path, want := range map[string]int{"/": 404, "/metrics": 404, "/debug/pprof/": 404, "/readyz/": 404, "/readyz": 200} {
		if code, _ := get(t, s, path); code != want {
			t.Errorf("GET %s: %d, want %d", path, code, want)
		}
	}
}

func TestAnEmptyAddressIsOff(t *testing.T) {
	s, err := Listen("", NewRegistry("test"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := s.Serve(ctx); err != nil || ctx.Err() == nil || s.Addr() != "" || s.Close() != nil {
		t.Errorf("Serve() = %v before its context ended (%v), address %q", err, ctx.Err(), s.Addr())
	}
}

func TestATakenPortIsAnErrorThatNamesTheFlag(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const wayOut = "; give another address, or an empty one for none"
	for addr, want := range map[string]string{
		taken.Addr().String(): "--http " + taken.Addr().String() + ": bind: " + syscall.EADDRINUSE.Error(),
		"9770":                "--http 9770: address 9770: missing port in address",
	} {
		if _, err := Listen(addr, nil); err == nil || err.Error() != want+wayOut {
			t.Errorf("Listen(%s) = %v, want %s", addr, err, want+wayOut)
		}
	}
}

func TestAnswersUnderWayAreFinishedWhenTheProcessStops(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	s, err := Listen("127.0.0.1:0", nil, func() []string { close(asked); <-answer; return nil })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	got := make(chan string, 1)
	go func() {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			got <- err.Error()
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET /readyz HTTP/1.0\r\n\r\n") // a failure shows in what is read
		b, _ := io.ReadAll(conn)
		got <- string(b)
	}()
	<-asked
	cancel()
	close(answer)
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if s := <-got; !strings.HasSuffix(s, "ready\n") {
		t.Errorf("answer %q", s)
	}
}

func TestATakenListenerIsAnErrorOfServe(t *testing.T) {
	s, err := Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(context.Background()); err == nil || !strings.Contains(err.Error(), "http 127.0.0.1:") {
		t.Errorf("Serve() = %v", err)
	}
}
