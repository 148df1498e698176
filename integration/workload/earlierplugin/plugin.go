package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const (
	domain  = "fpga.intel.com"
	sockets = "/var/lib/kubelet/device-plugins"
	cdiDir  = "/var/run/cdi"
	cdiKind = "intel.cdi.k8s.io/fpga"
)

// plugin serves one resource.
type plugin struct {
	pluginapi.UnimplementedDevicePluginServer
	name    string              // without the domain
	devices map[string][]string // the ports of each
	cdi     bool
}

func (p *plugin) socket() string { return filepath.Join(sockets, domain+"-"+p.name+".sock") }

// run serves, and again whenever the socket was removed, until something fails.
func (p *plugin) run(ctx context.Context) error {
	for {
		if err := p.serve(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Printf("%s: the socket was removed\n", p.name)
	}
}

func (p *plugin) serve(ctx context.Context) error {
	if conn, err := net.DialTimeout("unix", p.socket(), time.Second); err == nil {
		_ = conn.Close()
		return fmt.Errorf("%s is in use", p.socket())
	}
	if err := os.Remove(p.socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", p.socket())
	if err != nil {
		return err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	if err := watcher.Add(sockets); err != nil {
		return err
	}
	server := grpc.NewServer()
	pluginapi.RegisterDevicePluginServer(server, p)
	defer server.Stop()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	if err := p.register(ctx); err != nil {
		return err
	}
	fmt.Printf("%s: registered, with %v\n", p.name, p.devices)
	for {
		select {
		case event := <-watcher.Events:
			if event.Name == p.socket() && (event.Has(fsnotify.Remove) || event.Has(fsnotify.Rename)) {
				return nil
			}
		case err := <-watcher.Errors:
			return err
		case err := <-ended:
			return err
		}
	}
}

func (p *plugin) register(ctx context.Context) error {
	conn, err := grpc.NewClient("unix://"+filepath.Join(sockets, "kubelet.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = pluginapi.NewRegistrationClient(conn).Register(ctx, &pluginapi.RegisterRequest{
		Version: pluginapi.Version, Endpoint: filepath.Base(p.socket()), ResourceName: domain + "/" + p.name, Options: &pluginapi.DevicePluginOptions{},
	})
	return err
}

// GetDevicePluginOptions implements the device plugin API.
func (p *plugin) GetDevicePluginOptions(context.Context, *pluginapi.Empty) (*pluginapi.DevicePluginOptions, error) {
	return &pluginapi.DevicePluginOptions{}, nil
}

// ListAndWatch implements the device plugin API.
func (p *plugin) ListAndWatch(_ *pluginapi.Empty, s grpc.ServerStreamingServer[pluginapi.ListAndWatchResponse]) error {
	var all []*pluginapi.Device
	for _, id := range slices.Sorted(maps.Keys(p.devices)) {
		all = append(all, &pluginapi.Device{ID: id, Health: pluginapi.Healthy})
	}
	if err := s.Send(&pluginapi.ListAndWatchResponse{Devices: all}); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

// Allocate implements the device plugin API.
func (p *plugin) Allocate(_ context.Context, request *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	answer := &pluginapi.AllocateResponse{}
	for _, container := range request.GetContainerRequests() {
		one := &pluginapi.ContainerAllocateResponse{}
		for _, id := range container.GetDevicesIds() {
			for _, port := range p.devices[id] {
				node := "/dev/" + port
				one.Devices = append(one.Devices, &pluginapi.DeviceSpec{HostPath: node, ContainerPath: node, Permissions: "rw"})
			}
			if p.cdi {
				if err := writeCDIFile(id); err != nil {
					return nil, err
				}
				one.Annotations = map[string]string{"com.intel.fpga.mode": domain + "/region"}
				one.CdiDevices = append(one.CdiDevices, &pluginapi.CDIDevice{Name: cdiKind + "=" + id})
			}
		}
		answer.ContainerResponses = append(answer.ContainerResponses, one)
	}
	return answer, nil
}

// writeCDIFile writes an FME's file, unless there is one.
func writeCDIFile(fme string) error {
	file := filepath.Join(cdiDir, "intel.cdi.k8s.io-fpga-"+fme+".yaml")
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	text := fmt.Sprintf(`cdiVersion: 0.5.0
kind: %s
devices:
- name: %s
  containerEdits:
    hooks:
    - hookName: createRuntime
      path: /opt/intel/fpga-sw/intel-fpga-crihook
`, cdiKind, fme)
	temp := file + ".tmp"
	if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, file)
}
