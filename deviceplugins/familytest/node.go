package familytest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/internal/uevent"
)

// limit is how long a test waits for any one thing of a node.
const limit = 30 * time.Second

// Events is a source of uevents in the test's hand.
type Events chan uevent.Event

// Receive gives the next event that the test sent.
func (e Events) Receive(ctx context.Context) (uevent.Event, error) {
	select {
	case event := <-e:
		return event, nil
	case <-ctx.Done():
		return uevent.Event{}, ctx.Err()
	}
}

// Close does nothing.
func (e Events) Close() error { return nil }

// Node is an engine with families on it, and a kubelet that listens. Both end with the test.
type Node struct {
	Engine  *plugin.Engine
	Kubelet *kubelettest.Kubelet
	t       testing.TB
}

// NewNode starts the kubelet and makes the engine, which Run starts. The folder of c is the kubelet's.
func NewNode(t testing.TB, c plugin.Config) *Node {
	t.Helper()
	dir, err := os.MkdirTemp("", "node") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	n := &Node{Kubelet: kubelettest.New(filepath.Join(dir, "device-plugins")), t: t}
	c.Folder = n.Kubelet.Folder()
	if n.Engine, err = plugin.New(c); err != nil {
		t.Fatal(err)
	}
	if err := n.Kubelet.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Kubelet.Close)
	return n
}

// Run starts the engine, and what a family has running beside it.
func (n *Node) Run(beside ...func(context.Context) error) {
	all := append(beside, n.Engine.Run)
	done := make(chan error)
	for _, run := range all {
		go func() { done <- run(n.t.Context()) }()
	}
	n.t.Cleanup(func() {
		for range all {
			if err := <-done; err != nil {
				n.t.Error(err)
			}
		}
	})
}

// Await waits until the kubelet has a list of exactly these devices of a resource, of which this many are healthy.
func (n *Node) Await(resource string, healthy int, ids ...string) {
	n.t.Helper()
	n.Wait(resource, fmt.Sprintf("%v, %d healthy", ids, healthy), func(r kubelettest.Resource) bool {
		return r.Lists > 0 && slices.Equal(r.IDs(), ids) && r.Allocatable() == healthy
	})
}

// Wait waits until what the kubelet has of a resource is what is wanted, which want says in words.
func (n *Node) Wait(resource, want string, ok func(kubelettest.Resource) bool) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), limit)
	defer cancel()
	if r, err := n.Kubelet.Wait(ctx, resource, ok); err != nil {
		n.t.Fatalf("%v, %d healthy; want %s", err, r.Allocatable(), want)
	}
}

// Allocate asks for devices as for one container; it asks again where an endpoint is just ending.
func (n *Node) Allocate(resource string, ids ...string) (*v1beta1.ContainerAllocateResponse, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), limit)
	defer cancel()
	return n.Kubelet.AllocateSteady(ctx, resource, ids...)
}

// NoLeaks checks that no goroutine that starts from here on outlives the test. It comes before what the test cleans up:
// cleanups run last to first.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}
