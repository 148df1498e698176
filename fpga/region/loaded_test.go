package region_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/fpga/region"
)

// Whoever had the FME itself can leave any function behind, under any AFU id.
func TestAnAFContainerGetsNoPortThatWasLeftUnverified(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb0, 1000)
	asked := want("dfl-port.0", nlb0)
	if err := n.MarkForeign(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	if err := n.CheckLoaded(t.Context(), asked); err == nil || !contains(err, "not verified", "foreign", "program it again") {
		t.Errorf("a foreign port: %v", err)
	}
	n.must(asked, true)
	if err := n.CheckLoaded(t.Context(), asked); err != nil {
		t.Error(err)
	}
}

func TestAReplacedFileIsProgrammed(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	file := n.store(iface, nlb3, 1000)
	n.must(want("dfl-port.0", nlb3), true)
	n.must(want("dfl-port.0", nlb3), false)
	n.store(iface, nlb3, 1000) // same name, same content, another file
	n.must(want("dfl-port.0", nlb3), true)
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil { // same file, written to
		t.Fatal(err)
	}
	n.must(want("dfl-port.0", nlb3), true)
	n.must(want("dfl-port.0", nlb3), false)
	os.Remove(file)
	n.refused(t.Context(), want("dfl-port.0", nlb3), 0, "bitstream", "not found")
}

func TestTwoOpenCLFilesWithOneAFUAreToldApart(t *testing.T) {
	n := emulated(t, "opae:ports=1")
	if n == nil {
		return
	}
	var hashes []string
	for _, size := range []int{3000, 4000} {
		content, hash, err := emulator.AOCX(iface, nlb3, "", size)
		if err != nil {
			t.Fatal(err)
		}
		n.write("/srv/intel.com/fpga/"+iface+"/"+hash+".aocx", content)
		hashes = append(hashes, hash)
	}
	n.must(want("intel-fpga-port.0", hashes[0]), true)
	n.must(want("intel-fpga-port.0", hashes[0]), false)
	n.must(want("intel-fpga-port.0", hashes[1]), true)
	n.must(want("intel-fpga-port.0", hashes[0]), true)
	// The AFU is the one of a GBS too, but that is not what was loaded.
	n.store(iface, nlb3, 1000)
	n.must(want("intel-fpga-port.0", nlb3), true)
	n.must(want("intel-fpga-port.0", hashes[1]), true)
	if got := *n.prs()[1].BufferSize; got != 4000 {
		t.Errorf("the payload has %d bytes", got)
	}
}

func TestAfterARebootSysfsIsBelieved(t *testing.T) {
	n := emulated(t, "dfl:ports=2")
	if n == nil {
		return
	}
	n.write("/proc/sys/kernel/random/boot_id", []byte("first\n"))
	n.store(iface, nlb3, 1000)
	n.must(want("dfl-port.0", nlb3), true)
	n.must(want("dfl-port.1", nlb3), true)
	// The card loads its own function at power on; the records are still there.
	_, port := n.port("dfl-port.0")
	n.write("/proc/sys/kernel/random/boot_id", []byte("second\n"))
	n.write(port.SysPath+"/afu_id", []byte(nlb0+"\n"))
	if res, err := n.Ensure(t.Context(), want("dfl-port.0", nlb0)); err != nil || res.Programmed {
		t.Errorf("what sysfs says: %+v, %v", res, err)
	}
	n.must(want("dfl-port.0", nlb3), true)
	if res, err := n.Ensure(t.Context(), want("dfl-port.1", nlb3)); err != nil || res.Programmed {
		t.Errorf("what sysfs says: %+v, %v", res, err)
	}
}

