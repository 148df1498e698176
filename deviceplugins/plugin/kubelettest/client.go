package kubelettest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/internal/unixsock"
)

// registration is the service on kubelet.sock.
type registration struct {
	v1beta1.UnimplementedRegistrationServer
	life *life
}

// client is the kubelet's connection to one endpoint.
type client struct {
	resource string
	conn     *grpc.ClientConn
	api      v1beta1.DevicePluginClient
}

// dialTimeout is what the kubelet gives itself to reach an endpoint.
const dialTimeout = 10 * time.Second

func (s *registration) Register(ctx context.Context, req *v1beta1.RegisterRequest) (*v1beta1.Empty, error) {
	l, k := s.life, s.life.k
	k.mu.Lock()
	if k.refuse > 0 {
		k.refuse--
		k.mu.Unlock()
		return nil, errors.New("registration refused by the script")
	}
	k.mu.Unlock()
	if req.GetVersion() != v1beta1.Version {
		return nil, fmt.Errorf("requested API version %q is not supported", req.GetVersion())
	}
	c, opts, err := l.connect(ctx, req)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life != l {
		c.conn.Close()
		return nil, errors.New("the kubelet is going down")
	}
	r := k.resources[c.resource]
	if r == nil {
		r = &Resource{Name: c.resource}
		k.resources[c.resource] = r
	}
	r.Options, r.Stopped = opts, false
	l.clients[c.resource] = c
	l.all = append(l.all, c)
	k.history = append(k.history, Registration{Resource: c.resource, Endpoint: req.GetEndpoint(), At: time.Now()})
	k.tell()
	l.tasks.Go(func() { l.run(c) })
	return &v1beta1.Empty{}, nil
}

func (l *life) connect(ctx context.Context, req *v1beta1.RegisterRequest) (*client, *v1beta1.DevicePluginOptions, error) {
	path := filepath.Join(l.k.folder, req.GetEndpoint())
	conn, err := grpc.NewClient("passthrough:///"+req.GetEndpoint(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"), grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return unixsock.Dial(ctx, path) }))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c := &client{resource: req.GetResourceName(), conn: conn, api: v1beta1.NewDevicePluginClient(conn)}
	opts, err := c.api.GetDevicePluginOptions(ctx, &v1beta1.Empty{})
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("failed to get device plugin options: %w", err)
	}
	return c, opts, nil
}

// run holds the ListAndWatch stream of a client until it ends, and then does to the resource what the kubelet does.
func (l *life) run(c *client) {
	l.receive(c)
	k := l.k
	k.mu.Lock()
	newest := l.clients[c.resource]
	if newest != nil && k.life == l {
		k.resources[c.resource].Stopped = true
	}
	if newest != c && k.opts.marks {
		newest = nil // stays connected
	} else {
		delete(l.clients, c.resource)
	}
	k.tell()
	k.mu.Unlock()
	c.conn.Close()
	if newest != nil {
		newest.conn.Close()
	}
}

func (l *life) receive(c *client) {
	k := l.k
	stream, err := c.api.ListAndWatch(l.ctx, &v1beta1.Empty{})
	if err != nil {
		return
	}
	for {
		if k.opts.dead {
			<-stream.Context().Done()
			return
		}
		select {
		case <-time.After(k.opts.slow):
		case <-stream.Context().Done():
		}
		list, err := stream.Recv()
		if err != nil {
			return
		}
		k.mu.Lock()
		if k.life == l {
			r := k.resources[c.resource]
			r.Devices, r.At = list.GetDevices(), time.Now()
			r.Lists++
			k.tell()
		}
		k.mu.Unlock()
	}
}

// errStopped is the kubelet's, of an endpoint whose stream has ended.
var errStopped = errors.New("has been stopped")

// endpoint gives the connection by which calls for a resource go, or the kubelet's error.
func (k *Kubelet) endpoint(resource string) (v1beta1.DevicePluginClient, *v1beta1.DevicePluginOptions, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.resources[resource]
	switch {
	case k.life == nil:
		return nil, nil, errors.New("the kubelet does not run")
	case r == nil:
		return nil, nil, fmt.Errorf("resource %s is not known", resource)
	case r.Stopped || k.life.clients[resource] == nil:
		return nil, nil, fmt.Errorf("endpoint of %s %w", resource, errStopped)
	}
	return k.life.clients[resource].api, r.Options, nil
}

// Allocate asks for devices as for one container.
func (k *Kubelet) Allocate(ctx context.Context, resource string, ids ...string) (*v1beta1.ContainerAllocateResponse, error) {
	api, _, err := k.endpoint(resource)
	if err != nil {
		return nil, err
	}
	answer, err := api.Allocate(ctx, &v1beta1.AllocateRequest{ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: ids}}})
	if err != nil {
		return nil, err
	}
	if n := len(answer.GetContainerResponses()); n != 1 {
		return nil, fmt.Errorf("%s: %d answers for one container", resource, n)
	}
	return answer.GetContainerResponses()[0], nil
}

// AllocateSteady is Allocate that asks again, until ctx ends, where the endpoint ends meanwhile: the end of an old stream
// may come after a registration and takes the new endpoint with it, until that is registered once more.
func (k *Kubelet) AllocateSteady(ctx context.Context, resource string, ids ...string) (*v1beta1.ContainerAllocateResponse, error) {
	for {
		answer, err := k.Allocate(ctx, resource, ids...)
		ends := errors.Is(err, errStopped) || status.Code(err) == codes.Canceled // the latter: the kubelet closed the connection
		if !ends || ctx.Err() != nil {
			return answer, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// Prefer asks which of the available devices go well together; nil where the plugin has no opinion.
func (k *Kubelet) Prefer(ctx context.Context, resource string, available, must []string, size int) ([]string, error) {
	api, opts, err := k.endpoint(resource)
	if err != nil || !opts.GetGetPreferredAllocationAvailable() {
		return nil, err
	}
	answer, err := api.GetPreferredAllocation(ctx, &v1beta1.PreferredAllocationRequest{
		ContainerRequests: []*v1beta1.ContainerPreferredAllocationRequest{{
			AvailableDeviceIDs: available, MustIncludeDeviceIDs: must, AllocationSize: int32(size),
		}},
	})
	if err != nil {
		return nil, err
	}
	if n := len(answer.GetContainerResponses()); n != 1 {
		return nil, fmt.Errorf("%s: %d answers for one container", resource, n)
	}
	return answer.GetContainerResponses()[0].GetDeviceIDs(), nil
}

// PreStart makes the call before a container's start, if the plugin wants it.
func (k *Kubelet) PreStart(ctx context.Context, resource string, ids ...string) error {
	api, opts, err := k.endpoint(resource)
	if err != nil || !opts.GetPreStartRequired() {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, v1beta1.KubeletPreStartContainerRPCTimeoutInSecs*time.Second)
	defer cancel()
	_, err = api.PreStartContainer(ctx, &v1beta1.PreStartContainerRequest{DevicesIds: ids})
	return err
}
