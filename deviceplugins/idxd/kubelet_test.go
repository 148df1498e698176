package idxd_test

import (
	"slices"
	"testing"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/internal/uevent"
)

// node is a host with the engine on it and a kubelet that listens.
type node struct {
	*host
	*familytest.Node
	t      testing.TB
	events familytest.Events
}

// newNode starts the engine; audit is how often silent values are read.
func newNode(t testing.TB, audit time.Duration, tree string, flags ...string) *node {
	t.Helper()
	familytest.NoLeaks(t)
	n := &node{host: newHost(t, tree, flags...), t: t, events: make(familytest.Events, 100)}
	var families []plugin.Family
	for _, f := range n.families {
		families = append(families, f)
	}
	n.Node = familytest.NewNode(t, plugin.Config{Families: families, Events: n.events, Audit: audit})
	n.Run()
	return n
}

// await waits until the kubelet has exactly these devices of a resource, healthy.
func (n *node) await(resource string, ids ...string) {
	n.t.Helper()
	n.Await(resource, len(ids), ids...)
}

// tell sends the event that the driver sends when a queue is bound to or unbound from its driver.
func (n *node) tell(action string) {
	n.events <- uevent.Event{Action: action, Subsystem: "dsa", DevPath: "/devices/pci0000:6a/0000:6a:01.0/dsa0/wq0.1"}
}

// never is an audit that does not come within a test; settled is when the engine has ended to look again by itself at
// what it could not read.
const (
	never   = time.Hour
	settled = 1500 * time.Millisecond
)

// disable and enable do to a queue what accel-config has the kernel do, without udev's part.
func (n *node) disable() {
	n.t.Helper()
	n.remove(n.t, "/dev/dsa/wq0.1", "/dev/char/235:1")
	n.write(n.t, queues+"/wq0.1/state", "disabled")
	n.tell("unbind")
}

func (n *node) enable() {
	n.t.Helper()
	n.write(n.t, queues+"/wq0.1/state", "enabled")
	n.write(n.t, "/dev/dsa/wq0.1", "x")
	n.tell("bind")
}

func TestAQueueThatFlipsStateIsAnUpdateAndTheOtherResourceLivesOn_D1(t *testing.T) {
	n := newNode(t, never, "dsa", "--dsa-shared-dev-num=2")
	shares := []string{"wq-user-shared-wq0.1-0", "wq-user-shared-wq0.1-1"}
	n.await(shared, shares...)
	n.await(dedicated, "wq-user-dedicated-wq0.0-0")
	for range 3 {
		n.disable()
		n.await(shared)
		n.enable()
		n.link(t, "/dev/char/235:1", "../dsa/wq0.1")
		n.await(shared, shares...)
		answer, err := n.Allocate(shared, shares[1])
		if err != nil || len(answer.GetDevices()) != 2 {
			t.Errorf("allocated: %v, %v", answer, err)
		}
	}
	// Half of it is there, as seen in the middle of a change, and udev is late.
	n.disable()
	n.await(shared)
	n.write(t, queues+"/wq0.1/mode", "")
	n.enable()
	n.tell("change")
	n.write(t, queues+"/wq0.1/mode", "shared")
	n.tell("change")
	time.Sleep(settled)
	if ids := n.Kubelet.Resource(shared).IDs(); len(ids) > 0 {
		t.Errorf("offered without its companion link: %v", ids)
	}
	n.link(t, "/dev/char/235:1", "../dsa/wq0.1") // this alone brings it back
	n.await(shared, shares...)

	if r := n.Kubelet.Resource(dedicated); r.Lists != 1 || r.Stopped || r.Allocatable() != 1 {
		t.Errorf("the other resource: %d lists, stopped: %t, %d allocatable", r.Lists, r.Stopped, r.Allocatable())
	}
	if regs := n.Kubelet.Registrations(); len(regs) != 2 {
		t.Errorf("%d registrations of 2 resources: %v", len(regs), regs)
	}
}

