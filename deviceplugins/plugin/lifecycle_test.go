package plugin_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/internal/unixsock"
)

func TestResourceThatComesAndGoes(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start(func(c *plugin.Config) { c.Linger = 50 * time.Millisecond })
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	for range 4 {
		b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionB: devices("x")} })
		b.engine.Kick()
		b.await(regionB, "x")
		// An empty list first: the node shows 0 at once, not after the five minutes that the kubelet keeps a stopped one.
		if _, err := b.kubelet.Wait(b.ctx, regionA, func(r kubelettest.Resource) bool { return len(r.Devices) == 0 }); err != nil {
			t.Fatal(err)
		}
		if _, err := b.kubelet.Wait(b.ctx, regionA, func(r kubelettest.Resource) bool { return r.Stopped }); err != nil {
			t.Fatal(err)
		}
		b.eventually("it is forgotten", func() bool { return len(b.engine.Status().Resources) == 1 })
		b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("dfl-fme.5"), regionB: devices("x")} })
		b.engine.Kick()
		b.await(regionA, "dfl-fme.5")
		b.works(regionA, "dfl-fme.5")
		b.works(regionB, "x")
	}
}

func TestResourceThatIsBackSoonWasNeverStopped(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	n := len(b.kubelet.Registrations())
	b.rack.set(func(r *rack) { r.inv = nil })
	b.engine.Kick()
	if _, err := b.kubelet.Wait(b.ctx, regionA, func(r kubelettest.Resource) bool { return len(r.Devices) == 0 }); err != nil {
		t.Fatal(err)
	}
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("dfl-fme.0")} })
	b.engine.Kick()
	b.await(regionA, "dfl-fme.0")
	if got := len(b.kubelet.Registrations()); got != n {
		t.Errorf("%d registrations for a list that was empty for a moment", got-n)
	}
}

func TestAFamilyThatIsNotOfferedLosesItsDevicesAndGetsThemBack(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start(slow)
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.engine.Offer("another")
	b.await(regionA)
	scans := func() (n int) { b.rack.set(func(r *rack) { n = r.scans }); return n }
	before := scans()
	b.engine.Kick()
	time.Sleep(20 * time.Millisecond)
	if after := scans(); after != before {
		t.Errorf("a family that is not offered was asked %d times", after-before)
	}
	b.engine.Offer("another", "rack")
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.works(regionA, "dfl-fme.1")
}

func TestDevicesFlapWhileStreamsBreak_F2(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start(func(c *plugin.Config) { c.Linger = 20 * time.Millisecond })
	for i := range 60 {
		b.rack.set(func(r *rack) {
			r.inv = plugin.Inventory{}
			for _, name := range []string{regionA, regionB} {
				for d := range rand.IntN(3) {
					r.inv[name] = append(r.inv[name], devices(fmt.Sprintf("dfl-fme.%d", d))...)
				}
			}
		})
		b.engine.Kick()
		switch i % 6 {
		case 1:
			if err := b.kubelet.Restart(); err != nil {
				t.Fatal(err)
			}
		case 3:
			b.kubelet.Abandon()
			b.startKubelet()
		case 5:
			for _, r := range b.engine.Status().Resources {
				os.Remove(r.Socket)
			}
			b.kubelet.HangUp()
		}
		time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond)
	}
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("a"), regionB: devices("b")} })
	b.engine.Kick()
	b.await(regionA, "a")
	b.await(regionB, "b")
	b.works(regionA, "a")
	b.works(regionB, "b")
}

