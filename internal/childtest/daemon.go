package childtest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Daemon is a program that runs.
type Daemon struct {
	Cmd  *exec.Cmd
	HTTP string // address of its HTTP server

	t    testing.TB
	done chan struct{} // closed when it has ended
	err  error         // how

	mu  sync.Mutex
	out bytes.Buffer
}

// Start runs a command until the test ends. http is the address that the command was told to serve.
func Start(t testing.TB, cmd *exec.Cmd, http string) *Daemon {
	t.Helper()
	d := &Daemon{Cmd: cmd, HTTP: http, t: t, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = (*output)(d), (*output)(d)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.done)
		d.err = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = d.Stop(syscall.SIGKILL) // how it ended is for the test to ask
		if t.Failed() {
			t.Logf("output of the program:\n%s", d.Output())
		}
	})
	return d
}

// output takes what a daemon prints.
type output Daemon

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.out.Write(p)
}

// Output is what it has printed so far.
func (d *Daemon) Output() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.String()
}

// Stop ends the program with a signal, if it has not ended, and gives its exit error.
func (d *Daemon) Stop(sig syscall.Signal) error {
	select {
	case <-d.done:
		return d.err
	default:
	}
	_ = d.Cmd.Process.Signal(sig) // it may have ended just now
	return d.Wait(10 * time.Second)
}

// Wait waits for the program's end and gives its exit error. A program that lasts longer is killed.
func (d *Daemon) Wait(limit time.Duration) error {
	select {
	case <-d.done:
		return d.err
	case <-time.After(limit):
		_ = d.Cmd.Process.Kill()
		return fmt.Errorf("it did not end within %v", limit)
	}
}

// Get asks the program's HTTP server. A status of 0 comes with the error.
func (d *Daemon) Get(path string) (status int, body string) {
	resp, err := http.Get("http://" + d.HTTP + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// Answers waits until a page of the program has all the parts.
func (d *Daemon) Answers(limit time.Duration, path string, status int, parts ...string) {
	d.t.Helper()
	Eventually(d.t, limit, func() error {
		code, body := d.Get(path)
		for _, p := range parts {
			if code != status || !strings.Contains(body, p) {
				return fmt.Errorf("%s: %d without %q:\n%s", path, code, p, body)
			}
		}
		return nil
	})
}

// Says waits until one line of the program's output has all the parts.
func (d *Daemon) Says(limit time.Duration, parts ...string) {
	d.t.Helper()
	Eventually(d.t, limit, func() error {
		for line := range strings.Lines(d.Output()) {
			found := true
			for _, p := range parts {
				found = found && strings.Contains(line, p)
			}
			if found {
				return nil
			}
		}
		return fmt.Errorf("no line with %q", parts)
	})
}

// Eventually waits until ok; it fails the test with what ok says after the limit.
func Eventually(t testing.TB, limit time.Duration, ok func() error) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		err := ok()
		if err == nil {
			return
		}
		if time.Since(began) > limit {
			t.Fatalf("not within %v: %v", limit, err)
		}
	}
}

// The ports of FreeAddress: below those that the kernel gives away (from 32768 on) and Kubernetes' own, above a kubelet's.
const (
	firstPort = 12000
	ports     = 18000
)

var handedOut atomic.Uint32 //nolint:gochecknoglobals // ports belong to the process

// FreeAddress is one of this machine that nobody listened on just now, and that nobody is given until the program listens
// there: this process gives it out once, another one gives out others, and the kernel none of these.
func FreeAddress(t testing.TB) string {
	t.Helper()
	var err error
	for range 1000 {
		port := firstPort + (os.Getpid()*101+int(handedOut.Add(1)))%ports // processes that begin together are ports apart
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal(err)
	return ""
}
