package nristatus_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/inlay-project/inlay/internal/nristatus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socketPath is short: a unix socket's path has room for 107 bytes only.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "inlay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "run", nristatus.SocketName)
}

// serve starts a server whose status can be changed; it is stopped, and its error checked, at the end of the test.
func serve(t *testing.T, path string, status func() nristatus.Status) (stop func()) {
	t.Helper()
	s, err := nristatus.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, status) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestAskGetsTheStatusOfTheMoment(t *testing.T) {
	path := socketPath(t)
	var mu sync.Mutex
	status := nristatus.Status{Version: "1.2.3", LastError: "no such file"}
	serve(t, path, func() nristatus.Status { mu.Lock(); defer mu.Unlock(); return status })

	for _, want := range []nristatus.Status{
		{Version: "1.2.3", LastError: "no such file"},
		{Version: "1.2.3", Connected: true, Runtime: "containerd", RuntimeVersion: "2.4.2"},
		{Version: "1.2.3", Connected: true, Synchronized: true, Runtime: "cri-o", RuntimeVersion: "1.36.1", NRIVersion: "v0.11.0", Since: time.Now().UTC(), Reconnects: 7},
	} {
		mu.Lock()
		status = want
		mu.Unlock()
		got, err := nristatus.Ask(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}

func TestReadySaysWhatIsMissing(t *testing.T) {
	for _, tc := range []struct {
		status nristatus.Status
		want   string
	}{
		{nristatus.Status{Connected: true, Synchronized: true}, ""},
		{nristatus.Status{}, "inlay-nri is not connected to the container runtime"},
		{nristatus.Status{LastError: "dial unix /x: no such file"}, "inlay-nri is not connected to the container runtime: dial unix /x: no such file"},
		{nristatus.Status{Connected: true, Runtime: "containerd", RuntimeVersion: "2.4.2"}, "inlay-nri is connected to containerd 2.4.2 but not synchronized yet"},
	} {
		got := ""
		if err := tc.status.Ready(); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("Ready(%+v) = %q, want %q", tc.status, got, tc.want)
		}
	}
}

func TestSocketIsPrivateAndGoneAtTheEnd(t *testing.T) {
	path := socketPath(t)
	stop := serve(t, path, func() nristatus.Status { return nristatus.Status{} })
	for file, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", file, got, want)
		}
	}
	stop()
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := socketPath(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	// What a killed process leaves: a socket file that nobody listens on.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()

	serve(t, path, func() nristatus.Status { return nristatus.Status{Connected: true} })
	if s, err := nristatus.Ask(t.Context(), path); err != nil || !s.Connected {
		t.Errorf("Ask = %+v, %v", s, err)
	}
}

func TestLatestServerWinsAndTheOlderOneLeavesItsSocketAlone(t *testing.T) {
	path := socketPath(t)
	stopOld := serve(t, path, func() nristatus.Status { return nristatus.Status{Version: "old"} })
	serve(t, path, func() nristatus.Status { return nristatus.Status{Version: "new"} })
	stopOld()
	if s, err := nristatus.Ask(t.Context(), path); err != nil || s.Version != "new" {
		t.Errorf("Ask = %+v, %v", s, err)
	}
}

func TestOtherFilesAreNotReplaced(t *testing.T) {
	path := socketPath(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := nristatus.Listen(path); err == nil {
		s.Close()
		t.Fatal("Listen replaced a plain file")
	}
	if got, _ := os.ReadFile(path); string(got) != "precious" {
		t.Errorf("the file now holds %q", got)
	}
}

func TestAskEndsInTime(t *testing.T) {
	path := socketPath(t)
	if _, err := nristatus.Ask(t.Context(), path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}

	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path) // accepts into its backlog and never answers, as a stopped process does
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	_, err = nristatus.Ask(t.Context(), path)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent peer: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err = nristatus.Ask(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzAskOfAStranger(f *testing.F) {
	f.Add([]byte("{\"connected\":true,\"since\":\"2026-01-02T03:04:05Z\"}\n"))
	f.Add([]byte("{}"))
	f.Add([]byte("\n"))
	f.Add([]byte("{\"reconnects\":-1}\n"))
	f.Add([]byte(strings.Repeat("[", 20000) + "\n"))
	dir, err := os.MkdirTemp("/tmp", "inlay")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	f.Fuzz(func(t *testing.T, answer []byte) {
		os.Remove(path)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if conn, err := l.Accept(); err == nil {
				_, _ = conn.Write(answer)
				conn.Close()
			}
		}()
		s, err := nristatus.Ask(t.Context(), path)
		if err != nil && s != (nristatus.Status{}) {
			t.Errorf("an error and a status: %+v, %v", s, err)
		}
		l.Close()
		<-done
	})
}
