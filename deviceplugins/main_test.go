package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// asProgram makes this test binary be inlay-deviceplugin.
const asProgram = "INLAY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(cli.Main(newCommand()))
	}
	os.Exit(m.Run())
}

// The ids of the specification's samples and the resources that they give.
const (
	iface = "69528db6eb31577a8c3668f9faa081f6"
	nlb3  = "f7df405cbd7acf7222f144b0b93acd18"
	ones  = "ffffffffffffffffffffffffffffffff"

	region = "fpga.intel.com/region-" + iface
	afNLB0 = "fpga.intel.com/af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs"
	afNLB3 = "fpga.intel.com/af-695.f7d.aVKNtusxV3qMNmj5-qCB9vffQFy9es9yIvFEsLk6zRg"
)

// shortDir is a folder whose path leaves room for a socket's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "dp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// emulated writes a host tree with these cards.
func emulated(t testing.TB, cards ...string) string {
	t.Helper()
	dir := shortDir(t)
	plug(t, dir, cards...)
	return dir
}

// plug adds cards to a tree that has none yet.
func plug(t testing.TB, dir string, cards ...string) {
	t.Helper()
	var list []emulator.Card
	for _, text := range cards {
		c, err := emulator.ParseCard(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	if err := emulator.WriteTree(dir, list, emulator.PlainNodes()); err != nil {
		t.Fatal(err)
	}
}

// golden makes one of the trees of package card.
func golden(t testing.TB, name string) string {
	t.Helper()
	dir := shortDir(t)
	if err := hostfstest.ExtractFile(dir, filepath.Join("../fpga/card/testdata", name+".txtar"), hostfstest.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// setAttr writes a file of the emulated sysfs, given by a pattern.
func setAttr(t testing.TB, pattern, value string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing matches %s (%v)", pattern, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func afuOf(root, port string) string { return root + "/sys/bus/platform/devices/" + port + "/afu_id" }

func compatOf(root, fme string) string {
	return root + "/sys/bus/platform/devices/" + fme + "/dfl-fme-region.*/fpga_region/region*/compat_id"
}

// command is this program with arguments and an environment of nothing else.
func command(args []string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append([]string{asProgram + "=1", "GOCOVERDIR=" + os.TempDir()}, env...)
	return cmd
}

// ran is a program that has ended.
type ran struct {
	code           int
	stdout, stderr string
}

func run(t testing.TB, args []string, env ...string) ran {
	t.Helper()
	cmd := command(args, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// daemon is a program that runs.
type daemon struct {
	t    testing.TB
	cmd  *exec.Cmd
	http string
	done chan error

	mu  sync.Mutex
	out bytes.Buffer
}

func (d *daemon) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.Write(p)
}

func (d *daemon) output() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.String()
}

// start runs the program on a host tree until the test ends.
func start(t testing.TB, root string, args ...string) *daemon {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	d := &daemon{t: t, http: addr, done: make(chan error, 1)}
	d.cmd = command(append([]string{"--host-root", root, "--http", addr, "--log-level", "debug"}, args...))
	d.cmd.Stdout, d.cmd.Stderr = d, d
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.done <- d.cmd.Wait() }()
	t.Cleanup(func() {
		_ = d.stop(syscall.SIGKILL) // how it ended is for the test to ask
		if t.Failed() {
			t.Logf("output of the program:\n%s", d.output())
		}
	})
	return d
}

// stop ends the program with a signal and gives its exit error.
func (d *daemon) stop(sig syscall.Signal) error {
	select {
	case err := <-d.done:
		d.done <- err
		return err
	default:
	}
	_ = d.cmd.Process.Signal(sig) // it may have ended just now
	select {
	case err := <-d.done:
		d.done <- err
		return err
	case <-time.After(10 * time.Second):
		_ = d.cmd.Process.Kill()
		return errors.New("it did not end within 10 s")
	}
}

// get asks the program's HTTP server.
func (d *daemon) get(path string) (status int, body string) {
	resp, err := http.Get("http://" + d.http + path)
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

// eventually waits until ok; it fails the test with what ok says after the limit.
func eventually(t testing.TB, limit time.Duration, ok func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Since(began) > limit {
			t.Fatalf("not within %v: %v", limit, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (d *daemon) says(limit time.Duration, parts ...string) {
	d.t.Helper()
	eventually(d.t, limit, func() error {
		for line := range strings.Lines(d.output()) {
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

// answers waits until a page of the program has all the parts.
func (d *daemon) answers(limit time.Duration, path string, status int, parts ...string) {
	d.t.Helper()
	eventually(d.t, limit, func() error {
		code, body := d.get(path)
		for _, p := range parts {
			if code != status || !strings.Contains(body, p) {
				return fmt.Errorf("%s: %d without %q:\n%s", path, code, p, body)
			}
		}
		return nil
	})
}

// startKubelet serves the kubelet's sockets of a tree.
func startKubelet(t testing.TB, root string) *kubelet.Kubelet {
	t.Helper()
	k, err := kubelet.Start(root + "/var/lib/kubelet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Stop() })
	return k
}

// lists waits until the kubelet has exactly these devices of a resource, the healthy ones first.
func lists(t testing.TB, limit time.Duration, k *kubelet.Kubelet, resource string, healthy int, ids ...string) {
	t.Helper()
	eventually(t, limit, func() error {
		got, n := k.Devices(resource)
		if fmt.Sprint(got) != fmt.Sprint(ids) || n != healthy {
			return fmt.Errorf("%s has %v, %d of them healthy, want %v and %d; resources %v", resource, got, n, ids, healthy, k.Resources())
		}
		return nil
	})
}
