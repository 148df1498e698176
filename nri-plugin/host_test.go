package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/nodestate"
	"github.com/inlay-project/inlay/internal/record"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

const (
	iface = bitstreamtest.Interface
	nlb3  = bitstreamtest.OtherAFU
	card0 = "0000:3b:00.0"
)

func TestMain(m *testing.M) {
	logrus.SetLevel(logrus.PanicLevel) // the adaptation's own chatter
	code := m.Run()
	os.RemoveAll(binary.dir)
	os.Exit(code)
}

// binary is inlay-nri, built once a test run.
var binary struct {
	once sync.Once
	dir  string
	err  error
}

func inlayNRI(t *testing.T) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "inlay-nri-test"); binary.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(binary.dir, "inlay-nri"), ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return filepath.Join(binary.dir, "inlay-nri")
}

// host is a node with one emulated card, and where inlay-nri is told to find things.
type host struct {
	t                  *testing.T
	root, socket, http string
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "nri") // a socket's path has room for 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &host{t: t, root: dir, socket: filepath.Join(dir, "var/nri/nri.sock"), http: childtest.FreeAddress(t)}
	if err := emulator.WriteTree(dir, []emulator.Card{{Driver: emulator.DFL, Ports: 1}}, emulator.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	if _, err := bitstreamtest.WriteGBS(filepath.Join(dir, "srv/intel.com/fpga"), bitstreamtest.GBS{AFU: nlb3}); err != nil {
		t.Fatal(err)
	}
	hook := filepath.Join(dir, "opt/inlay/bin/inlay-hook")
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := nodestate.Write(h.runDir(), nodestate.State{Mode: "region", Grant: "nri"}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) runDir() string { return filepath.Join(h.root, "run/inlay") }

// start runs inlay-nri until the test ends.
func (h *host) start(flags ...string) *childtest.Daemon {
	h.t.Helper()
	args := append([]string{
		"--host-root", h.root, "--nri-socket", h.socket, "--http", h.http, "--podresources=", "--log-format", "json",
	}, flags...)
	return childtest.Start(h.t, exec.Command(inlayNRI(h.t), args...), h.http)
}

// stop asks inlay-nri to end, which must not take long, and gives its exit error.
func stop(t *testing.T, p *childtest.Daemon) error {
	t.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return p.Wait(5 * time.Second)
}

func (h *host) get(path string) (int, string) {
	h.t.Helper()
	client := http.Client{Timeout: 2 * time.Second}
	response, err := client.Get("http://" + h.http + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

// eventually waits for a condition that other processes make true.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func (h *host) readyz(status int, text string) {
	h.t.Helper()
	var got int
	var body string
	eventually(h.t, fmt.Sprintf("/readyz %d %q", status, text), func() bool {
		got, body = h.get("/readyz")
		return got == status && strings.Contains(body, text)
	})
}

func (h *host) metric(line string) {
	h.t.Helper()
	_, body := h.get("/metrics")
	if !strings.Contains(body, "\n"+line+"\n") {
		var ours []string
		for l := range strings.Lines(body) {
			if strings.HasPrefix(l, "inlay_nri") || strings.HasPrefix(l, "inlay_inj") {
				ours = append(ours, l)
			}
		}
		h.t.Errorf("no metric %s in:\n%s", line, strings.Join(ours, ""))
	}
}

func (h *host) runtime(opts enginetest.Options) *enginetest.Runtime {
	h.t.Helper()
	r, err := enginetest.Start(h.socket, opts)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(r.Stop)
	return r
}

func waitPlugins(t *testing.T, r *enginetest.Runtime) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), 10*time.Second, errors.New("too late"))
	defer cancel()
	if err := r.WaitPlugins(ctx, 1); err != nil {
		t.Fatal(err)
	}
}

func testPod() *api.PodSandbox {
	return &api.PodSandbox{Id: "p1", Name: "pod", Namespace: "ns", Uid: "u1"}
}

func plain() *api.Container { return &api.Container{Id: "c0", PodSandboxId: "p1", Name: "plain"} }

func fpgaContainer() *api.Container {
	return &api.Container{
		Id: "c1", PodSandboxId: "p1", Name: "app", Env: []string{"FPGA_REGION_1=" + iface, "FPGA_AFU_1=" + nlb3},
		Annotations: map[string]string{record.Key("region-" + iface): "dfl-fme.0@" + card0},
	}
}

func wantGranted(t *testing.T, r *enginetest.Runtime) {
	t.Helper()
	adjust, err := r.CreateContainer(t.Context(), testPod(), fpgaContainer())
	if err != nil {
		t.Fatal(err)
	}
	devices, hooks := adjust.GetLinux().GetDevices(), adjust.GetHooks().GetCreateRuntime()
	if len(devices) != 1 || devices[0].Path != "/dev/dfl-port.0" || devices[0].Major != 243 || len(hooks) != 1 {
		t.Fatalf("adjustment %v", adjust)
	}
	want := "inlay-hook program --mode region --for ns/pod/app --pair dfl-port.0@" + card0 + "=" + iface + "/" + nlb3 + " --timeout 59s"
	if got := strings.Join(hooks[0].Args, " "); got != want || hooks[0].Path != "/opt/inlay/bin/inlay-hook" {
		t.Errorf("hook %s %s, want %s", hooks[0].Path, got, want)
	}
}

// wantUntouched creates a container that is none of ours: its OCI spec must be the same afterwards.
func wantUntouched(t *testing.T, r *enginetest.Runtime) {
	t.Helper()
	adjust, err := r.CreateContainer(t.Context(), testPod(), plain())
	if err != nil {
		t.Fatal(err)
	}
	spec := func() *rspec.Spec {
		return &rspec.Spec{Process: &rspec.Process{Args: []string{"sh"}, Env: []string{"A=b"}}, Linux: &rspec.Linux{}}
	}
	got := spec()
	if err := enginetest.ApplyAdjustment(got, adjust, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(spec(), got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("a plain container's spec (-before +after):\n%s", diff)
	}
}
