package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/internal/atomicfile"
	"github.com/inlay-project/inlay/internal/unixsock"
)

// What the FPGA system that nodes had before Inlay left in a host's tree.
const (
	EarlierHook       = "opt/intel/fpga-sw/intel-fpga-crihook"
	EarlierCheckpoint = "testdata/earlier/kubelet_internal_checkpoint"
	earlierRan        = "crihook.ran" // made by the stand-in of its hook, a line a run
)

// InstallEarlierHook puts a stand-in of the earlier system's hook in its place: it programs
// nothing and notes that it ran.
func (n *Node) InstallEarlierHook() {
	n.t.Helper()
	n.PutFile(n.HostPath(EarlierHook), fmt.Appendf(nil, "#!/bin/sh\necho ran >>%s\n", n.HostPath(earlierRan)))
	if err := os.Chmod(n.HostPath(EarlierHook), 0o755); err != nil {
		n.t.Fatal(err)
	}
}

// EarlierHookRuns is how often that hook has run.
func (n *Node) EarlierHookRuns() int {
	n.t.Helper()
	b, err := os.ReadFile(n.HostPath(earlierRan))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Fatal(err)
	}
	return len(b) / len("ran\n")
}

// EarlierCDIFile is the file that the earlier plugin wrote for an FME.
func (n *Node) EarlierCDIFile(fme string) string {
	return filepath.Join(n.CDIDir(), "intel.cdi.k8s.io-fpga-"+fme+".yaml")
}

// PutEarlierCDIFile writes it; runtimes have read it when this returns.
func (n *Node) PutEarlierCDIFile(fme string) {
	n.t.Helper()
	// By rename in the folder itself: CRI-O does not notice what is moved in from another.
	if err := atomicfile.Write(n.EarlierCDIFile(fme), fmt.Appendf(nil, `cdiVersion: 0.5.0
kind: intel.cdi.k8s.io/fpga
devices:
- name: %s
  containerEdits:
    hooks:
    - hookName: createRuntime
      path: /%s
`, fme, EarlierHook), 0o644); err != nil {
		n.t.Fatal(err)
	}
	time.Sleep(noticeTime)
}

// EarlierPlugin stands in for the device plugin that nodes had before Inlay, in af mode:
// one resource of one port, whose answer is the port's node and nothing else. As that one
// it asks neither for PreStartContainer nor for a preferred allocation.
type EarlierPlugin struct {
	pluginapi.UnimplementedDevicePluginServer
	port string
	stop context.CancelFunc
	done chan error
}

// StartEarlierPlugin registers it with the node's kubelet. It ends with Stop, or with the test.
func (i *Inlay) StartEarlierPlugin(resource, port string) *EarlierPlugin {
	i.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &EarlierPlugin{port: port, stop: cancel, done: make(chan error, 1)}
	dir := i.Node.HostPath("var/lib/kubelet/device-plugins")
	name := "fpga.intel.com-" + filepath.Base(resource) + ".sock"
	l, err := unixsock.Listen(filepath.Join(dir, name))
	if err != nil {
		cancel()
		i.t.Fatal(err)
	}
	server := grpc.NewServer()
	pluginapi.RegisterDevicePluginServer(server, p)
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	go func() { p.done <- server.Serve(l) }()
	i.Node.cleanup("the earlier plugin", func(context.Context) error {
		p.Stop()
		return nil
	})
	conn, err := grpc.NewClient("passthrough:///"+filepath.Join(dir, "kubelet.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(unixsock.Dial))
	if err != nil {
		i.t.Fatal(err)
	}
	defer conn.Close()
	_, err = pluginapi.NewRegistrationClient(conn).Register(i.Node.ctx(), &pluginapi.RegisterRequest{
		Version: pluginapi.Version, Endpoint: name, ResourceName: resource, Options: &pluginapi.DevicePluginOptions{},
	})
	if err != nil {
		i.t.Fatal(err)
	}
	if err := i.Kubelet.WaitForHealthy(i.Node.ctx(), resource, 1); err != nil {
		i.t.Fatal(err)
	}
	return p
}

// Stop ends it, as deleting its DaemonSet does.
func (p *EarlierPlugin) Stop() {
	p.stop()
	p.done <- <-p.done // may be called again
}

// GetDevicePluginOptions implements the device plugin API.
func (p *EarlierPlugin) GetDevicePluginOptions(context.Context, *pluginapi.Empty) (*pluginapi.DevicePluginOptions, error) {
	return &pluginapi.DevicePluginOptions{}, nil
}

// ListAndWatch implements the device plugin API.
func (p *EarlierPlugin) ListAndWatch(_ *pluginapi.Empty, s grpc.ServerStreamingServer[pluginapi.ListAndWatchResponse]) error {
	if err := s.Send(&pluginapi.ListAndWatchResponse{Devices: []*pluginapi.Device{{ID: p.port, Health: pluginapi.Healthy}}}); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

// Allocate implements the device plugin API.
func (p *EarlierPlugin) Allocate(context.Context, *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	node := "/dev/" + p.port
	return &pluginapi.AllocateResponse{ContainerResponses: []*pluginapi.ContainerAllocateResponse{{
		Devices: []*pluginapi.DeviceSpec{{HostPath: node, ContainerPath: node, Permissions: "rw"}},
	}}}, nil
}
