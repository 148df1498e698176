package podresources_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/inlay-project/inlay/internal/podresources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kubelet is a podresources server that answers what it is told to.
type kubelet struct {
	v1.UnimplementedPodResourcesListerServer
	answer *v1.ListPodResourcesResponse
	delay  time.Duration
}

func (k *kubelet) List(ctx context.Context, _ *v1.ListPodResourcesRequest) (*v1.ListPodResourcesResponse, error) {
	select {
	case <-time.After(k.delay):
		return k.answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve starts a kubelet. The socket's name is one that a URL parser would stumble over.
func serve(t *testing.T, k *kubelet) podresources.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "k %41?#.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	v1.RegisterPodResourcesListerServer(s, k)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return podresources.Client{Socket: socket}
}

func devices(resource string, ids ...string) *v1.ContainerDevices {
	return &v1.ContainerDevices{ResourceName: resource, DeviceIds: ids}
}

func TestTheAnswerListsWhoHoldsWhat(t *testing.T) {
	c := serve(t, &kubelet{answer: &v1.ListPodResourcesResponse{PodResources: []*v1.PodResources{
		{Namespace: "a", Name: "p", Containers: []*v1.ContainerResources{
			{Name: "c", Devices: []*v1.ContainerDevices{
				devices("fpga.intel.com/x", "dfl-fme.0"), devices("gpu.intel.com/i915", "card0"), devices("fpga.intel.com/x", "dfl-fme.1"),
			}},
			{Name: "plain"},
		}},
		{Namespace: "b", Name: "p", Containers: []*v1.ContainerResources{{Name: "c", Devices: []*v1.ContainerDevices{devices("fpga.intel.com/x", "dfl-fme.2")}}}},
		nil,
	}}})
	l, err := c.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []podresources.Holding{
		{Namespace: "a", Pod: "p", Container: "c", Resource: "fpga.intel.com/x", Devices: []string{"dfl-fme.0", "dfl-fme.1"}},
		{Namespace: "a", Pod: "p", Container: "c", Resource: "gpu.intel.com/i915", Devices: []string{"card0"}},
		{Namespace: "b", Pod: "p", Container: "c", Resource: "fpga.intel.com/x", Devices: []string{"dfl-fme.2"}},
	}
	if d := cmp.Diff(want, l.Holdings); d != "" {
		t.Error(d)
	}
	for _, k := range []struct {
		ns, pod, ctr string
		want         bool
	}{{"a", "p", "c", true}, {"a", "p", "plain", true}, {"b", "p", "plain", false}, {"a", "q", "c", false}, {"", "", "", false}} {
		if got := l.Known(k.ns, k.pod, k.ctr); got != k.want {
			t.Errorf("Known(%s/%s/%s) is %v", k.ns, k.pod, k.ctr, got)
		}
	}
}

func TestALargeNodeIsListedWhole(t *testing.T) {
	answer := &v1.ListPodResourcesResponse{}
	for range 3000 {
		answer.PodResources = append(answer.PodResources, &v1.PodResources{Namespace: "n", Name: strings.Repeat("p", 2000)})
	}
	if _, err := serve(t, &kubelet{answer: answer}).List(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAnEmptyAnswerIsAnAnswer(t *testing.T) {
	l, err := serve(t, &kubelet{answer: &v1.ListPodResourcesResponse{}}).List(t.Context())
	if d := cmp.Diff([]podresources.Holding{}, l.Holdings, cmpopts.EquateEmpty()); err != nil || d != "" || l.Known("a", "b", "c") {
		t.Errorf("%v %s", err, d)
	}
}

func TestAKubeletThatDoesNotAnswerIsAnError(t *testing.T) {
	slow := serve(t, &kubelet{delay: time.Minute, answer: &v1.ListPodResourcesResponse{}})
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(100*time.Millisecond, cancel).Stop()
	deaf := filepath.Join(t.TempDir(), "deaf.sock")
	l, err := net.Listen("unix", deaf) // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, c := range map[string]struct {
		client podresources.Client
		ctx    context.Context
		says   string
	}{
		"nobody listens":          {podresources.Client{Socket: filepath.Join(t.TempDir(), "none.sock")}, t.Context(), "none.sock"},
		"it is slow":              {slow, t.Context(), "DeadlineExceeded"},
		"the caller is impatient": {slow, ctx, "Canceled"},
		"it is deaf":              {podresources.Client{Socket: deaf}, t.Context(), "DeadlineExceeded"},
		"no socket":               {podresources.Client{}, t.Context(), "connection error"},
	} {
		began := time.Now()
		l, err := c.client.List(c.ctx)
		if err == nil || l != nil || !strings.Contains(err.Error(), c.client.Socket) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", name, l, err)
		}
		if took := time.Since(began); took > podresources.Timeout+5*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
}