func TestARecordThatCannotBeReadMeansProgramming(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 1000)
	n.must(want("dfl-port.0", nlb3), true)
	file := filepath.Join(n.RunDir, "load-0000:3b:00.0-0.json")
	for _, text := range []string{"", "{", "{}", "null", `{"state":"loaded"}`, "\x00\x00\x00"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n.must(want("dfl-port.0", nlb3), true)
		n.must(want("dfl-port.0", nlb3), false)
	}
	os.Remove(file) // a lost record costs nothing where sysfs agrees
	n.must(want("dfl-port.0", nlb3), false)
}

func TestAForeignFMEIsProgrammedAnew(t *testing.T) {
	n := emulated(t, "dfl:ports=2")
	if n == nil {
		return
	}
	n.store(iface, nlb0, 1000)
	n.store(iface, nlb3, 1000)
	n.must(want("dfl-port.1", nlb3), true)
	req := region.Request{Port: "dfl-port.0", FME: "0000:3b:00.0", Interface: iface}
	if err := n.MarkForeign(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	for _, port := range []string{"dfl-port.0", "dfl-port.1"} {
		if r := n.record(port); r == nil || r.State != region.Foreign {
			t.Errorf("%s: record %+v", port, r)
		}
	}
	n.must(want("dfl-port.0", nlb0), true) // sysfs says that it is loaded, and could be made to say so
	n.must(want("dfl-port.1", nlb3), true)
	n.must(want("dfl-port.1", nlb3), false)
	req.FME = "0000:82:00.0"
	if err := n.MarkForeign(t.Context(), req); err == nil {
		t.Error("an FME at another address is marked")
	}
	req = region.Request{Port: "dfl-port.0", Interface: otherIface}
	if err := n.MarkForeign(t.Context(), req); err == nil {
		t.Error("an FME of another interface is marked")
	}
}

// A function can break its port so that the port alone reads as all ones. Who forces it is to say so; a dead card's FME
// reads like that too, and is refused in any case.
func TestForceProgramsAPortThatReadsAsAllOnes(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 1000)
	_, port := n.port("dfl-port.0")
	n.write(port.SysPath+"/afu_id", []byte(strings.Repeat("f", 32)+"\n"))
	req := want("dfl-port.0", nlb3)
	n.refused(t.Context(), req, 0, "other")
	req.Force = true
	if res := n.must(req, true); res.AFU != nlb3 {
		t.Errorf("%+v", res)
	}
}

func TestForceProgramsInAnyCase(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	content, err := emulator.GBS(iface, nlb0, 2000)
	if err != nil {
		t.Fatal(err)
	}
	n.write("/srv/intel.com/fpga/"+iface+"/"+nlb0+".gbs", content)
	req := want("dfl-port.0", nlb0)
	req.File, req.Force = n.write("/home/user/mine.gbs", content), true
	n.must(req, true)
	n.must(req, true)
	req.Force = false
	n.must(req, false)
	n.must(want("dfl-port.0", nlb0), true) // the store's file is another one
	req.Function = nlb3
	n.refused(t.Context(), req, 0, "bitstream", "holds function "+nlb0)
	req.Function, req.File = nlb0, filepath.Join(n.dir, "nothing.gbs")
	n.refused(t.Context(), req, 0, "bitstream", "nothing.gbs")
	other, err := emulator.GBS(otherIface, nlb0, 2000)
	if err != nil {
		t.Fatal(err)
	}
	req.File = n.write("/home/user/other.gbs", other)
	n.refused(t.Context(), req, 0, "bitstream", "is for interface "+otherIface)
}