func TestAnEventOfTheBusIsEnough(t *testing.T) {
	n := newNode(t, never, "dsa")
	shares := n.ids(t)[shared]
	n.await(shared, shares...)
	n.write(t, queues+"/wq0.1/state", "disabled")
	n.tell("unbind")
	n.await(shared)
	n.write(t, queues+"/wq0.1/state", "enabled")
	n.tell("bind")
	n.await(shared, shares...)
}

func TestWhatTheKernelTellsNobodyIsReadWithTheAudits(t *testing.T) {
	n := newNode(t, 50*time.Millisecond, "dsa")
	shares := n.ids(t)[shared]
	n.await(shared, shares...)
	n.write(t, queues+"/state", "halted")
	n.Wait(shared, "all of them, not healthy", func(r kubelettest.Resource) bool {
		return len(r.Devices) == len(shares) && r.Allocatable() == 0
	})
	n.write(t, queues+"/wq0.1/state", "disabled") // as the driver does after a halt
	n.await(shared)
	n.write(t, queues+"/wq0.1/state", "enabled")
	n.write(t, queues+"/state", "enabled")
	n.await(shared, shares...)
}

func TestFunctionsComeAndGoThroughTheKubelet(t *testing.T) {
	n := newNode(t, never, "vfio-both")
	const resource = "dsa.intel.com/vfio"
	n.await(resource, "0000:6a:01.0", "0000:e7:01.0", "10000:01:00.0")
	n.await("iaa.intel.com/vfio", "0000:6a:02.0", "0000:e7:02.0")
	const driver = "/sys/devices/pci0000:6a/0000:6a:01.0/driver"
	n.remove(t, driver)
	n.events <- uevent.Event{Action: "unbind", Subsystem: "pci"}
	n.await(resource, "0000:e7:01.0", "10000:01:00.0")
	n.link(t, driver, "../../../bus/pci/drivers/vfio-pci")
	n.remove(t, "/dev/vfio/12")
	n.events <- uevent.Event{Action: "bind", Subsystem: "pci"}
	time.Sleep(settled)
	n.await(resource, "0000:e7:01.0", "10000:01:00.0")
	n.write(t, "/dev/vfio/12", "x") // this alone brings it back
	n.await(resource, "0000:6a:01.0", "0000:e7:01.0", "10000:01:00.0")
	answer, err := n.Allocate(resource, "10000:01:00.0", "0000:6a:01.0")
	if err != nil || answer.GetEnvs()["VFIO_BDF1"] != "10000:01:00.0" || len(answer.GetAnnotations()) != 1 {
		t.Errorf("allocated: %v, %v", answer, err)
	}
	if r := n.Kubelet.Resource("iaa.intel.com/vfio"); r.Lists != 1 {
		t.Errorf("the other kind had %d lists", r.Lists)
	}
}

func TestOnlyNamesThatMatterWakeTheFamily(t *testing.T) {
	h := newHost(t, "dsa")
	f := h.families[0]
	folders := func() map[string]func(string) bool {
		match := map[string]func(string) bool{}
		for _, folder := range f.Watch().Folders {
			match[folder.Path] = folder.Match
		}
		return match
	}
	// The engine asks for a folder once and keeps its Match: what it says has to follow what is found later.
	early := folders()[h.root.Join("/dev/char")]
	if early("235:1") {
		t.Error("a number that nobody knows matters before the first scan")
	}
	h.scan(t)
	for name, want := range map[string]bool{"235:1": true, "235:77": true, "234:1": false, "1:3": false, "x": false, "": false, ".#235:1": false} {
		if early(name) != want {
			t.Errorf("/dev/char/%s matters: %t", name, !want)
		}
	}
	queues := folders()[h.root.Join("/dev/dsa")]
	for name, want := range map[string]bool{"wq0.0": true, "wq15.7": true, "wq0": false, ".tmp": false, "": false} {
		if queues(name) != want {
			t.Errorf("/dev/dsa/%s matters: %t", name, !want)
		}
	}
	if w := h.families[1].Watch(); !slices.Equal(w.Values, []string{h.root.Join("/sys/bus/dsa/devices")}) || w.Folders[0].Path != h.root.Join("/dev/iax") {
		t.Errorf("IAA on a node without one: %+v", w)
	}
}
