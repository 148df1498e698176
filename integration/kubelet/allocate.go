package kubelet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/integration/cri"
)

// ErrNotEnough says that a resource has fewer free devices than asked for.
var ErrNotEnough = errors.New("not enough free devices")

// Request is what a container asks for: full resource name to number of devices.
type Request map[string]int

// Answer is the merged answer of all plugins to one container's request.
type Answer struct {
	Devices     map[string][]string // resource to device ids
	Annotations map[string]string
	Env         []string
	CDIDevices  []string
	Nodes       []cri.Device
	Mounts      []cri.Mount
}

// Allocate picks free healthy devices, remembers them as the owner's and asks the
// plugins. A container that is made anew gets the same answer from memory, as the
// kubelet gives it: the plugins are asked once in a pod's life.
func (k *Kubelet) Allocate(ctx context.Context, o Owner, r Request) (Answer, error) {
	k.admission.Lock()
	defer k.admission.Unlock()
	k.mu.Lock()
	known, ok := k.answers[o]
	k.mu.Unlock()
	if ok {
		return known, nil
	}
	a := Answer{Devices: map[string][]string{}, Annotations: map[string]string{}}
	for _, resource := range slices.Sorted(maps.Keys(r)) {
		p, ids, err := k.take(ctx, o, resource, r[resource])
		if err != nil {
			return Answer{}, fmt.Errorf("allocate %d of %s: %w", r[resource], resource, err)
		}
		a.Devices[resource] = ids
		resp, err := p.client.Allocate(ctx, &pluginapi.AllocateRequest{ContainerRequests: []*pluginapi.ContainerAllocateRequest{{DevicesIds: ids}}})
		if err != nil {
			k.Free(o)
			return Answer{}, fmt.Errorf("allocate %v of %s: %w", ids, resource, err)
		}
		if n := len(resp.ContainerResponses); n != 1 {
			return Answer{}, fmt.Errorf("allocate %v of %s: %d answers for one container", ids, resource, n)
		}
		a.merge(resp.ContainerResponses[0])
	}
	k.Remember(o, a)
	return a, nil
}

// Remember makes an answer the owner's, as if it had been read from the kubelet's
// checkpoint, and its devices the owner's with it.
func (k *Kubelet) Remember(o Owner, a Answer) {
	for resource, ids := range a.Devices {
		k.Claim(o, resource, ids...)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answers[o] = a
}

// PreStart calls PreStartContainer of the plugins that want it, as the kubelet does
// before every creation of the container.
func (k *Kubelet) PreStart(ctx context.Context, o Owner) error {
	for resource, ids := range k.Claimed(o) {
		k.mu.Lock()
		p, ok := k.plugins[resource]
		k.mu.Unlock()
		if !ok || !p.options.GetPreStartRequired() {
			continue
		}
		if _, err := p.client.PreStartContainer(ctx, &pluginapi.PreStartContainerRequest{DevicesIds: ids}); err != nil {
			return fmt.Errorf("prestart %v of %s: %w", ids, resource, err)
		}
	}
	return nil
}

// Claim makes the podresources API say that the owner has these devices, whatever was
// allocated; without ids it says that it has none of the resource.
func (k *Kubelet) Claim(o Owner, resource string, ids ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(ids) == 0 {
		delete(k.claims[o], resource)
		return
	}
	if k.claims[o] == nil {
		k.claims[o] = map[string][]string{}
	}
	k.claims[o][resource] = ids
}

// Claimed are the owner's devices by resource.
func (k *Kubelet) Claimed(o Owner) map[string][]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.claims[o])
}

// Free takes the owner's devices back.
func (k *Kubelet) Free(o Owner) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.claims, o)
	delete(k.answers, o)
}

// take chooses n devices that nobody has, preferring what the plugin prefers.
func (k *Kubelet) take(ctx context.Context, o Owner, resource string, n int) (*plugin, []string, error) {
	all, healthy := k.Devices(resource)
	k.mu.Lock()
	p, ok := k.plugins[resource]
	k.mu.Unlock()
	if !ok {
		return nil, nil, errors.New("no plugin is registered for it")
	}
	free := slices.DeleteFunc(all[:healthy], func(id string) bool { return k.isTaken(resource, id) })
	if len(free) < n {
		return nil, nil, fmt.Errorf("%w: %d", ErrNotEnough, len(free))
	}
	ids := free[:n]
	if p.options.GetGetPreferredAllocationAvailable() {
		r, err := p.client.GetPreferredAllocation(ctx, &pluginapi.PreferredAllocationRequest{
			ContainerRequests: []*pluginapi.ContainerPreferredAllocationRequest{{AvailableDeviceIDs: free, AllocationSize: int32(n)}},
		}, grpc.WaitForReady(true))
		// A kubelet falls back to its own choice when the preference is no good.
		if err == nil && len(r.ContainerResponses) == 1 && len(r.ContainerResponses[0].DeviceIDs) == n {
			ids = r.ContainerResponses[0].DeviceIDs
		}
	}
	k.Claim(o, resource, ids...)
	return p, ids, nil
}

func (k *Kubelet) isTaken(resource, id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.claims {
		if slices.Contains(c[resource], id) {
			return true
		}
	}
	return false
}

// merge adds one plugin's answer. One value is kept for each key; in the kubelet the
// order of a container's resources is that of a map.
func (a *Answer) merge(r *pluginapi.ContainerAllocateResponse) {
	maps.Copy(a.Annotations, r.Annotations)
	for _, name := range slices.Sorted(maps.Keys(r.Envs)) {
		a.Env = append(a.Env, name+"="+r.Envs[name])
	}
	for _, d := range r.CdiDevices {
		if !slices.Contains(a.CDIDevices, d.Name) {
			a.CDIDevices = append(a.CDIDevices, d.Name)
		}
	}
	for _, d := range r.Devices {
		a.Nodes = append(a.Nodes, cri.Device{HostPath: d.HostPath, ContainerPath: d.ContainerPath, Permissions: d.Permissions})
	}
	for _, m := range r.Mounts {
		a.Mounts = append(a.Mounts, cri.Mount{HostPath: m.HostPath, ContainerPath: m.ContainerPath, ReadOnly: m.ReadOnly})
	}
}

// Apply puts the answer into a container as the kubelet does: the plugins' environment
// comes before the pod's own, which therefore wins.
func (a Answer) Apply(s cri.ContainerSpec) cri.ContainerSpec {
	annotations := maps.Clone(a.Annotations)
	maps.Copy(annotations, s.Annotations)
	s.Annotations = annotations
	s.Env = slices.Concat(a.Env, s.Env)
	s.CDIDevices = slices.Concat(s.CDIDevices, a.CDIDevices)
	s.Devices = slices.Concat(s.Devices, a.Nodes)
	s.Mounts = slices.Concat(s.Mounts, a.Mounts)
	return s
}
