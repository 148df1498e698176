package qat_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/internal/uevent"
)

// events is a source of uevents in the test's hand.
type events chan uevent.Event

func (e events) Receive(ctx context.Context) (uevent.Event, error) {
	select {
	case event := <-e:
		return event, nil
	case <-ctx.Done():
		return uevent.Event{}, ctx.Err()
	}
}

func (e events) Close() error { return nil }

// node is a host with the engine on it and a kubelet that listens.
type node struct {
	*host
	ctx     context.Context
	kubelet *kubelettest.Kubelet
	events  events
}

// newNode starts the engine; audit is how often silent values are read.
func newNode(t testing.TB, audit time.Duration, tree string, flags ...string) *node {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	n := &node{host: newHost(t, tree, flags...), events: make(events, 100)}
	folder, err := os.MkdirTemp("", "qat") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	n.kubelet = kubelettest.New(filepath.Join(folder, "device-plugins"))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	n.ctx = ctx
	engine, err := plugin.New(plugin.Config{
		Folder: n.kubelet.Folder(), Families: []plugin.Family{n.Family}, Events: n.events, Audit: audit,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.kubelet.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		n.kubelet.Close()
		os.RemoveAll(folder)
		goleak.VerifyNone(t, leaks)
	})
	return n
}

// await waits until the kubelet has exactly these devices of a resource, of which this many are healthy.
func (n *node) await(resource string, healthy int, ids ...string) {
	n.t.Helper()
	r, err := n.kubelet.Wait(n.ctx, resource, func(r kubelettest.Resource) bool {
		return r.Lists > 0 && slices.Equal(r.IDs(), ids) && r.Allocatable() == healthy
	})
	if err != nil {
		n.t.Fatalf("%s: %v: %v, %d healthy", resource, err, r.IDs(), r.Allocatable())
	}
}

const never = time.Hour

func TestTheKubeletFollowsTheCards(t *testing.T) {
	n := newNode(t, 20*time.Millisecond, "gen4", "--qat-allocation-policy=packed")
	const cy, dc, a, b = "qat.intel.com/cy", "qat.intel.com/dc", "0000:6b:00.1", "0000:6b:00.2"
	n.await(cy, 2, a, b)
	answer, err := n.kubelet.Allocate(n.ctx, cy, b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"QAT0": b}, answer.GetEnvs()); diff != "" {
		t.Error(diff)
	}
	if got, err := n.kubelet.Prefer(n.ctx, cy, []string{a, b}, []string{b}, 1); err != nil || !slices.Equal(got, []string{b}) {
		t.Errorf("preferred %v, %v", got, err)
	}

	// The card dies, and comes back. No event tells of that.
	n.write(status6b, "-1\n")
	n.await(cy, 0, a, b)
	if _, err := n.kubelet.Allocate(n.ctx, cy, a); err == nil {
		t.Error("a VF of a dead card was given out")
	}
	n.write(status6b, "0\n")
	n.await(cy, 2, a, b)

	// It is configured for something else.
	n.write("/sys/devices/pci0000:6b/0000:6b:00.0/qat/cfg_services", "dc\n")
	n.await(dc, 2, a, b)
	n.await(cy, 0)
}

func TestAVFThatComesIsOfferedAtTheEvent(t *testing.T) {
	n := newNode(t, never, "gen4")
	const cy = "qat.intel.com/cy"
	pf := "/sys/devices/pci0000:6b/0000:6b:00.0"
	n.await(cy, 2, "0000:6b:00.1", "0000:6b:00.2")
	for range 3 {
		n.write(pf+"/virtfn1", "")
		n.events <- uevent.Event{Action: "remove", Subsystem: "pci", DevPath: "/devices/pci0000:6b/0000:6b:00.2"}
		n.await(cy, 1, "0000:6b:00.1")
		n.write(pf+"/virtfn1", "-> ../0000:6b:00.2")
		n.events <- uevent.Event{Action: "add", Subsystem: "pci", DevPath: "/devices/pci0000:6b/0000:6b:00.2"}
		n.await(cy, 2, "0000:6b:00.1", "0000:6b:00.2")
	}
}

func TestANodeThatUdevMakesLaterIsSeen(t *testing.T) {
	n := newNode(t, never, "gen4")
	n.await("qat.intel.com/cy", 2, "0000:6b:00.1", "0000:6b:00.2")
	n.write("/dev/vfio/319", "")
	n.await("qat.intel.com/cy", 1, "0000:6b:00.1", "0000:6b:00.2")
	n.write("/dev/vfio/319", "x")
	n.await("qat.intel.com/cy", 2, "0000:6b:00.1", "0000:6b:00.2")
}
