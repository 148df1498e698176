package kubelet

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/inlay-project/inlay/integration/cri"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const resource = "example.com/thing"

// fakePlugin has three devices, one of them sick, and prefers the last free one.
type fakePlugin struct {
	pluginapi.UnimplementedDevicePluginServer
	preStart error
}

func (fakePlugin) ListAndWatch(_ *pluginapi.Empty, s grpc.ServerStreamingServer[pluginapi.ListAndWatchResponse]) error {
	err := s.Send(&pluginapi.ListAndWatchResponse{Devices: []*pluginapi.Device{
		{ID: "a", Health: pluginapi.Healthy}, {ID: "b", Health: pluginapi.Unhealthy}, {ID: "c", Health: pluginapi.Healthy},
	}})
	if err == nil {
		<-s.Context().Done()
	}
	return err
}

func (fakePlugin) GetPreferredAllocation(_ context.Context, r *pluginapi.PreferredAllocationRequest) (*pluginapi.PreferredAllocationResponse, error) {
	c := r.ContainerRequests[0]
	ids := c.AvailableDeviceIDs[len(c.AvailableDeviceIDs)-int(c.AllocationSize):]
	return &pluginapi.PreferredAllocationResponse{ContainerResponses: []*pluginapi.ContainerPreferredAllocationResponse{{DeviceIDs: ids}}}, nil
}

func (fakePlugin) Allocate(_ context.Context, r *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	return &pluginapi.AllocateResponse{ContainerResponses: []*pluginapi.ContainerAllocateResponse{{
		Annotations: map[string]string{"example.com/got": r.ContainerRequests[0].DevicesIds[0]},
		Envs:        map[string]string{"THING": "from-plugin"},
		CdiDevices:  []*pluginapi.CDIDevice{{Name: "example.com/thing=gate"}},
	}}}, nil
}

func (p fakePlugin) PreStartContainer(context.Context, *pluginapi.PreStartContainerRequest) (*pluginapi.PreStartContainerResponse, error) {
	return &pluginapi.PreStartContainerResponse{}, p.preStart
}

func start(t *testing.T) (k *Kubelet, dir string) {
	t.Helper()
	// Not t.TempDir: its path is too long for a unix socket.
	dir, err := os.MkdirTemp("", "ik")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if k, err = Start(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	})
	return k, dir
}

// register serves the plugin and registers it.
func register(t *testing.T, dir string, p fakePlugin) {
	t.Helper()
	socket := filepath.Join(dir, "device-plugins", "thing.sock")
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pluginapi.RegisterDevicePluginServer(s, p)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn := dial(t, filepath.Join(dir, "device-plugins", "kubelet.sock"))
	_, err = pluginapi.NewRegistrationClient(conn).Register(t.Context(), &pluginapi.RegisterRequest{
		Version: pluginapi.Version, Endpoint: "thing.sock", ResourceName: resource,
		Options: &pluginapi.DevicePluginOptions{PreStartRequired: true, GetPreferredAllocationAvailable: true},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAllocationIsMergedIntoAContainer(t *testing.T) {
	k, dir := start(t)
	register(t, dir, fakePlugin{})
	if err := k.WaitForHealthy(soon(t), resource, 2); err != nil {
		t.Fatal(err)
	}
	a, err := k.Allocate(soon(t), Owner{"ns", "pod", "main"}, Request{resource: 1})
	if err != nil {
		t.Fatal(err)
	}
	got := a.Apply(cri.ContainerSpec{Name: "main", Env: []string{"THING=from-pod"}})
	want := cri.ContainerSpec{
		Name: "main", Env: []string{"THING=from-plugin", "THING=from-pod"},
		Annotations: map[string]string{"example.com/got": "c"}, CDIDevices: []string{"example.com/thing=gate"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestADeviceIsGivenOnceAndTheSameOneAgain(t *testing.T) {
	k, dir := start(t)
	register(t, dir, fakePlugin{})
	if err := k.WaitForHealthy(soon(t), resource, 2); err != nil {
		t.Fatal(err)
	}
	first, second := Owner{"ns", "one", "main"}, Owner{"ns", "two", "main"}
	give := func(o Owner) string {
		t.Helper()
		a, err := k.Allocate(soon(t), o, Request{resource: 1})
		if err != nil {
			t.Fatal(err)
		}
		return a.Devices[resource][0]
	}
	if one, two := give(first), give(second); one == two {
		t.Errorf("both got %s", one)
	}
	if again := give(first); again != "c" {
		t.Errorf("the container made anew got %s", again)
	}
	if _, err := k.Allocate(soon(t), Owner{"ns", "three", "main"}, Request{resource: 1}); !errors.Is(err, ErrNotEnough) {
		t.Errorf("got %v", err)
	}
	k.Free(first)
	if got := give(Owner{"ns", "three", "main"}); got != "c" {
		t.Errorf("the freed device was not given: %s", got)
	}
}

func TestPodResourcesTellWhatWasClaimed(t *testing.T) {
	k, _ := start(t)
	k.Claim(Owner{"ns", "pod", "main"}, resource, "a", "b")
	api := podresources.NewPodResourcesListerClient(dial(t, k.PodResourcesSocket()))
	got, err := api.Get(soon(t), &podresources.GetPodResourcesRequest{PodName: "pod", PodNamespace: "ns"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, got.PodResources.Containers[0].Devices[0].DeviceIds); diff != "" {
		t.Error(diff)
	}
	k.SetSilent(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := api.List(ctx, &podresources.ListPodResourcesRequest{}); err == nil {
		t.Error("a silent kubelet answered")
	}
}

func TestPreStartRefusalIsPassedOn(t *testing.T) {
	k, dir := start(t)
	register(t, dir, fakePlugin{preStart: errors.New("not now")})
	o := Owner{"ns", "pod", "main"}
	k.Claim(o, resource, "a")
	if err := k.PreStart(soon(t), o); err == nil {
		t.Error("PreStartContainer's error was swallowed")
	}
}

func TestRestartForgetsPluginsAndKeepsAllocations(t *testing.T) {
	k, dir := start(t)
	register(t, dir, fakePlugin{})
	if err := k.WaitForHealthy(soon(t), resource, 2); err != nil {
		t.Fatal(err)
	}
	o := Owner{"ns", "pod", "main"}
	k.Claim(o, resource, "a")
	if err := k.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := k.Resources(); len(got) != 0 {
		t.Errorf("resources after a restart: %v", got)
	}
	if got := k.Claimed(o)[resource]; len(got) != 1 {
		t.Errorf("claims after a restart: %v", got)
	}
	register(t, dir, fakePlugin{})
	if err := k.WaitForHealthy(soon(t), resource, 2); err != nil {
		t.Error(err)
	}
}
