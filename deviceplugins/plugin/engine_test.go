package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
)

const (
	regionA = "fpga.intel.com/region-69528db6eb31577a8c3668f9faa081f6"
	regionB = "fpga.intel.com/region-ce48969398f05f33946d560708be108a"
)

// rack is a family whose hardware the test changes at will.
type rack struct {
	mu      sync.Mutex
	inv     plugin.Inventory
	skipped []plugin.Skipped
	err     error
	panics  bool
	watch   plugin.Watch
	scans   int
}

func (r *rack) Name() string { return "rack" }

func (r *rack) Scan(context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scans++
	if r.panics {
		panic("a port of no card")
	}
	return maps.Clone(r.inv), r.skipped, r.err // the engine reads it after we have let go
}

func (r *rack) Watch() plugin.Watch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.watch
}

func (r *rack) set(f func(*rack)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
}

// devices makes healthy devices with these ids.
func devices(ids ...string) []plugin.Device {
	var out []plugin.Device
	for _, id := range ids {
		out = append(out, plugin.Device{ID: id, NUMA: []int{0}, Grant: plugin.Grant{
			Nodes: []plugin.Node{{HostPath: "/dev/" + id, ContainerPath: "/dev/" + id, Permissions: "rw"}},
			CDI:   []string{"intel.cdi.k8s.io/fpga=gate"},
		}})
	}
	return out
}

// bench is a rack, an engine that offers it and a kubelet.
type bench struct {
	testing.TB
	ctx     context.Context
	folder  string
	rack    *rack
	kubelet *kubelettest.Kubelet
	engine  *plugin.Engine
	stop    func()
}

// newBench makes the parts without starting the kubelet; the engine runs from start on. Everything is ended, and no
// goroutine left, when the test ends.
func newBench(t testing.TB, opts ...kubelettest.Option) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	b := &bench{TB: t, ctx: ctx, folder: filepath.Join(t.TempDir(), "device-plugins"), rack: &rack{inv: plugin.Inventory{regionA: devices("dfl-fme.0", "dfl-fme.1")}}}
	b.kubelet = kubelettest.New(b.folder, opts...)
	t.Cleanup(func() {
		if b.stop != nil {
			b.stop()
		}
		b.kubelet.Close()
		cancel()
		goleak.VerifyNone(t, goleak.IgnoreTopFunction("testing.(*B).run1")) // of benchmarks
	})
	return b
}

// start runs the engine.
func (b *bench) start(change ...func(*plugin.Config)) {
	b.Helper()
	b.engine, b.stop = b.run(b.rack, change...)
}

// run runs one more engine on the same folder.
func (b *bench) run(f plugin.Family, change ...func(*plugin.Config)) (*plugin.Engine, func()) {
	b.Helper()
	conf := plugin.Config{Folder: b.folder, Families: []plugin.Family{f}, Events: newEvents(), Audit: 100 * time.Millisecond}
	for _, c := range change {
		c(&conf)
	}
	engine, err := plugin.New(conf)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	return engine, sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				b.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			b.Error("Run does not end")
		}
	})
}

func (b *bench) startKubelet() {
	b.Helper()
	if err := b.kubelet.Start(); err != nil {
		b.Fatal(err)
	}
}

// await waits until the kubelet has exactly these devices of a resource, and can allocate all of them.
func (b *bench) await(resource string, ids ...string) kubelettest.Resource {
	b.Helper()
	r, err := b.kubelet.Wait(b.ctx, resource, func(r kubelettest.Resource) bool {
		return slices.Equal(r.IDs(), ids) && r.Allocatable() == len(ids)
	})
	if err != nil {
		b.Fatalf("want %v: %v; engine: %v", ids, err, b.engine.Status().Missing)
	}
	return r
}

// works proves that a resource can be used, by an allocation.
func (b *bench) works(resource, id string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	answer, err := b.kubelet.AllocateSteady(ctx, resource, id)
	if err != nil {
		b.Fatal(err)
	}
	if got := answer.GetDevices()[0].GetHostPath(); got != "/dev/"+id {
		b.Fatalf("allocation of %s gives %s", id, got)
	}
}

// eventually waits for a condition that nothing signals.
func (b *bench) eventually(what string, ok func() bool) {
	b.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("it never came about that %s", what)
		}
	}
}

func (b *bench) socket(resource string) string {
	b.Helper()
	for _, r := range b.engine.Status().Resources {
		if r.Resource == resource {
			return r.Socket
		}
	}
	b.Fatalf("no resource %s", resource)
	return ""
}

