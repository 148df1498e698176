// Package podresources asks the kubelet which devices it gave to whom, over its podresources API.
package podresources

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// Timeout bounds a question: the kubelet answers from memory.
const Timeout = 500 * time.Millisecond

// maxAnswer is a node with thousands of containers.
const maxAnswer = 16 << 20

// Holding is a container and the devices of one resource that it holds.
type Holding struct {
	Namespace, Pod, Container string
	Resource                  string // "fpga.intel.com/region-…"
	Devices                   []string
}

// Listing is a node's answer.
type Listing struct {
	Holdings   []Holding
	containers map[container]bool
}

type container struct{ namespace, pod, name string }

// Known tells whether the kubelet lists a container at all. It never lists plain init containers.
func (l *Listing) Known(namespace, pod, name string) bool {
	return l.containers[container{namespace, pod, name}]
}

// Client asks one kubelet.
type Client struct{ Socket string }

// List asks for everything. It dials anew each time: it is asked for FPGA containers only, and a kubelet restart
// leaves nothing to repair.
func (c Client) List(ctx context.Context) (*Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	// A dialer of our own: a target "unix:…" would be read as a URL, and the path is whatever the administrator chose.
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	}
	conn, err := grpc.NewClient("passthrough:///kubelet", grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return nil, fmt.Errorf("kubelet's podresources %s: %w", c.Socket, err)
	}
	defer conn.Close()
	answer, err := v1.NewPodResourcesListerClient(conn).List(ctx, &v1.ListPodResourcesRequest{})
	if err != nil {
		return nil, fmt.Errorf("kubelet's podresources %s: %w", c.Socket, err)
	}
	return listing(answer), nil
}

func listing(answer *v1.ListPodResourcesResponse) *Listing {
	l := &Listing{containers: map[container]bool{}}
	for _, pod := range answer.GetPodResources() {
		for _, ctr := range pod.GetContainers() {
			l.containers[container{pod.GetNamespace(), pod.GetName(), ctr.GetName()}] = true
			for _, d := range ctr.GetDevices() {
				l.add(Holding{
					Namespace: pod.GetNamespace(), Pod: pod.GetName(), Container: ctr.GetName(),
					Resource: d.GetResourceName(), Devices: d.GetDeviceIds(),
				})
			}
		}
	}
	return l
}

// add joins what the kubelet lists in pieces, one a NUMA node.
func (l *Listing) add(h Holding) {
	for i, old := range l.Holdings {
		if old.Namespace == h.Namespace && old.Pod == h.Pod && old.Container == h.Container && old.Resource == h.Resource {
			l.Holdings[i].Devices = append(slices.Clone(old.Devices), h.Devices...)
			return
		}
	}
	l.Holdings = append(l.Holdings, h)
}
