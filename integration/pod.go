package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/ocitest"
)

// Namespace is where test pods live unless they say otherwise.
const Namespace = "team-a"

// Pod is a running pod of a node.
type Pod struct {
	*cri.Pod
	node *Node
}

// RunPod makes a pod, in the host's network, changed by the options.
func (n *Node) RunPod(name string, options ...func(*cri.PodSpec)) *Pod {
	n.t.Helper()
	spec := cri.PodSpec{
		Name: name, Namespace: Namespace, UID: n.newUID(), CgroupParent: n.CgroupParent(),
	}
	for _, o := range options {
		o(&spec)
	}
	spec.LogDir = n.path(filepath.Join("pods", spec.Namespace+"_"+spec.Name+"_"+spec.UID))
	pod, err := n.Runtime.CRI().RunPod(n.ctx(), spec)
	if err != nil {
		n.t.Fatal(err)
	}
	return &Pod{Pod: pod, node: n}
}

// WithAnnotations gives the pod annotations, as its author could.
func WithAnnotations(a map[string]string) func(*cri.PodSpec) {
	return func(s *cri.PodSpec) { s.Annotations = a }
}

// Shell is a container that runs a script in the workload image.
func Shell(script string) cri.ContainerSpec {
	return cri.ContainerSpec{Name: "main", Image: ocitest.WorkloadName, Command: []string{"/bin/sh", "-c", script}}
}

// Container is a created container of a node.
type Container struct {
	*cri.Container
	node *Node
}

// Result is how a container's program ended and what it printed.
type Result struct {
	ExitCode int32
	Output   string
}

// TryCreate makes a container and returns the runtime's refusal.
func (p *Pod) TryCreate(s cri.ContainerSpec) (*Container, error) {
	c, err := p.Pod.Create(p.node.ctx(), s)
	if err != nil {
		return nil, err
	}
	return &Container{Container: c, node: p.node}, nil
}

// TryRun creates and starts a container. If starting fails the container is returned
// with the error: it exists, and its status can be read.
func (p *Pod) TryRun(s cri.ContainerSpec) (*Container, error) {
	c, err := p.TryCreate(s)
	if err != nil {
		return nil, err
	}
	return c, c.Start(p.node.ctx())
}

// Create makes a container that must not be refused.
func (p *Pod) Create(s cri.ContainerSpec) *Container {
	p.node.t.Helper()
	c, err := p.TryCreate(s)
	if err != nil {
		p.node.t.Fatal(err)
	}
	return c
}

// Run creates and starts a container, neither of which may fail.
func (p *Pod) Run(s cri.ContainerSpec) *Container {
	p.node.t.Helper()
	c, err := p.TryRun(s)
	if err != nil {
		p.node.t.Fatal(err)
	}
	return c
}

// End stops and removes the pod with its containers.
func (p *Pod) End() {
	p.node.t.Helper()
	if err := p.Remove(p.node.ctx()); err != nil {
		p.node.t.Fatal(err)
	}
}

// Wait returns when the container's program has ended.
func (c *Container) Wait() Result {
	c.node.t.Helper()
	code, err := c.Container.Wait(c.node.ctx())
	if err != nil {
		c.node.t.Fatal(err)
	}
	return Result{ExitCode: code, Output: c.Logs()}
}

// Exec runs a command in the container, which must succeed, and returns its output.
func (c *Container) Exec(command ...string) string {
	c.node.t.Helper()
	out, err := c.Container.Exec(c.node.ctx(), command...)
	if err != nil {
		c.node.t.Fatal(err)
	}
	return out
}

// Running says whether the container's program runs now.
func (c *Container) Running() bool {
	c.node.t.Helper()
	running, err := c.Container.Running(c.node.ctx())
	if err != nil {
		c.node.t.Fatal(err)
	}
	return running
}

// End stops the container's program at once and removes the container.
func (c *Container) End() {
	c.node.t.Helper()
	if err := c.Remove(c.node.ctx()); err != nil {
		c.node.t.Fatal(err)
	}
}

// OCISpec is the configuration that the runtime gave runc, as JSON values. It exists
// while the container runs.
func (c *Container) OCISpec() map[string]any {
	c.node.t.Helper()
	data, err := os.ReadFile(filepath.Join(c.node.Runtime.Bundle(c.ID), "config.json"))
	if err != nil {
		c.node.t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		c.node.t.Fatal(err)
	}
	return spec
}

// Elapsed runs f and returns how long it took.
func Elapsed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
