// Command bareplugin is a device plugin without devices behind it: it registers one resource whenever the kubelet's
// socket appears and answers every call with a constant. It is the baseline for what the kubelet's protocol costs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/fsnotify/fsnotify"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

func main() {
	p := &plugin{}
	flag.StringVar(&p.folder, "folder", "", "the kubelet's device plugin folder")
	flag.StringVar(&p.resource, "resource", "", "resource name")
	count := flag.Int("devices", 1, "number of devices")
	flag.Parse()
	for i := range *count {
		p.devices = append(p.devices, &v1beta1.Device{ID: fmt.Sprintf("dev-%04d", i), Health: v1beta1.Healthy})
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := p.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bareplugin:", err)
		os.Exit(1)
	}
}

type plugin struct {
	v1beta1.UnimplementedDevicePluginServer
	folder, resource string
	devices          []*v1beta1.Device
	server           *grpc.Server
}

const endpoint = "bare.sock"

func (p *plugin) run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	if err := watcher.Add(p.folder); err != nil {
		return err
	}
	kubelet := filepath.Join(p.folder, "kubelet.sock")
	if _, err := os.Stat(kubelet); err == nil {
		if err := p.register(ctx, kubelet); err != nil {
			return err
		}
	}
	for {
		select {
		case e := <-watcher.Events:
			if e.Name == kubelet && e.Has(fsnotify.Create) {
				if err := p.register(ctx, kubelet); err != nil {
					return err
				}
			}
		case err := <-watcher.Errors:
			return err
		case <-ctx.Done():
			if p.server != nil {
				p.server.Stop()
			}
			return nil
		}
	}
}

// register serves the endpoint anew, whose socket the kubelet has removed, and says so to the kubelet.
func (p *plugin) register(ctx context.Context, kubelet string) error {
	if p.server != nil {
		p.server.Stop()
	}
	socket := filepath.Join(p.folder, endpoint)
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	p.server = grpc.NewServer()
	v1beta1.RegisterDevicePluginServer(p.server, p)
	go func(s *grpc.Server) { _ = s.Serve(listener) }(p.server) // ends with Stop
	conn, err := grpc.NewClient("unix://"+kubelet, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = v1beta1.NewRegistrationClient(conn).Register(ctx, &v1beta1.RegisterRequest{
		Version: v1beta1.Version, Endpoint: endpoint, ResourceName: p.resource,
	}, grpc.WaitForReady(true))
	return err
}

func (p *plugin) GetDevicePluginOptions(context.Context, *v1beta1.Empty) (*v1beta1.DevicePluginOptions, error) {
	return &v1beta1.DevicePluginOptions{GetPreferredAllocationAvailable: true}, nil
}

func (p *plugin) ListAndWatch(_ *v1beta1.Empty, s grpc.ServerStreamingServer[v1beta1.ListAndWatchResponse]) error {
	if err := s.Send(&v1beta1.ListAndWatchResponse{Devices: p.devices}); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

func (p *plugin) Allocate(_ context.Context, r *v1beta1.AllocateRequest) (*v1beta1.AllocateResponse, error) {
	answer := &v1beta1.AllocateResponse{}
	for range r.GetContainerRequests() {
		answer.ContainerResponses = append(answer.ContainerResponses, &v1beta1.ContainerAllocateResponse{
			Annotations: map[string]string{"bench.example/allocated": "yes"},
		})
	}
	return answer, nil
}

// GetPreferredAllocation prefers the first ones.
func (p *plugin) GetPreferredAllocation(_ context.Context, r *v1beta1.PreferredAllocationRequest) (*v1beta1.PreferredAllocationResponse, error) {
	answer := &v1beta1.PreferredAllocationResponse{}
	for _, c := range r.GetContainerRequests() {
		answer.ContainerResponses = append(answer.ContainerResponses, &v1beta1.ContainerPreferredAllocationResponse{
			DeviceIDs: c.GetAvailableDeviceIDs()[:c.GetAllocationSize()],
		})
	}
	return answer, nil
}
