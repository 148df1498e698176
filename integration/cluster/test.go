package cluster

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/fpga/emulator"
)

// Test is a cluster of a test: its own methods fail the test, and may be called by the test's own goroutine only. What
// may fail on purpose is done by the Cluster's methods, which return errors.
type Test struct {
	*Cluster
	t testing.TB
}

// Limits of what a test has a right to, on a machine that is busy.
const (
	podLimit         = 90 * time.Second
	allocatableLimit = 60 * time.Second
	logLimit         = 30 * time.Second
)

// Start starts a cluster that ends with the test. The logs of a test that failed are kept, and their place is printed.
func Start(t testing.TB, o Options) *Test {
	t.Helper()
	c, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), logLimit)
			defer cancel()
			t.Log(c.Describe(ctx, NodeNamespace), c.Describe(ctx, SystemNamespace), c.Describe(ctx, metav1.NamespaceDefault))
			t.Log(c.KeepLogs(t.Name()))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Test{Cluster: c, t: t}
}

func (c *Test) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// Kubectl runs kubectl as an administrator and returns what it prints.
func (c *Test) Kubectl(args ...string) string {
	c.t.Helper()
	return c.Admin().Run(c.t, args...)
}

// Apply applies manifests.
func (c *Test) Apply(yaml string) {
	c.t.Helper()
	c.must(c.Admin().Try(c.t.Context(), yaml, "apply", "-f", "-").Err)
}

// Grant gives a namespace (empty is default) a function of the default interface by a name; mode is af or region.
func (c *Test) Grant(namespace, name, afu, mode string) {
	c.t.Helper()
	c.must(c.Cluster.Grant(c.t.Context(), podLimit, namespace, name, afu, mode))
}

// WaitAdmitted waits until a pod would be admitted; see AwaitAdmitted.
func (c *Test) WaitAdmitted(s PodSpec) {
	c.t.Helper()
	c.must(c.AwaitAdmitted(c.t.Context(), podLimit, s))
}

// InstallInlay installs Inlay and waits until all of its pods are ready.
func (c *Test) InstallInlay(i Install) {
	c.t.Helper()
	c.must(c.Install(c.t.Context(), i))
}

// WaitAllocatable waits until the kubelet and the Node have exactly n healthy devices of a resource.
func (c *Test) WaitAllocatable(resource string, n int) {
	c.t.Helper()
	c.must(c.AwaitAllocatable(c.t.Context(), allocatableLimit, resource, n))
}

// StoreBitstream puts the bitstream of a function of the default interface into the store.
func (c *Test) StoreBitstream(function string) {
	c.t.Helper()
	c.must(c.PutBitstream(emulator.DefaultInterface, function, function))
}

// Faults makes the emulated cards misbehave from now on; nil heals them.
func (c *Test) Faults(f emulator.Faults) {
	c.t.Helper()
	c.must(c.SetFaults(f))
}

// Create creates a pod and does not wait for it.
func (c *Test) Create(s PodSpec) {
	c.t.Helper()
	_, err := c.CreatePod(c.t.Context(), s)
	c.must(err)
}

// RunPod creates a pod and waits until it runs; see KeepPod.
func (c *Test) RunPod(s PodSpec) {
	c.t.Helper()
	refused, err := c.KeepPod(c.t.Context(), podLimit, s)
	for _, reason := range refused {
		c.t.Logf("pod %s was refused once: %s", s.Name, reason)
	}
	c.must(err)
}

// WaitPod waits until check accepts the pod.
func (c *Test) WaitPod(s PodSpec, check func(*corev1.Pod) error) {
	c.t.Helper()
	c.must(c.AwaitPod(c.t.Context(), podLimit, s.Namespace, s.Name, check))
}

// Ports are the ports that a pod sees, with their functions; its script must be ReadFunctions.
func (c *Test) Ports(s PodSpec) map[string]string {
	c.t.Helper()
	ports, err := c.ReadPorts(c.t.Context(), logLimit, s.Namespace, s.Name)
	c.must(err)
	return ports
}

// Logs is what a pod has printed.
func (c *Test) Logs(s PodSpec) string {
	c.t.Helper()
	log, err := c.PodLogs(c.t.Context(), s.Namespace, s.Name)
	c.must(err)
	return log
}

// Delete deletes a pod and waits until it is gone.
func (c *Test) Delete(s PodSpec) {
	c.t.Helper()
	c.must(c.DeletePod(c.t.Context(), s.Namespace, s.Name))
	c.must(c.AwaitGone(c.t.Context(), podLimit, s.Namespace, s.Name))
}

// Program waits until exactly one process of that name runs in the node's containers, e.g. inlay-nri.
func (c *Test) Program(name string) *Program {
	c.t.Helper()
	p, err := c.OneProgram(c.t.Context(), name)
	c.must(err)
	return p
}
