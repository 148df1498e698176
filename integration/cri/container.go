package cri

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerSpec says what container to make.
type ContainerSpec struct {
	Name  string
	Image string
	// Command overrides the image's entrypoint, Args its arguments.
	Command, Args []string
	// Env is a list of NAME=VALUE; a later one wins.
	Env         []string
	Annotations map[string]string
	// CDIDevices are full CDI names, e.g. "intel.cdi.k8s.io/fpga=gate".
	CDIDevices []string
	Devices    []Device
	Mounts     []Mount
	// User is the numeric user and group; nil leaves the image's.
	User *User
	// Privileged gives the container the host's devices. Its pod must be privileged too.
	Privileged bool
	// Attempt is counted up by a kubelet when it makes the same container anew.
	Attempt uint32
}

// Device is a device node that the kubelet would pass (a device plugin's DeviceSpec).
type Device struct{ HostPath, ContainerPath, Permissions string }

// Mount is a bind mount.
type Mount struct {
	HostPath, ContainerPath string
	ReadOnly                bool
}

// User is who the container's program runs as.
type User struct{ UID, GID int64 }

// Container is a container that was created. It is not running before Start.
type Container struct {
	ID   string
	Spec ContainerSpec

	pod *Pod
}

// Create makes a container in the pod. The error is the runtime's own.
func (p *Pod) Create(ctx context.Context, s ContainerSpec) (*Container, error) {
	config := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: s.Name, Attempt: s.Attempt},
		Image:    &runtimeapi.ImageSpec{Image: s.Image, UserSpecifiedImage: s.Image},
		Command:  s.Command,
		Args:     s.Args,
		Labels: map[string]string{
			labelPodName: p.Spec.Name, labelPodNamespace: p.Spec.Namespace, labelPodUID: p.Spec.UID, labelContainerName: s.Name,
		},
		Annotations: s.Annotations,
		LogPath:     strings.TrimPrefix(p.logPath(s.Name, s.Attempt), p.Spec.LogDir+"/"),
		Linux:       &runtimeapi.LinuxContainerConfig{SecurityContext: p.securityContext(s)},
	}
	for _, e := range s.Env {
		name, value, _ := strings.Cut(e, "=")
		config.Envs = append(config.Envs, &runtimeapi.KeyValue{Key: name, Value: []byte(value)})
	}
	for _, name := range s.CDIDevices {
		config.CDIDevices = append(config.CDIDevices, &runtimeapi.CDIDevice{Name: name})
	}
	for _, d := range s.Devices {
		config.Devices = append(config.Devices, &runtimeapi.Device{HostPath: d.HostPath, ContainerPath: d.ContainerPath, Permissions: d.Permissions})
	}
	for _, m := range s.Mounts {
		config.Mounts = append(config.Mounts, &runtimeapi.Mount{HostPath: m.HostPath, ContainerPath: m.ContainerPath, Readonly: m.ReadOnly})
	}
	r, err := p.client.rt.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.ID, Config: config, SandboxConfig: p.config})
	if err != nil {
		return nil, fmt.Errorf("create container %s/%s/%s: %w", p.Spec.Namespace, p.Spec.Name, s.Name, err)
	}
	return &Container{ID: r.ContainerId, Spec: s, pod: p}, nil
}

func (p *Pod) securityContext(s ContainerSpec) *runtimeapi.LinuxContainerSecurityContext {
	sc := &runtimeapi.LinuxContainerSecurityContext{
		NamespaceOptions: p.config.Linux.SecurityContext.NamespaceOptions,
		// What a kubelet passes for an ordinary container, in short.
		MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/sys/firmware"},
		ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
	}
	if s.Privileged {
		sc.Privileged, sc.MaskedPaths, sc.ReadonlyPaths = true, nil, nil
	}
	if s.User != nil {
		sc.RunAsUser = &runtimeapi.Int64Value{Value: s.User.UID}
		sc.RunAsGroup = &runtimeapi.Int64Value{Value: s.User.GID}
	}
	return sc
}