func TestDevicesAreOfferedSortedAndAllocated(t *testing.T) {
	b := newBench(t)
	b.rack.inv[regionA] = devices("dfl-fme.1", "dfl-fme.0")
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.works(regionA, "dfl-fme.1")
	b.eventually("the engine is ready", func() bool { return b.engine.Status().Ready() })
	if got, want := filepath.Base(b.socket(regionA)), "fpga.intel.com-region-69528db6eb31577a8c3668f9faa081f6.sock"; len(b.folder)+len(want) < 107 && got != want {
		t.Errorf("socket %s, want %s", got, want)
	}
}

func TestKubeletAbsentAtStart(t *testing.T) {
	b := newBench(t)
	b.start()
	b.eventually("the engine says what is missing", func() bool { return len(b.engine.Status().Missing) == 1 })
	b.startKubelet()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.works(regionA, "dfl-fme.0")
}

func TestKubeletRestartsAnyNumberOfTimes(t *testing.T) {
	b := newBench(t)
	b.rack.inv[regionB] = devices("dfl-fme.2")
	b.startKubelet()
	b.start()
	for i := range 25 {
		b.await(regionA, "dfl-fme.0", "dfl-fme.1")
		b.await(regionB, "dfl-fme.2")
		b.works(regionA, "dfl-fme.0")
		if i%3 == 0 {
			b.kubelet.Stop()
			time.Sleep(time.Duration(i) * time.Millisecond)
			b.startKubelet()
		} else if err := b.kubelet.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.await(regionB, "dfl-fme.2")
}

func TestKubeletRestartsWhileWeRegister(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start()
	for i := range 30 { // without waiting for anything in between
		if err := b.kubelet.Restart(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i%7) * time.Millisecond)
	}
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.works(regionA, "dfl-fme.1")
}

func TestRegistrationIsTriedUntilItWorks_F3(t *testing.T) {
	b := newBench(t)
	b.kubelet.RefuseNext(5)
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
}

func TestRemovedSocketIsPutBack(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	for range 5 {
		n := len(b.kubelet.Registrations())
		if err := os.Remove(b.socket(regionA)); err != nil {
			t.Fatal(err)
		}
		b.eventually("it is registered again", func() bool { return len(b.kubelet.Registrations()) > n })
		b.works(regionA, "dfl-fme.0")
	}
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("dfl-fme.1")} })
	b.engine.Kick()
	b.await(regionA, "dfl-fme.1")
}

func TestFolderThatIsRemovedWithEverythingInIt(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.kubelet.Stop()
	// The engine puts its socket back as it goes, and may do so between a folder's last file and the folder.
	b.eventually("the folder is gone", func() bool { return os.RemoveAll(b.folder) == nil })
	b.startKubelet()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.works(regionA, "dfl-fme.0")
}

// The reference's worst defect: the old stream's handler takes the next update, fails to send it and stops the new server.
func TestStaleStreamTakesNothingFromTheNextOne_F1(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	for i := range 12 {
		b.kubelet.Abandon() // its stream stays open, and is first in every line
		b.startKubelet()
		b.await(regionA, b.engineIDs()...)
		for j := range 3 { // the reference lost the first update and died of the second
			ids := []string{fmt.Sprintf("dfl-fme.%d", i*3+j)}
			b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices(ids...)} })
			b.engine.Kick()
			b.await(regionA, ids...)
		}
	}
	b.kubelet.HangUp()
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("last")} })
	b.engine.Kick()
	b.await(regionA, "last")
	b.works(regionA, "last")
}

// engineIDs gives what the rack holds now.
func (b *bench) engineIDs() (ids []string) {
	b.rack.set(func(r *rack) {
		for _, d := range r.inv[regionA] {
			ids = append(ids, d.ID)
		}
	})
	return ids
}

func TestSlowKubeletGetsTheNewestList_F4(t *testing.T) {
	b := newBench(t, kubelettest.SlowStreams(30*time.Millisecond))
	b.startKubelet()
	b.start()
	began := time.Now()
	for i := range 50 {
		b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices(fmt.Sprintf("dev-%d", i))} })
		b.engine.Kick()
		time.Sleep(2 * time.Millisecond)
	}
	most := int(time.Since(began)/(5*time.Millisecond)) + 4 // the scans of a burst are 5 ms apart
	if r := b.await(regionA, "dev-49"); r.Lists > most {
		t.Errorf("%d lists for 50 quick changes, want at most %d", r.Lists, most)
	}
}

