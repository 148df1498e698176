package kubelet

import (
	"context"
	"fmt"
	"maps"
	"slices"

	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// SetSilent makes the podresources API accept calls and never answer them, or answer
// again.
func (k *Kubelet) SetSilent(silent bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.silent = silent
}

// Waiting is how many podresources calls are being kept waiting now.
func (k *Kubelet) Waiting() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.waiting
}

// podLister answers the podresources API from the claims.
type podLister struct {
	podresources.UnimplementedPodResourcesListerServer
	k *Kubelet
}

func (l podLister) List(ctx context.Context, _ *podresources.ListPodResourcesRequest) (*podresources.ListPodResourcesResponse, error) {
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	return &podresources.ListPodResourcesResponse{PodResources: l.k.podList()}, nil
}

func (l podLister) Get(ctx context.Context, r *podresources.GetPodResourcesRequest) (*podresources.GetPodResourcesResponse, error) {
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	for _, p := range l.k.podList() {
		if p.Name == r.PodName && p.Namespace == r.PodNamespace {
			return &podresources.GetPodResourcesResponse{PodResources: p}, nil
		}
	}
	return nil, fmt.Errorf("pod %s in namespace %s not found", r.PodName, r.PodNamespace)
}

func (l podLister) GetAllocatableResources(ctx context.Context, _ *podresources.AllocatableResourcesRequest) (*podresources.AllocatableResourcesResponse, error) {
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	r := &podresources.AllocatableResourcesResponse{}
	for _, name := range l.k.Resources() {
		ids, _ := l.k.Devices(name)
		r.Devices = append(r.Devices, &podresources.ContainerDevices{ResourceName: name, DeviceIds: ids})
	}
	return r, nil
}

// wait blocks while the kubelet is told to be silent.
func (l podLister) wait(ctx context.Context) error {
	if !l.k.addWaiting(1) {
		return nil
	}
	<-ctx.Done()
	l.k.addWaiting(-1)
	return ctx.Err()
}

// addWaiting counts a waiting call if the kubelet is silent, or takes one off.
func (k *Kubelet) addWaiting(n int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n > 0 && !k.silent {
		return false
	}
	k.waiting += n
	return true
}

// podList is the claims in the API's words, sorted.
func (k *Kubelet) podList() []*podresources.PodResources {
	k.mu.Lock()
	defer k.mu.Unlock()
	type podKey struct{ namespace, name string }
	pods := map[podKey]*podresources.PodResources{}
	var order []podKey
	owners := slices.SortedFunc(maps.Keys(k.claims), func(a, b Owner) int {
		return slices.Compare([]string{a.Namespace, a.Pod, a.Container}, []string{b.Namespace, b.Pod, b.Container})
	})
	for _, o := range owners {
		key := podKey{o.Namespace, o.Pod}
		pod, ok := pods[key]
		if !ok {
			pod = &podresources.PodResources{Name: o.Pod, Namespace: o.Namespace}
			pods[key] = pod
			order = append(order, key)
		}
		c := &podresources.ContainerResources{Name: o.Container}
		for _, resource := range slices.Sorted(maps.Keys(k.claims[o])) {
			c.Devices = append(c.Devices, &podresources.ContainerDevices{ResourceName: resource, DeviceIds: slices.Clone(k.claims[o][resource])})
		}
		pod.Containers = append(pod.Containers, c)
	}
	list := make([]*podresources.PodResources, 0, len(order))
	for _, key := range order {
		list = append(list, pods[key])
	}
	return list
}
