package cri

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Client speaks to one runtime.
type Client struct {
	conn *grpc.ClientConn
	rt   runtimeapi.RuntimeServiceClient
}

// Dial connects to the runtime's unix socket. The runtime need not be up yet: calls
// wait for it as long as their context allows.
func Dial(socket string) (*Client, error) {
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		// A restarted runtime must be seen at once, not after gRPC's growing back-off.
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second, Backoff: constantBackoff}),
	)
	if err != nil {
		return nil, fmt.Errorf("cri %s: %w", socket, err)
	}
	return &Client{conn: conn, rt: runtimeapi.NewRuntimeServiceClient(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// API is the whole runtime service, for what this package has no word for.
func (c *Client) API() runtimeapi.RuntimeServiceClient { return c.rt }

// Version returns the runtime's name and version, e.g. "containerd", "2.4.2".
func (c *Client) Version(ctx context.Context) (name, version string, err error) {
	v, err := c.rt.Version(ctx, &runtimeapi.VersionRequest{})
	if err != nil {
		return "", "", fmt.Errorf("cri version: %w", err)
	}
	return v.RuntimeName, v.RuntimeVersion, nil
}

// Images gives the tags of all images that the runtime would start containers from without asking a registry.
func (c *Client) Images(ctx context.Context) ([]string, error) {
	list, err := runtimeapi.NewImageServiceClient(c.conn).ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	var tags []string
	for _, image := range list.GetImages() {
		tags = append(tags, image.GetRepoTags()...)
	}
	return tags, nil
}

// Pods lists the ids of all pods, running or not.
func (c *Client) Pods(ctx context.Context) ([]string, error) {
	list, err := c.rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("cri list pods: %w", err)
	}
	ids := make([]string, 0, len(list.Items))
	for _, p := range list.Items {
		ids = append(ids, p.Id)
	}
	return ids, nil
}

// RemoveAllPods stops and removes every pod that the runtime knows.
func (c *Client) RemoveAllPods(ctx context.Context) error {
	ids, err := c.Pods(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := c.stopPod(ctx, id); err != nil {
			return fmt.Errorf("stop pod %s: %w", id, err)
		}
		if _, err := c.rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
			return fmt.Errorf("remove pod %s: %w", id, err)
		}
	}
	return nil
}

// stopPod ends a pod's containers at once, and the pod.
func (c *Client) stopPod(ctx context.Context, id string) error {
	if err := c.kill(ctx, &runtimeapi.ContainerFilter{PodSandboxId: id}); err != nil {
		return err
	}
	_, err := c.rt.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
	return err
}

// kill ends those of the containers that run, without a grace period. As a kubelet does
// it, it comes before removing a container or stopping a pod: CRI-O would give the
// programs as long as the call's own deadline is away.
func (c *Client) kill(ctx context.Context, which *runtimeapi.ContainerFilter) error {
	which.State = &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}
	list, err := c.rt.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: which})
	if err != nil {
		return err
	}
	for _, running := range list.Containers {
		if _, err := c.rt.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: running.Id}); err != nil {
			return err
		}
	}
	return nil
}
