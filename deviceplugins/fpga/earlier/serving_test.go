package earlier_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/fpga/earlier"
	"github.com/inlay-project/inlay/internal/unixsock"
)

// plugin is a device plugin that counts how often it is asked.
type plugin struct {
	v1beta1.UnimplementedDevicePluginServer
	preStart bool
	wait     chan struct{} // answers when it is closed; nil is at once
	asked    atomic.Int32
}

func (p *plugin) GetDevicePluginOptions(context.Context, *v1beta1.Empty) (*v1beta1.DevicePluginOptions, error) {
	p.asked.Add(1)
	if p.wait != nil {
		<-p.wait
	}
	return &v1beta1.DevicePluginOptions{PreStartRequired: p.preStart}, nil
}

func serve(t *testing.T, dir, name string, p *plugin) (stop func()) {
	t.Helper()
	l, err := unixsock.Listen(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	v1beta1.RegisterDevicePluginServer(server, p)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	stop = sync.OnceFunc(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func served(t *testing.T, s *earlier.Sockets, dir string) string {
	t.Helper()
	var names []string
	for _, sign := range s.Served(t.Context(), dir) {
		names = append(names, filepath.Base(sign.Path))
	}
	return strings.Join(names, " ")
}

func TestOnlyAPluginThatIsNotInlaysIsASign(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := &plugin{preStart: true}, &plugin{}
	serve(t, dir, "fpga.intel.com-ours.sock", ours)
	stop := serve(t, dir, "fpga.intel.com-theirs.sock", theirs)
	serve(t, dir, "gpu.intel.com-i915.sock", &plugin{})
	if err := os.WriteFile(filepath.Join(dir, "fpga.intel.com-file.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := earlier.Sockets{Limit: 10 * time.Second}
	for range 3 {
		if got := served(t, &s, dir); got != "fpga.intel.com-theirs.sock" {
			t.Errorf("served: %q", got)
		}
	}
	if o, h := ours.asked.Load(), theirs.asked.Load(); o != 1 || h != 3 {
		t.Errorf("ours was asked %d times, theirs %d; want once and at every look", o, h)
	}
	stop() // the file stays, as after a kill
	if got := served(t, &s, dir); got != "" {
		t.Errorf("after its end: %q", got)
	}
	if got := served(t, &s, dir+"/none"); got != "" {
		t.Errorf("without a kubelet: %q", got)
	}
}

// In the same mode both have the same socket, and Inlay has it in the end.
func TestAPluginThatLostItsSocketIsNamedWhileItRuns(t *testing.T) {
	const name = "fpga.intel.com-region-x.sock"
	for what, took := range map[string]func(t *testing.T, s *earlier.Sockets, dir string, theirs *plugin){
		"after it was seen": func(t *testing.T, s *earlier.Sockets, dir string, theirs *plugin) {
			close(theirs.wait)
			if signs := s.Served(t.Context(), dir); len(signs) != 1 || !strings.Contains(signs[0].Reason, "another FPGA device plugin serves it") {
				t.Errorf("before: %+v", signs)
			}
		},
		"before it answered": func(t *testing.T, s *earlier.Sockets, dir string, theirs *plugin) {
			s.Limit = 50 * time.Millisecond
			if signs := s.Served(t.Context(), dir); len(signs) != 0 || !s.Unsure() {
				t.Errorf("before: %+v, unsure %t", signs, s.Unsure())
			}
			close(theirs.wait)
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			s := &earlier.Sockets{Limit: 10 * time.Second}
			theirs := &plugin{wait: make(chan struct{})}
			stop := serve(t, dir, name, theirs)
			took(t, s, dir, theirs)
			s.Limit = 10 * time.Second
			serve(t, dir, name, &plugin{preStart: true})
			for range 3 {
				signs := s.Served(t.Context(), dir)
				if len(signs) != 1 || filepath.Base(signs[0].Path) != name ||
					!strings.Contains(signs[0].Reason, "another FPGA device plugin served it before and still runs: delete its DaemonSet (kubectl get daemonset") {
					t.Errorf("afterwards: %+v", signs)
				}
			}
			stop()
			if got := served(t, s, dir); got != "" || s.Unsure() {
				t.Errorf("after its end: %q, unsure %t", got, s.Unsure())
			}
		})
	}
}

// A roll-out of Inlay itself.
func TestAnInlayThatLostItsSocketIsNoSign(t *testing.T) {
	dir := t.TempDir()
	s := &earlier.Sockets{Limit: 10 * time.Second}
	for range 3 {
		serve(t, dir, "fpga.intel.com-region-x.sock", &plugin{preStart: true}) // until the test ends
		if got := served(t, s, dir); got != "" {
			t.Errorf("served: %q", got)
		}
	}
}

// A plugin that was stopped with SIGSTOP accepts and does not answer.
func TestAPluginThatHangsHoldsNobodyUp(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "ea") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "fpga.intel.com-hung.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	serve(t, dir, "fpga.intel.com-theirs.sock", &plugin{})
	began := time.Now()
	s := earlier.Sockets{Limit: time.Second} // the other one has the rest of the 2 s for all
	if got := served(t, &s, dir); got != "fpga.intel.com-theirs.sock" {
		t.Errorf("served: %q", got)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
