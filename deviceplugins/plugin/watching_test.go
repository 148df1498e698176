package plugin_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/uevent"
)

// slow takes the audits out of a test, so that only the event in question can have done it.
func slow(c *plugin.Config) { c.Audit = time.Hour }

func TestUeventOfASubsystemOfTheFamilyMeansAScan_F6(t *testing.T) {
	b := newBench(t)
	b.rack.watch.Subsystems = []string{"fpga_region"}
	b.rack.watch.Ignore = func(e uevent.Event) bool { return e.DevPath == "/devices/opened" }
	source := newEvents()
	b.startKubelet()
	b.start(slow, func(c *plugin.Config) { c.Events = source })
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("dfl-fme.9")} })
	source <- uevent.Event{Action: "add", Subsystem: "net"}
	source <- uevent.Event{Action: "add", Subsystem: "fpga_region", DevPath: "/devices/opened"}
	time.Sleep(50 * time.Millisecond)
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	source <- uevent.Event{Action: "add", Subsystem: "fpga_region"}
	b.await(regionA, "dfl-fme.9")
}

func TestChangeInAWatchedFolderMeansAScan(t *testing.T) {
	b := newBench(t)
	dev := filepath.Join(t.TempDir(), "dev") // does not exist yet
	b.rack.watch.Folders = []plugin.Folder{{Path: dev}}
	b.startKubelet()
	b.start(slow)
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("dfl-fme.2")} })
	if err := os.Mkdir(dev, 0o755); err != nil {
		t.Fatal(err)
	}
	b.await(regionA, "dfl-fme.2")
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("dfl-fme.3")} })
	b.eventually("the new folder is watched", func() bool {
		node := filepath.Join(dev, "dfl-fme.3")
		if err := errors.Join(os.WriteFile(node, nil, 0o600), os.Remove(node)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		return len(b.kubelet.Resource(regionA).Devices) == 1 && b.kubelet.Resource(regionA).IDs()[0] == "dfl-fme.3"
	})
}

func TestValueThatChangesSilentlyMeansAScan(t *testing.T) {
	dir := t.TempDir()
	attr, class := filepath.Join(dir, "afu_id"), filepath.Join(dir, "fpga_region")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(){
		"content":           func() { write(attr, "f7df405cbd7acf7222f144b0b93acd18\n") },
		"gone":              func() { must(os.Remove(attr)) },
		"replaced":          func() { write(attr+"~", "0"); must(os.Rename(attr+"~", attr)) },
		"a name in folder":  func() { write(filepath.Join(class, "region1"), "") },
		"folder is a file":  func() { must(os.RemoveAll(class)); write(class, "") },
		"unreadable folder": func() { must(os.RemoveAll(class)); must(os.Symlink(class, class)) },
	} {
		t.Run(name, func(t *testing.T) {
			os.RemoveAll(class)
			if err := os.Mkdir(class, 0o755); err != nil {
				t.Fatal(err)
			}
			write(attr, "d8424dc4a4a3c413f89e433683f9040b\n")
			b := newBench(t)
			b.rack.watch.Values = []string{attr, class}
			b.startKubelet()
			b.start()
			b.await(regionA, "dfl-fme.0", "dfl-fme.1")
			time.Sleep(250 * time.Millisecond) // two audits
			var before int
			b.rack.set(func(r *rack) {
				before = r.scans
				r.inv = plugin.Inventory{regionA: devices("dfl-fme.8")}
			})
			time.Sleep(250 * time.Millisecond)
			b.rack.set(func(r *rack) {
				if r.scans != before {
					t.Errorf("%d scans while nothing changed", r.scans-before)
				}
			})
			began := time.Now()
			change()
			b.await(regionA, "dfl-fme.8")
			if took := time.Since(began); took > 3*time.Second { // the full scan of everything comes after 6 s
				t.Errorf("the change was seen after %v", took)
			}
		})
	}
}

// Its only queue is disabled and enabled again, and nobody tells.
func TestValuesAreReadOnAfterTheLastDeviceHasGone(t *testing.T) {
	attr := filepath.Join(t.TempDir(), "state")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(attr, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("enabled")
	b := newBench(t)
	b.rack.watch.Values = []string{attr}
	b.startKubelet()
	b.start(func(c *plugin.Config) { c.Audit = time.Second })
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	began := time.Now()
	for _, inv := range []plugin.Inventory{nil, {regionA: devices("dfl-fme.0")}, nil, {regionA: devices("dfl-fme.1")}} {
		b.rack.set(func(r *rack) { r.inv = inv })
		write(time.Now().String())
		var ids []string
		for _, d := range inv[regionA] {
			ids = append(ids, d.ID)
		}
		b.await(regionA, ids...)
	}
	if took := time.Since(began); took > 10*time.Second { // the rare audits are 12 s apart
		t.Errorf("four changes took %v", took)
	}
}

func TestTheCallersOwnFolderIsWatchedToo(t *testing.T) {
	b := newBench(t)
	folder := t.TempDir()
	called := make(chan struct{}, 100)
	b.start(slow, func(c *plugin.Config) {
		c.Interests = []plugin.Interest{{Folder: plugin.Folder{Path: folder, Content: true}, Changed: func() { called <- struct{}{} }}}
	})
	await := func(what string) {
		t.Helper()
		select {
		case <-called:
		case <-time.After(5 * time.Second):
			t.Fatalf("not called %s", what)
		}
	}
	await("at the start")
	for i := range 3 {
		if err := os.WriteFile(filepath.Join(folder, "inlay.yaml"), []byte{byte(i)}, 0o600); err != nil {
			t.Fatal(err)
		}
		await("after a write")
	}
}

func TestFamilyWithoutDevicesCostsNothing(t *testing.T) {
	b := newBench(t)
	b.rack.inv = nil
	b.startKubelet()
	const audit, rare = 50 * time.Millisecond, 12 * 50 * time.Millisecond
	b.start(func(c *plugin.Config) { c.Audit = audit })
	b.eventually("it is scanned", func() bool { return b.engine.Status().Ready() })
	var before int
	b.rack.set(func(r *rack) { before = r.scans })
	began := time.Now()
	time.Sleep(10 * audit) // with devices each is a scan; without there are the rare looks
	b.rack.set(func(r *rack) {
		if n, most := r.scans-before, int(time.Since(began)/rare)+2; n > most {
			t.Errorf("%d scans of a family without devices, want at most %d", n, most)
		}
		r.inv = plugin.Inventory{regionA: devices("late")}
	})
	b.await(regionA, "late") // the rare look finds it
}

func TestBurstOfEventsIsAFewScans(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start(slow)
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	var before int
	b.rack.set(func(r *rack) { before = r.scans })
	for range 2000 {
		b.engine.Kick()
	}
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices("end")} })
	b.engine.Kick()
	b.await(regionA, "end")
	b.rack.set(func(r *rack) {
		if n := r.scans - before; n > 20 {
			t.Errorf("%d scans for one burst", n)
		}
	})
}

func TestWhatWasUnreadableIsLookedAtAgainSoonAfterTheEvent(t *testing.T) {
	b := newBench(t)
	b.rack.inv = nil
	b.rack.skipped = []plugin.Skipped{{Path: "/sys/x/dfl-port.0", Reason: "afu_id: device or resource busy"}}
	b.startKubelet()
	b.start(slow)
	b.eventually("it is scanned", func() bool { return !b.engine.Status().Families[0].Scanned.IsZero() })
	b.rack.set(func(r *rack) { r.skipped, r.inv = nil, plugin.Inventory{regionA: devices("ready")} })
	b.await(regionA, "ready")
}
