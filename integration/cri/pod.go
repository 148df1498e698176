package cri

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/backoff"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var constantBackoff = backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1, MaxDelay: 20 * time.Millisecond}

// Labels that a kubelet puts on pods and containers; runtimes and NRI plugins take the
// names of both from them.
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelContainerName = "io.kubernetes.container.name"
)

// PodSpec says what pod to make. Name, Namespace and UID identify it.
type PodSpec struct {
	Name, Namespace, UID string
	Annotations, Labels  map[string]string
	// LogDir is the folder of the pod's container logs.
	LogDir string
	// CgroupParent is the cgroup below which the pod's containers get theirs.
	CgroupParent string
	// UserNamespace gives the pod its own user namespace (hostUsers: false), its ids
	// mapped from HostID on.
	UserNamespace bool
	HostID        uint32
	// Privileged lets the pod have privileged containers.
	Privileged bool
}

// Pod is a pod that runs.
type Pod struct {
	ID   string
	Spec PodSpec

	client *Client
	config *runtimeapi.PodSandboxConfig
}

// RunPod makes a pod in the host's network and PID-per-container namespaces.
func (c *Client) RunPod(ctx context.Context, s PodSpec) (*Pod, error) {
	if err := os.MkdirAll(s.LogDir, 0o755); err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", s.Namespace, s.Name, err)
	}
	namespaces := &runtimeapi.NamespaceOption{
		Network: runtimeapi.NamespaceMode_NODE,
		Pid:     runtimeapi.NamespaceMode_CONTAINER,
		Ipc:     runtimeapi.NamespaceMode_POD,
	}
	if s.UserNamespace {
		ids := []*runtimeapi.IDMapping{{HostId: s.HostID, ContainerId: 0, Length: 65536}}
		namespaces.UsernsOptions = &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: ids, Gids: ids}
	}
	labels := map[string]string{labelPodName: s.Name, labelPodNamespace: s.Namespace, labelPodUID: s.UID}
	maps.Copy(labels, s.Labels)
	config := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: s.Name, Namespace: s.Namespace, Uid: s.UID},
		Labels:       labels,
		Annotations:  s.Annotations,
		LogDirectory: s.LogDir,
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent:    s.CgroupParent,
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: namespaces, Privileged: s.Privileged},
		},
	}
	r, err := c.rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", s.Namespace, s.Name, err)
	}
	return &Pod{ID: r.PodSandboxId, Spec: s, client: c, config: config}, nil
}

// Stop ends the pod's containers at once.
func (p *Pod) Stop(ctx context.Context) error {
	if err := p.client.stopPod(ctx, p.ID); err != nil {
		return fmt.Errorf("stop pod %s/%s: %w", p.Spec.Namespace, p.Spec.Name, err)
	}
	return nil
}

// Remove ends the pod and forgets it and its containers.
func (p *Pod) Remove(ctx context.Context) error {
	if err := p.Stop(ctx); err != nil {
		return err
	}
	if _, err := p.client.rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.ID}); err != nil {
		return fmt.Errorf("remove pod %s/%s: %w", p.Spec.Namespace, p.Spec.Name, err)
	}
	return nil
}

func (p *Pod) logPath(container string, attempt uint32) string {
	return filepath.Join(p.Spec.LogDir, fmt.Sprintf("%s-%d.log", container, attempt))
}
