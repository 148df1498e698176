package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// podResourcesSocket is where the kubelet says who has which devices, below the emulated host's root.
const podResourcesSocket = "var/lib/kubelet/pod-resources/kubelet.sock"

// askLimit bounds one question to the kubelet.
const askLimit = 5 * time.Second

// askKubelet asks the kubelet's podresources API.
func (c *Cluster) askKubelet(ctx context.Context, ask func(context.Context, podresources.PodResourcesListerClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+c.HostPath(podResourcesSocket), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	return ask(ctx, podresources.NewPodResourcesListerClient(conn))
}

// Devices are the ids of the healthy devices of a resource that the kubelet knows now. The Node's status follows; after
// a restart of the kubelet it tells of the time before for a while.
func (c *Cluster) Devices(ctx context.Context, resource string) ([]string, error) {
	var ids []string
	err := c.askKubelet(ctx, func(ctx context.Context, client podresources.PodResourcesListerClient) error {
		answer, err := client.GetAllocatableResources(ctx, &podresources.AllocatableResourcesRequest{})
		for _, d := range answer.GetDevices() {
			if d.GetResourceName() == resource {
				ids = append(ids, d.GetDeviceIds()...)
			}
		}
		return err
	})
	slices.Sort(ids)
	return ids, err
}

// Holder is a container that has devices of a resource.
type Holder struct {
	Namespace, Pod, Container, Resource string
	Devices                             []string
}

// Holders are the containers that have devices, as the kubelet tells it.
func (c *Cluster) Holders(ctx context.Context) ([]Holder, error) {
	var holders []Holder
	err := c.askKubelet(ctx, func(ctx context.Context, client podresources.PodResourcesListerClient) error {
		answer, err := client.List(ctx, &podresources.ListPodResourcesRequest{})
		for _, pod := range answer.GetPodResources() {
			for _, container := range pod.GetContainers() {
				for _, d := range container.GetDevices() {
					holders = append(holders, Holder{
						Namespace: pod.GetNamespace(), Pod: pod.GetName(), Container: container.GetName(),
						Resource: d.GetResourceName(), Devices: d.GetDeviceIds(),
					})
				}
			}
		}
		return err
	})
	return holders, err
}

// AwaitAllocatable waits until both the kubelet and the Node's status have exactly n healthy devices of a resource.
func (c *Cluster) AwaitAllocatable(ctx context.Context, limit time.Duration, resource string, n int) error {
	return c.Await(ctx, limit, resource, func(ctx context.Context) error {
		devices, err := c.Devices(ctx, resource)
		if err != nil {
			return err
		}
		is, err := c.Allocatable(ctx, resource)
		if err != nil {
			return err
		}
		if is != int64(n) || len(devices) != n {
			return fmt.Errorf("the kubelet has %v, the Node's status says %d, want %d", devices, is, n)
		}
		return nil
	})
}
