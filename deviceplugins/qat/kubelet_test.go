package qat_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/uevent"
)

// node is a host with the engine on it and a kubelet that listens.
type node struct {
	*host
	*familytest.Node
	events familytest.Events
}

// newNode starts the engine; audit is how often silent values are read.
func newNode(t testing.TB, audit time.Duration, tree string, flags ...string) *node {
	t.Helper()
	familytest.NoLeaks(t)
	n := &node{host: newHost(t, tree, flags...), events: make(familytest.Events, 100)}
	n.Node = familytest.NewNode(t, plugin.Config{Families: []plugin.Family{n.Family}, Events: n.events, Audit: audit})
	n.Run()
	return n
}

const never = time.Hour

func TestTheKubeletFollowsTheCards(t *testing.T) {
	n := newNode(t, 20*time.Millisecond, "gen4", "--qat-allocation-policy=packed")
	const cy, dc, a, b = "qat.intel.com/cy", "qat.intel.com/dc", "0000:6b:00.1", "0000:6b:00.2"
	n.Await(cy, 2, a, b)
	answer, err := n.Allocate(cy, b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"QAT0": b}, answer.GetEnvs()); diff != "" {
		t.Error(diff)
	}
	if got, err := n.Kubelet.Prefer(t.Context(), cy, []string{a, b}, []string{b}, 1); err != nil || !slices.Equal(got, []string{b}) {
		t.Errorf("preferred %v, %v", got, err)
	}

	// The card dies, and comes back. No event tells of that.
	n.write(status6b, "-1\n")
	n.Await(cy, 0, a, b)
	if _, err := n.Allocate(cy, a); err == nil {
		t.Error("a VF of a dead card was given out")
	}
	n.write(status6b, "0\n")
	n.Await(cy, 2, a, b)

	// It is configured for something else.
	n.write("/sys/devices/pci0000:6b/0000:6b:00.0/qat/cfg_services", "dc\n")
	n.Await(dc, 2, a, b)
	n.Await(cy, 0)
}

func TestAVFThatComesIsOfferedAtTheEvent(t *testing.T) {
	n := newNode(t, never, "gen4")
	const cy = "qat.intel.com/cy"
	pf := "/sys/devices/pci0000:6b/0000:6b:00.0"
	n.Await(cy, 2, "0000:6b:00.1", "0000:6b:00.2")
	for range 3 {
		n.write(pf+"/virtfn1", "")
		n.events <- uevent.Event{Action: "remove", Subsystem: "pci", DevPath: "/devices/pci0000:6b/0000:6b:00.2"}
		n.Await(cy, 1, "0000:6b:00.1")
		n.write(pf+"/virtfn1", "-> ../0000:6b:00.2")
		n.events <- uevent.Event{Action: "add", Subsystem: "pci", DevPath: "/devices/pci0000:6b/0000:6b:00.2"}
		n.Await(cy, 2, "0000:6b:00.1", "0000:6b:00.2")
	}
}

func TestANodeThatUdevMakesLaterIsSeen(t *testing.T) {
	n := newNode(t, never, "gen4")
	n.Await("qat.intel.com/cy", 2, "0000:6b:00.1", "0000:6b:00.2")
	n.write("/dev/vfio/319", "")
	n.Await("qat.intel.com/cy", 1, "0000:6b:00.1", "0000:6b:00.2")
	n.write("/dev/vfio/319", "x")
	n.Await("qat.intel.com/cy", 2, "0000:6b:00.1", "0000:6b:00.2")
}