func TestDeadStreamHoldsNobodyUp(t *testing.T) {
	b := newBench(t)
	dead := kubelettest.New(b.folder, kubelettest.DeadStreams())
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	many := make([]string, 5000) // more than the flow control window of a stream
	for i := range many {
		many[i] = fmt.Sprintf("a-device-with-a-long-name-%04d", i)
	}
	b.rack.inv = plugin.Inventory{regionA: devices(many...), regionB: devices("x")}
	b.start()
	b.eventually("both are registered", func() bool { return len(dead.Registrations()) >= 2 })
	for i := range 5 {
		b.rack.set(func(r *rack) {
			r.inv = plugin.Inventory{regionA: devices(many[i+1:]...), regionB: devices("x")}
		})
		b.engine.Kick()
		time.Sleep(20 * time.Millisecond)
	}
	dead.Abandon()
	b.startKubelet()
	b.await(regionB, "x")
	b.await(regionA, many[5:]...)
}

func TestUnchangedListIsNotSentAgain(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	before := b.kubelet.Resource(regionA).Lists
	for range 20 {
		b.engine.Kick()
		time.Sleep(5 * time.Millisecond)
	}
	if got := b.kubelet.Resource(regionA).Lists; got != before {
		t.Errorf("%d lists without a change", got-before)
	}
}

func TestUnhealthyDeviceStaysInTheListAndIsNotGivenOut(t *testing.T) {
	b := newBench(t)
	sick := devices("dfl-fme.0", "dfl-fme.1")
	sick[0].Health, sick[0].Reason = plugin.Unhealthy, "ids read all ones"
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: sick} })
	b.engine.Kick()
	r, err := b.kubelet.Wait(b.ctx, regionA, func(r kubelettest.Resource) bool { return r.Allocatable() == 1 })
	if err != nil || len(r.Devices) != 2 {
		t.Fatalf("%v, %v", r.IDs(), err)
	}
	if _, err := b.kubelet.Allocate(b.ctx, regionA, "dfl-fme.0"); err == nil || !contains(err, "dfl-fme.0", "ids read all ones") {
		t.Errorf("allocation of a sick device: %v", err)
	}
	if _, err := b.kubelet.Allocate(b.ctx, regionA, "dfl-fme.7"); err == nil || !contains(err, `device "dfl-fme.7" is not there (any more)`) {
		t.Errorf("allocation of an unknown device: %v", err)
	}
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("dfl-fme.0", "dfl-fme.1")} })
	b.engine.Kick()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
}

func TestScanThatFailsOrPanicsKeepsWhatIsKnown(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	for name, fail := range map[string]func(*rack){
		"error": func(r *rack) { r.inv, r.err = nil, errors.New("sysfs on fire") },
		"panic": func(r *rack) { r.panics = true },
	} {
		b.rack.set(fail)
		b.engine.Kick()
		b.eventually("the "+name+" is reported", func() bool { return !b.engine.Status().Ready() })
		b.works(regionA, "dfl-fme.0")
		b.rack.set(func(r *rack) {
			r.inv, r.err, r.panics = plugin.Inventory{regionA: devices("dfl-fme.0", "dfl-fme.1")}, nil, false
		})
		b.eventually("the audits find it whole again", func() bool { return b.engine.Status().Ready() })
	}
}

func TestOneOddDeviceTakesNoOtherDown(t *testing.T) {
	b := newBench(t)
	odd := append(devices("good", "twice", "twice", ""), plugin.Device{ID: string(make([]byte, 64))}, plugin.Device{ID: "drunk", Health: "Tipsy"}, plugin.Device{ID: "\xff"})
	b.rack.inv = plugin.Inventory{regionA: odd, "region-": devices("x"), "fpga.intel.com/region-": devices("y"), regionB: devices("z")}
	b.rack.skipped = []plugin.Skipped{{Path: "/sys/x/dfl-port.0", Reason: "afu_id: device or resource busy"}}
	b.startKubelet()
	b.start()
	b.await(regionA, "good", "twice")
	b.await(regionB, "z")
	var skipped []plugin.Skipped
	b.eventually("the scan is done", func() bool { // the lists are out before
		skipped = b.engine.Status().Families[0].Skipped
		return len(skipped) > 0
	})
	if len(skipped) != 8 {
		t.Errorf("%d things skipped, want 8: %v", len(skipped), skipped)
	}
}

// What was offered is not what is there: its name stays for a while, without devices.
func TestAResourceThatHasOnlyOddDevicesLeftIsEmpty(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("\xff")} })
	b.engine.Kick()
	b.await(regionA)
}