func TestAnAFPortIsCheckedAndNeverProgrammed(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 1000)
	if err := n.CheckLoaded(t.Context(), want("dfl-port.0", nlb0)); err != nil {
		t.Error(err)
	}
	if err := n.CheckLoaded(t.Context(), want("dfl-port.0", nlb3)); err == nil {
		t.Error("another function passes")
	}
	n.faults(emulator.Faults{"*": {PRHang: true}})
	cmd, _ := n.start(task{Requests: []region.Request{want("dfl-port.0", nlb3)}, Timeout: time.Minute})
	n.eventually("the reconfiguration runs", func() bool { _, p := n.port("dfl-port.0"); return p.AFUErr != nil })
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("the time is over"))
	defer cancel()
	if err := n.CheckLoaded(ctx, want("dfl-port.0", nlb3)); err == nil || !contains(err, "the time is over", "busy") {
		t.Errorf("while it is programmed: %v", err)
	}
	time.AfterFunc(100*time.Millisecond, func() { n.faults(nil) })
	if err := n.CheckLoaded(t.Context(), want("dfl-port.0", nlb3)); err != nil {
		t.Errorf("after it was waited for: %v", err)
	}
	cmd.Wait()
	if len(n.prs()) != 1 {
		t.Errorf("%d PR calls", len(n.prs()))
	}
}

func TestScrubClearsAPort(t *testing.T) {
	n := emulated(t, "dfl:ports=1", "opae:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 1000)
	for _, port := range []string{"dfl-port.0", "intel-fpga-port.0"} {
		if err := n.Scrub(t.Context(), want(port, "")); err != nil {
			t.Error(err)
		}
		if n.afu(port) != nlb0 || n.resets() == 0 {
			t.Errorf("%s holds %s, %d resets", port, n.afu(port), n.resets())
		}
		if err := n.Scrub(t.Context(), want(port, nlb3)); err != nil {
			t.Error(err)
		}
		n.consistent(want(port, nlb3))
	}
	if n.resets() != 2 || len(n.prs()) != 2 {
		t.Errorf("%d resets, %d PR calls", n.resets(), len(n.prs()))
	}
	holder, _ := n.start(task{Requests: []region.Request{{Port: "dfl-port.0"}}, Hold: true})
	n.eventually("the holder has the port", func() bool { return inUse(n, "dfl-port.0") })
	ctx, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, errors.New("the time is over"))
	defer cancel()
	if err := n.Scrub(ctx, want("dfl-port.0", "")); err == nil || !contains(err, "in use by process", "the time is over") {
		t.Errorf("a port that is in use: %v", err)
	}
	holder.Process.Kill()
}

func TestWhatPortsAreKnownToHold(t *testing.T) {
	n := emulated(t, "dfl:ports=3,afu="+nlb0+"/"+nlb3+"/"+nlb3)
	if n == nil {
		return
	}
	n.store(iface, nlb3, 1000)
	n.must(region.Request{Port: "dfl-port.2", Interface: iface, Function: nlb3, Force: true}, true)
	fme, _ := n.port("dfl-port.0")
	known := region.Known{Root: n.Root, RunDir: n.RunDir, Store: n.Store}
	loaded := func() string {
		text := ""
		wishes := []region.Wish{{Interface: iface, Function: nlb0}, {Interface: iface, Function: nlb3}, {Interface: otherIface, Function: nlb0}}
		for _, c := range known.Candidates(fme, fme.Ports, wishes) {
			text += c.Port[len("dfl-port."):] + ":" + string(c.Loaded[:min(1, len(c.Loaded))]) + " "
		}
		return text
	}
	if got := loaded(); got != "0:d 1:f 2:f " {
		t.Errorf("%q", got)
	}
	n.store(iface, nlb3, 1000) // port 2 was loaded from the old one; of port 1 nobody knows
	if got := loaded(); got != "0:d 1:f 2: " {
		t.Errorf("after the file was replaced: %q", got)
	}
	if err := os.WriteFile(filepath.Join(n.RunDir, "load-0000:3b:00.0-0.json"), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := loaded(); got != "0: 1:f 2: " {
		t.Errorf("with a broken record: %q", got)
	}
	if err := n.MarkForeign(t.Context(), region.Request{Port: "dfl-port.1", Interface: fpga.InterfaceID(iface)}); err != nil {
		t.Fatal(err)
	}
	if got := loaded(); got != "0: 1: 2: " {
		t.Errorf("a foreign FME: %q", got)
	}
}