// Start runs the container's program. The error is the runtime's own; it holds what a
// failed OCI hook printed.
func (c *Container) Start(ctx context.Context) error {
	if _, err := c.pod.client.rt.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: c.ID}); err != nil {
		return fmt.Errorf("start container %s: %w", c.name(), err)
	}
	return nil
}

// Status is what the runtime says of the container.
func (c *Container) Status(ctx context.Context) (*runtimeapi.ContainerStatus, error) {
	r, err := c.pod.client.rt.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.ID})
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.name(), err)
	}
	return r.Status, nil
}

// Running says whether the container's program runs.
func (c *Container) Running(ctx context.Context) (bool, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return false, err
	}
	return s.State == runtimeapi.ContainerState_CONTAINER_RUNNING, nil
}

// waitEvery is how often Wait asks; the runtime's event stream would lose events over a
// restart, which tests do.
const waitEvery = 20 * time.Millisecond

// Wait returns the exit code when the container's program has ended.
func (c *Container) Wait(ctx context.Context) (exitCode int32, err error) {
	tick := time.NewTicker(waitEvery)
	defer tick.Stop()
	for {
		s, err := c.Status(ctx)
		if err != nil {
			return 0, err
		}
		if s.State == runtimeapi.ContainerState_CONTAINER_EXITED {
			return s.ExitCode, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("container %s has not ended: %w; its output so far:\n%s", c.name(), ctx.Err(), c.Logs())
		}
	}
}

// Logs is what the program has printed so far, both streams in order.
func (c *Container) Logs() string {
	b, err := os.ReadFile(c.pod.logPath(c.Spec.Name, c.Spec.Attempt))
	if err != nil {
		return err.Error()
	}
	return parseLog(string(b))
}

// Exec runs a command in the container and returns its output. A command that ends
// with another code than 0 is an error.
func (c *Container) Exec(ctx context.Context, command ...string) (string, error) {
	r, err := c.pod.client.rt.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: c.ID, Cmd: command, Timeout: execTimeout(ctx)})
	if err != nil {
		return "", fmt.Errorf("exec %q in %s: %w", command, c.name(), err)
	}
	if r.ExitCode != 0 {
		return string(r.Stdout), fmt.Errorf("exec %q in %s: exit code %d: %s", command, c.name(), r.ExitCode, r.Stderr)
	}
	return string(r.Stdout), nil
}

// Stop ends the program: SIGTERM, and SIGKILL after the grace period (whole seconds).
func (c *Container) Stop(ctx context.Context, grace time.Duration) error {
	_, err := c.pod.client.rt.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: c.ID, Timeout: int64(grace.Seconds())})
	if err != nil {
		return fmt.Errorf("stop container %s: %w", c.name(), err)
	}
	return nil
}

// Remove forgets the container, ending it first if it runs.
func (c *Container) Remove(ctx context.Context) error {
	if err := c.pod.client.kill(ctx, &runtimeapi.ContainerFilter{Id: c.ID}); err != nil {
		return fmt.Errorf("remove container %s: %w", c.name(), err)
	}
	if _, err := c.pod.client.rt.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: c.ID}); err != nil {
		return fmt.Errorf("remove container %s: %w", c.name(), err)
	}
	return nil
}

func (c *Container) name() string {
	return fmt.Sprintf("%s/%s/%s", c.pod.Spec.Namespace, c.pod.Spec.Name, c.Spec.Name)
}

// execTimeout is the context's time in whole seconds; 0 means no limit.
func execTimeout(ctx context.Context) int64 {
	if d, ok := ctx.Deadline(); ok {
		return max(1, int64(time.Until(d).Seconds()))
	}
	return 0
}

// parseLog takes the text out of the CRI log format: a line is "<time> <stream> <tag>
// <text>", where the tag P means that the line goes on in the next entry.
func parseLog(log string) string {
	var out strings.Builder
	for line := range strings.Lines(log) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(parts) < 4 {
			continue // half written
		}
		out.WriteString(parts[3])
		if parts[2] != "P" {
			out.WriteByte('\n')
		}
	}
	return out.String()
}
