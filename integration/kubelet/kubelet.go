package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/internal/unixsock"
)

// Kubelet serves the sockets of a kubelet folder.
type Kubelet struct {
	dir string

	admission sync.Mutex // as in the kubelet, devices are given to one container at a time

	mu        sync.Mutex
	server    *grpc.Server
	resources *grpc.Server
	plugins   map[string]*plugin // by resource name
	claims    map[Owner]map[string][]string
	answers   map[Owner]Answer // what was answered to the owner, as in a kubelet's checkpoint
	silent    bool
	waiting   int // podresources calls that a silent kubelet keeps waiting
	streams   sync.WaitGroup
	serving   sync.WaitGroup
}

// plugin is a registered device plugin endpoint.
type plugin struct {
	conn    *grpc.ClientConn
	client  pluginapi.DevicePluginClient
	options *pluginapi.DevicePluginOptions
	devices []*pluginapi.Device
	listed  bool
	cancel  context.CancelFunc
}

// Owner is a container by name, as the kubelet knows it.
type Owner struct{ Namespace, Pod, Container string }

// Start serves the folder's device-plugins/kubelet.sock and pod-resources/kubelet.sock.
func Start(dir string) (*Kubelet, error) {
	k := &Kubelet{dir: dir, plugins: map[string]*plugin{}, claims: map[Owner]map[string][]string{}, answers: map[Owner]Answer{}}
	if err := k.serve(); err != nil {
		return nil, errors.Join(err, k.Stop())
	}
	return k, nil
}

// PodResourcesSocket is where the podresources API answers.
func (k *Kubelet) PodResourcesSocket() string {
	return filepath.Join(k.dir, "pod-resources", "kubelet.sock")
}

func (k *Kubelet) pluginDir() string { return filepath.Join(k.dir, "device-plugins") }

func (k *Kubelet) serve() error {
	registration := grpc.NewServer(grpc.WaitForHandlers(true))
	pluginapi.RegisterRegistrationServer(registration, registrar{k: k})
	lister := grpc.NewServer(grpc.WaitForHandlers(true))
	podresources.RegisterPodResourcesListerServer(lister, podLister{k: k})
	k.mu.Lock()
	k.server, k.resources = registration, lister
	k.mu.Unlock()
	return errors.Join(
		k.listen(registration, filepath.Join(k.pluginDir(), "kubelet.sock")),
		k.listen(lister, k.PodResourcesSocket()),
	)
}

func (k *Kubelet) listen(s *grpc.Server, socket string) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	k.serving.Go(func() { _ = s.Serve(l) }) // ends with Stop; what fails is seen by the clients
	return nil
}

// Stop ends the kubelet: its sockets go and every plugin's stream ends.
func (k *Kubelet) Stop() error {
	k.mu.Lock()
	servers := []*grpc.Server{k.server, k.resources}
	k.mu.Unlock()
	for _, s := range servers { // first, and with their handlers: a Register under way adds a plugin
		if s != nil {
			s.Stop()
		}
	}
	k.mu.Lock()
	plugins := k.plugins
	k.plugins = map[string]*plugin{}
	k.mu.Unlock()
	var errs []error
	for _, p := range plugins {
		p.cancel()
		errs = append(errs, p.conn.Close())
	}
	k.streams.Wait()
	k.serving.Wait()
	return errors.Join(errs...)
}

// Restart forgets the plugins and begins anew, as a restarted kubelet does: it removes
// every socket of its plugin folder. Allocations live on in its checkpoint.
func (k *Kubelet) Restart() error {
	if err := k.Stop(); err != nil {
		return err
	}
	sockets, err := filepath.Glob(k.pluginDir() + "/*.sock")
	if err != nil {
		return err
	}
	for _, s := range sockets {
		if err := os.Remove(s); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return k.serve()
}

// Devices are the ids that the plugin of a resource listed last, the healthy ones
// first, and how many of them are healthy. The name is the full resource name.
func (k *Kubelet) Devices(resource string) (ids []string, healthy int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.plugins[resource]
	if !ok {
		return nil, 0
	}
	var sick []string
	for _, d := range p.devices {
		if d.Health == pluginapi.Healthy {
			ids = append(ids, d.ID)
		} else {
			sick = append(sick, d.ID)
		}
	}
	healthy = len(ids)
	slices.Sort(ids)
	slices.Sort(sick)
	return append(ids, sick...), healthy
}

// Resources are the names of the registered resources that have listed devices.
func (k *Kubelet) Resources() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var names []string
	for name, p := range k.plugins {
		if p.listed {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// WaitForHealthy returns when the resource has exactly n healthy devices.
func (k *Kubelet) WaitForHealthy(ctx context.Context, resource string, n int) error {
	return process.Poll(ctx, func() error {
		if ids, healthy := k.Devices(resource); healthy != n {
			return fmt.Errorf("%s has %d healthy devices of %v, want %d; resources: %v", resource, healthy, ids, n, k.Resources())
		}
		return nil
	})
}

// registrar answers Register.
type registrar struct {
	pluginapi.UnimplementedRegistrationServer
	k *Kubelet
}

func (r registrar) Register(_ context.Context, req *pluginapi.RegisterRequest) (*pluginapi.Empty, error) {
	if req.Version != pluginapi.Version {
		return nil, fmt.Errorf("device plugin API %q, this kubelet speaks %q", req.Version, pluginapi.Version)
	}
	// A plugin names its socket for the host's kubelet folder; ours may lie deeper than a
	// unix socket address allows.
	conn, err := grpc.NewClient("passthrough:///"+filepath.Join(r.k.pluginDir(), req.Endpoint),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(unixsock.Dial))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &plugin{conn: conn, client: pluginapi.NewDevicePluginClient(conn), options: req.Options, cancel: cancel}
	k := r.k
	k.mu.Lock()
	old := k.plugins[req.ResourceName]
	k.plugins[req.ResourceName] = p
	k.mu.Unlock()
	if old != nil {
		old.cancel()
		_ = old.conn.Close()
	}
	// As in the kubelet the stream begins after Register has been answered.
	k.streams.Go(func() { k.watch(ctx, p) })
	return &pluginapi.Empty{}, nil
}

// watch takes the plugin's lists until its stream ends. Then its devices count as
// unhealthy until it registers again.
func (k *Kubelet) watch(ctx context.Context, p *plugin) {
	set := func(devices []*pluginapi.Device) {
		k.mu.Lock()
		defer k.mu.Unlock()
		p.devices, p.listed = devices, true
	}
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, d := range p.devices {
			d.Health = pluginapi.Unhealthy
		}
	}()
	stream, err := p.client.ListAndWatch(ctx, &pluginapi.Empty{}, grpc.WaitForReady(true))
	if err != nil {
		return
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return
		}
		set(r.Devices)
	}
}
