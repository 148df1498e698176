package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/internal/unixsock"
)

// earlierPlugin answers as the FPGA plugin that nodes had before does.
type earlierPlugin struct {
	v1beta1.UnimplementedDevicePluginServer
}

func (earlierPlugin) GetDevicePluginOptions(context.Context, *v1beta1.Empty) (*v1beta1.DevicePluginOptions, error) {
	return &v1beta1.DevicePluginOptions{}, nil
}

// serveEarlier serves a resource's socket as another process than inlay-deviceplugin, until stop is called.
func serveEarlier(t *testing.T, root, resource string) (stop func()) {
	t.Helper()
	l, err := unixsock.Listen(filepath.Join(root, "var/lib/kubelet/device-plugins", strings.Replace(resource, "/", "-", 1)+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	v1beta1.RegisterDevicePluginServer(server, earlierPlugin{})
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

// In the same mode both plugins have one socket. The kubelet asks ours, and the other one still runs.
func TestAnEarlierPluginWhoseSocketIsTakenOverIsNamedWhileItRuns(t *testing.T) {
	t.Parallel()
	root := emulated(t, "dfl")
	k := startKubelet(t, root)
	stop := serveEarlier(t, root, region)
	d := start(t, root, "--fpga-mode", "region")
	lists(t, limit, k, region, 1, "dfl-fme.0")
	const says = "another FPGA device plugin served it before and still runs: " +
		"delete its DaemonSet (kubectl get daemonset -A -l app=intel-fpga-plugin,app.kubernetes.io/part-of!=inlay)"
	d.Says(limit, "level=warning", "another live process serves the socket: taking it over", fmt.Sprintf("process %d (", os.Getpid()))
	d.Says(limit, "level=warning", "not offered: "+says, "fpga.intel.com-region-"+iface+".sock")
	d.Answers(limit, "/readyz", 503, "/fpga.intel.com-region-"+iface+".sock: "+says)
	d.Answers(limit, "/readyz?exclude=hardware", 200, "ready") // a roll-out does not wait for its end
	time.Sleep(6 * time.Second)                                // an audit
	d.Answers(limit, "/readyz", 503, says)
	stop()
	d.Answers(limit, "/readyz", 200, "ready")
	lists(t, limit, k, region, 1, "dfl-fme.0")
}

// In a roll-out the Inlay of before may live for a moment.
func TestAnInlayWhoseSocketIsTakenOverIsNotTakenForAnEarlierPlugin(t *testing.T) {
	t.Parallel()
	root := emulated(t, "dfl")
	k := startKubelet(t, root)
	old := start(t, root, "--fpga-mode", "region")
	lists(t, limit, k, region, 1, "dfl-fme.0")
	old.Answers(limit, "/readyz", 200, "ready")
	d := start(t, root, "--fpga-mode", "region")
	d.Says(limit, "another live process serves the socket: taking it over")
	old.Answers(limit, "/readyz", 503, "another process serves it, standing by")
	d.Answers(limit, "/readyz", 200, "ready")
	time.Sleep(6 * time.Second) // an audit
	for _, one := range []string{old.Output(), d.Output()} {
		if strings.Contains(one, "another FPGA device plugin") {
			t.Errorf("an Inlay was taken for an earlier plugin:\n%s", one)
		}
	}
}

// A kubelet that ends the old stream at each registration must not be registered with for ever.
func TestASocketThatIsPutBackDoesNotMakeRegistrationsWithoutEnd(t *testing.T) {
	root := emulated(t, "dfl", "dfl")
	k := startKubelet(t, root)
	d := start(t, root, "--fpga-mode", "region")
	lists(t, limit, k, region, 2, "dfl-fme.0", "dfl-fme.1")
	for range 3 {
		for _, s := range sockets(t, root) {
			if err := os.Remove(s); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(300 * time.Millisecond)
	}
	// One for the socket and one for the old stream, more where the kubelet's streams begin late; but they come to an
	// end, and where they do not they are never further apart than the engine's longest pause of 3.75 s.
	for end, n := time.Now().Add(limit), 0; ; {
		was := n
		if n = strings.Count(d.Output(), "registered with the kubelet"); n == was {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d registrations, and no end", n)
		}
		time.Sleep(4 * time.Second)
	}
	d.Answers(limit, "/readyz", 200, "ready")
}