func TestResourcesDoNotWaitForEachOther_F3(t *testing.T) {
	b := newBench(t)
	// A kubelet that answers nobody: registrations hang in it until they time out.
	if err := os.MkdirAll(b.folder, 0o755); err != nil {
		t.Fatal(err)
	}
	hung, err := unixsock.Listen(filepath.Join(b.folder, "kubelet.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	b.start()
	time.Sleep(100 * time.Millisecond)
	b.rack.set(func(r *rack) { r.inv[regionB] = devices("x") })
	b.engine.Kick()
	b.eventually("the other resource is served", func() bool { return len(b.engine.Status().Resources) == 2 })
	began := time.Now()
	b.startKubelet() // replaces the socket of the one that hangs
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.await(regionB, "x")
	if took := time.Since(began); took > 8*time.Second { // less than an attempt to register may take
		t.Errorf("the kubelet that hung was waited for: %v", took)
	}
}

func TestNewestOfTwoInstancesServes(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")

	newer := &rack{inv: plugin.Inventory{regionA: devices("new")}}
	second, stop := b.run(newer)
	defer stop()
	b.await(regionA, "new")
	b.eventually("the older one stands by", func() bool {
		r := b.engine.Status().Resources[0]
		return r.Standby && !r.Registered && !b.engine.Status().Ready()
	})
	if missing, want := b.engine.Status().Missing, "resource "+regionA+": another process serves it, standing by"; !slices.Equal(missing, []string{want}) {
		t.Errorf("what is missing: %q, want %q", missing, want)
	}

	// What the older one finds does not reach the kubelet any more, over a restart of the kubelet either.
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("old")} })
	b.engine.Kick()
	lists := b.kubelet.Resource(regionA).Lists
	time.Sleep(100 * time.Millisecond)
	if r := b.kubelet.Resource(regionA); r.Lists != lists || r.IDs()[0] != "new" {
		t.Errorf("the older one still speaks: %v", r.IDs())
	}
	if err := b.kubelet.Restart(); err != nil {
		t.Fatal(err)
	}
	b.await(regionA, "new")
	time.Sleep(50 * time.Millisecond)
	b.await(regionA, "new")
	b.works(regionA, "new")
	b.eventually("the newer one is ready", func() bool { return second.Status().Ready() })

	stop() // the newer one goes: the older one is there again
	b.await(regionA, "old")
	b.works(regionA, "old")
}

// The kubelet takes the end of the older one's stream for the end of the newest endpoint, each version in its own way.
func TestOlderOfTwoInstancesLeavesWithoutHarm(t *testing.T) {
	for name, opts := range map[string][]kubelettest.Option{
		"the kubelet hangs up on the newest": nil,
		"the kubelet marks the newest":       {kubelettest.MarksNewest()},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, opts...)
			b.startKubelet()
			b.start()
			b.await(regionA, "dfl-fme.0", "dfl-fme.1")
			newer := &rack{inv: plugin.Inventory{regionA: devices("new")}}
			engine, stop := b.run(newer)
			defer stop()
			b.await(regionA, "new")
			socket := b.socket(regionA)
			b.eventually("the older one stands by", func() bool { return b.engine.Status().Resources[0].Standby })
			n := len(b.kubelet.Registrations())
			b.stop()
			if _, ok := unixsock.Stat(socket); !ok {
				t.Error("the older one took the socket of the newer one with it")
			}
			b.eventually("the newer one registers again", func() bool { return len(b.kubelet.Registrations()) > n })
			b.engine = engine
			b.await(regionA, "new")
			b.works(regionA, "new")
		})
	}
}

func TestKubeletThatHangsUpIsRegisteredWithAgain(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start()
	for range 5 {
		b.await(regionA, "dfl-fme.0", "dfl-fme.1")
		n := len(b.kubelet.Registrations())
		b.kubelet.HangUpOn(regionA)
		b.eventually("it is registered again", func() bool { return len(b.kubelet.Registrations()) > n })
	}
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.works(regionA, "dfl-fme.1")
}

func TestSocketOfADeadProcessIsReplaced(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	name := filepath.Join(b.folder, "fpga.intel.com-region-69528db6eb31577a8c3668f9faa081f6.sock")
	if len(name) <= unixsock.MaxPath {
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		dead.Close()
	}
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
}

func TestShutdownTakesTheSocketsAway_F7(t *testing.T) {
	b := newBench(t)
	b.rack.inv[regionB] = devices("x")
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.await(regionB, "x")
	b.stop()
	left, err := os.ReadDir(b.folder)
	if err != nil || len(left) != 1 || left[0].Name() != "kubelet.sock" {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestShutdownAtAnyMoment(t *testing.T) {
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			b := newBench(t)
			if i%2 == 0 {
				b.startKubelet()
			}
			b.start()
			time.Sleep(time.Duration(i) * time.Millisecond)
			if i%3 == 0 {
				b.kubelet.Abandon()
			}
			b.stop()
		})
	}
}

func TestFolderOfAnyLength(t *testing.T) {
	for _, n := range []int{60, 90, 110, 180} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b := newBench(t)
			if pad := n - len(b.folder); pad > 1 {
				b.folder = filepath.Join(b.folder, strings.Repeat("x", pad-1))
			}
			b.kubelet = kubelettest.New(b.folder)
			b.startKubelet()
			b.start()
			b.await(regionA, "dfl-fme.0", "dfl-fme.1")
			b.works(regionA, "dfl-fme.0")
			if s := b.socket(regionA); n <= 70 && len(s) > unixsock.MaxPath {
				t.Errorf("a kubelet cannot dial %s (%d bytes)", s, len(s))
			}
		})
	}
}
