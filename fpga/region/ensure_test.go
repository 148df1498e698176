package region_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
	"github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/fpga/region"
)

func TestEnsureFindsWhatIsLoaded(t *testing.T) {
	n := emulated(t, "dfl:ports=2")
	if n == nil {
		return
	}
	n.must(want("dfl-port.0", nlb0), false) // without a record and without a file: sysfs is believed
	n.store(iface, nlb0, 5000)
	n.must(want("dfl-port.0", nlb0), false)
	if r := n.record("dfl-port.0"); r != nil {
		t.Errorf("nothing was programmed, recorded: %+v", r)
	}
}

func TestEnsureProgramsACoolPort(t *testing.T) {
	for _, c := range []string{"dfl:ports=2", "opae:ports=2", "dfl:ports=2,vf=1"} {
		t.Run(strings.NewReplacer(":", "-", ",", "-", "=", "").Replace(c), func(t *testing.T) {
			n := emulated(t, c)
			if n == nil {
				return
			}
			n.store(iface, nlb3, 100_001)
			fme := cardOf(n)
			port := fme.Ports[len(fme.Ports)-1] // on the VF, if there is one
			req := want(port.Name, nlb3)
			req.FME = fme.PCI.Address
			var phases []region.Phase
			n.Progress = func(_ region.Request, p region.Phase) { phases = append(phases, p) }
			res := n.must(req, true)
			n.must(req, false)
			if res.AFU != nlb3 || res.PR <= 0 {
				t.Errorf("result %+v", res)
			}
			if len(phases) < 3 || phases[0] != region.WaitingForLock || phases[1] != region.Verifying || phases[2] != region.Reconfiguring {
				t.Errorf("phases %q", phases)
			}
			pr := n.prs()[0]
			if *pr.PortID != port.ID || *pr.BufferSize != 100_001 || pr.Port != port.Name || pr.Node != fme.Node {
				t.Errorf("the PR call: %+v", pr)
			}
			for _, other := range fme.Ports[:len(fme.Ports)-1] {
				if n.afu(other.Name) != nlb0 {
					t.Errorf("%s holds %s", other.Name, n.afu(other.Name))
				}
			}
			if _, err := os.Stat(n.RunDir + "/touched"); err != nil {
				t.Errorf("nobody is told to look again: %v", err)
			}
		})
	}
}

// cardOf gives the one FME of a node.
func cardOf(n *node) *fpga.FME {
	n.Helper()
	for _, name := range []string{"dfl-port.0", "intel-fpga-port.0"} {
		if n.Root.Exists("/dev/" + name) {
			fme, _ := n.port(name)
			return fme
		}
	}
	n.Fatal("no card")
	return nil
}

func TestEnsureChecksTheDevice(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 10)
	req := want("dfl-port.0", nlb3)
	req.FME = "0000:82:00.0"
	n.refused(t.Context(), req, 0, "other", "dfl-fme.0 is at 0000:3b:00.0 now, it was allocated at 0000:82:00.0")
	req = want("dfl-port.0", nlb3)
	req.Interface = otherIface
	n.refused(t.Context(), req, 0, "other", "dfl-fme.0 has interface "+iface)
	if err := n.refusal(t.Context(), want("dfl-port.7", nlb3), 0, "device"); !errors.Is(err, fpga.ErrNoDevice) {
		t.Errorf("a port that is not there: %v", err)
	}
	n.refused(t.Context(), want("null", nlb3), 0, "other")
	n.faults(emulator.Faults{"dfl-fme.0": {Dead: true}})
	n.eventually("the card is dead", func() bool { fme, _ := n.port("dfl-port.0"); return fme.Interface.AllOnes() })
	n.refused(t.Context(), want("dfl-port.0", nlb3), 0, "other", "all ones")
	n.faults(emulator.Faults{"dfl-fme.0": {Removed: true}})
	n.eventually("the card is gone", func() bool { return !n.Root.Exists("/dev/dfl-port.0") })
	n.refused(t.Context(), want("dfl-port.0", nlb3), 0, "device")
	n.faults(nil)
	n.eventually("the card is back", func() bool {
		_, port, err := card.FindPort(n.Root, "dfl-port.0")
		return err == nil && port.AFU == nlb0
	})
	n.must(want("dfl-port.0", nlb3), true)
}

// Nothing says what it holds, and what it is given is read back. Where there is no id to be read, nothing could be.
func TestEnsureProgramsAPortWhoseIDIsNone(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 10)
	_, port := n.port("dfl-port.0")
	id := port.SysPath + "/afu_id"
	for _, text := range []string{"", "\n", "none\n", nlb3[1:] + "\n", strings.Repeat("x", 32)} {
		n.write(id, []byte(text))
		if res := n.must(want("dfl-port.0", nlb3), true); res.AFU != nlb3 || n.afu("dfl-port.0") != nlb3 {
			t.Errorf("%q: %+v, the port holds %s", text, res, n.afu("dfl-port.0"))
		}
	}
	if err := os.Remove(n.Root.Join(id)); err != nil {
		t.Fatal(err)
	}
	n.refused(t.Context(), want("dfl-port.0", nlb3), 0, "other", "afu_id", "no such file")
}

func TestEnsureChecksTheBitstream(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	req := want("dfl-port.0", nlb3)
	place := "/srv/intel.com/fpga/" + iface + "/" + nlb3 + ".gbs"
	for name, c := range map[string]struct {
		content []byte
		kind    error
	}{
		"missing":            {nil, bitstream.ErrNotFound},
		"of another AFU":     {bitstreamtest.GBS{AFU: bitstreamtest.AFU}.Bytes(), bitstream.ErrMismatch},
		"of another card":    {bitstreamtest.GBS{Interface: otherIface, AFU: nlb3}.Bytes(), bitstream.ErrMismatch},
		"without a payload":  {bitstreamtest.GBS{AFU: nlb3, NoPayload: true}.Bytes(), bitstream.ErrInvalid},
		"no bitstream":       {[]byte("#!/bin/sh"), bitstream.ErrInvalid},
		"larger than wanted": {bitstreamtest.GBS{AFU: nlb3, Payload: make([]byte, 2000)}.Bytes(), bitstream.ErrTooLarge},
	} {
		if c.content != nil {
			n.write(place, c.content)
		}
		n.MaxBitstream = 1000
		if err := n.refusal(t.Context(), req, 0, "bitstream", nlb3); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
		n.free("dfl-port.0")
		os.Remove(n.Root.Join(place))
	}
	if n.afu("dfl-port.0") != nlb0 || n.record("dfl-port.0") != nil {
		t.Errorf("the port was touched: %s, %+v", n.afu("dfl-port.0"), n.record("dfl-port.0"))
	}
	n.store(iface, nlb3, 1000)
	n.must(req, true)
}

func TestEnsureReportsWhatTheCardSays(t *testing.T) {
	n := emulated(t, "dfl:ports=1", "opae:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 1000)
	for port, text := range map[string]string{
		"dfl-port.0":        "FPGA manager: reconfig CRC error reconfig fifo overflow error",
		"intel-fpga-port.0": "(CRC error, FIFO overflow)",
	} {
		n.faults(emulator.Faults{"*": {PRErrno: "EIO", PRStatus: []string{"crc", "fifo"}}})
		err := n.refusal(t.Context(), want(port, nlb3), 1, "pr", "partial reconfiguration", text)
		if !errors.Is(err, unix.EIO) {
			t.Errorf("not EIO: %v", err)
		}
		if r := n.record(port); r == nil || r.State != region.Failed {
			t.Errorf("record %+v", r)
		}
		n.free(port)
		n.faults(nil)
		n.store(iface, nlb0, 4000)
		n.must(want(port, nlb0), true) // what it held before is not believed either
		n.must(want(port, nlb3), true)
	}
	n.faults(emulator.Faults{"*": {PRErrno: "ENODEV"}})
	if err := n.refusal(t.Context(), want("dfl-port.0", nlb0), 1, "pr"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("not ENODEV: %v", err)
	}
}

func TestAPortLeftInResetIsProgrammedAgain(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 1000)
	n.faults(emulator.Faults{"dfl-port.0": {PRErrno: "EIO", PRLeavesReset: true}})
	n.refused(t.Context(), want("dfl-port.0", nlb3), 1, "pr")
	if _, port := n.port("dfl-port.0"); !errors.Is(port.AFUErr, unix.EBUSY) {
		t.Fatalf("the port is not in reset: %q, %v", port.AFU, port.AFUErr)
	}
	n.faults(nil)
	began := time.Now()
	n.must(want("dfl-port.0", nlb3), true)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("waited %s for a port that nobody is programming", took)
	}
}

func TestAWrongFunctionIsNotPassedOn(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 1000)
	const third = "18b79ffa2ee54aa096ef4230dafacb5f"
	for loads, text := range map[string]string{
		third:  "read back " + third + ", expected " + nlb3,
		"none": "read back " + nlb0 + ", expected " + nlb3,
	} {
		n.faults(emulator.Faults{"*": {PRLoads: loads}})
		n.refused(t.Context(), want("dfl-port.0", nlb3), 1, "pr", text)
		n.free("dfl-port.0")
		n.faults(emulator.Faults{"*": {PRLoads: nlb0}})
		n.refused(t.Context(), want("dfl-port.0", nlb3), 1, "pr")
	}
	// The card holds nlb0 as sysfs tells, but nobody knows from which file.
	n.store(iface, nlb0, 1000)
	n.faults(nil)
	n.must(want("dfl-port.0", nlb0), true)
}

func TestABitstreamThatIsWrittenToIsNotBelieved(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	file := n.store(iface, nlb3, 200_000)
	n.faults(emulator.Faults{"*": {PRDelay: "100ms"}})
	n.Progress = func(_ region.Request, p region.Phase) {
		if p != region.Reconfiguring {
			return
		}
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if st, err := f.Stat(); err == nil {
			_, err = f.WriteAt([]byte("x"), st.Size()-1)
			if err != nil {
				t.Error(err)
			}
		}
	}
	_, err := n.Ensure(t.Context(), want("dfl-port.0", nlb3))
	if err == nil {
		t.Fatal("what the card got was not what had been verified")
	}
	n.Progress = nil
	n.store(iface, nlb3, 200_000)
	n.must(want("dfl-port.0", nlb3), true)
	// A file that is cut while it is programmed costs one error, not the process.
	file = n.store(iface, nlb0, 500_000)
	n.Progress = func(_ region.Request, p region.Phase) {
		if p == region.Reconfiguring {
			if err := os.Truncate(file, 4096); err != nil {
				t.Error(err)
			}
		}
	}
	if err := n.refusal(t.Context(), want("dfl-port.0", nlb0), 1, "pr"); !errors.Is(err, unix.EFAULT) {
		t.Errorf("not EFAULT: %v", err)
	}
}

func TestADeadlineEndsTheWaitForABusyPortAndNamesItsHolder(t *testing.T) {
	n := emulated(t, "dfl:ports=2")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 1000)
	holder, _ := n.start(task{Requests: []region.Request{{Port: "dfl-port.0"}}, Hold: true})
	n.eventually("the holder has the port", func() bool { return inUse(n, "dfl-port.0") })
	late := errors.New("the time is over")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, late)
	defer cancel()
	var phases []region.Phase
	n.Progress = func(_ region.Request, p region.Phase) { phases = append(phases, p) }
	began := time.Now()
	err := n.refusal(ctx, want("dfl-port.0", nlb3), 0, "wait", "in use by process ", "("+comm(t, holder.Process.Pid)+")")
	if took := time.Since(began); !errors.Is(err, late) || took < 900*time.Millisecond || took > 20*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
	if len(phases) != 2 || phases[1] != region.WaitingForPort {
		t.Errorf("phases %q", phases)
	}
	n.Progress = nil
	// The other port of the FME is not held up by that.
	n.must(want("dfl-port.1", nlb3), true)
	// Whoever waits gets the port when its holder goes, whatever becomes of that.
	done := make(chan error, 1)
	go func() {
		_, err := n.Ensure(t.Context(), want("dfl-port.0", nlb3))
		done <- err
	}()
	time.Sleep(20 * time.Millisecond)
	holder.Process.Kill()
	if err := <-done; err != nil {
		t.Error(err)
	}
	n.consistent(want("dfl-port.0", nlb3))
}

func inUse(n *node, port string) bool {
	f, err := os.OpenFile(n.Root.Join("/dev/"+port), os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return errors.Is(err, unix.EBUSY)
	}
	f.Close()
	return false
}

func comm(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestADeadlineDuringAReconfigurationLeavesItRunning(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 1000)
	n.faults(emulator.Faults{"*": {PRHang: true}})
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, errors.New("the time is over"))
	defer cancel()
	n.refused(ctx, want("dfl-port.0", nlb3), 0, "wait", "the kernel is still programming it: the time is over")
	if r := n.record("dfl-port.0"); r == nil || r.State != region.Programming {
		t.Errorf("record meanwhile: %+v", r)
	}
	// Another call meanwhile waits, and finds it done.
	done := make(chan struct{})
	go func() {
		defer close(done)
		if res, err := n.Ensure(t.Context(), want("dfl-port.0", nlb3)); err != nil || res.Programmed {
			t.Errorf("another call: %+v, %v", res, err)
		}
	}()
	select {
	case <-done:
		t.Error("another call did not wait")
	case <-time.After(200 * time.Millisecond):
	}
	n.faults(nil)
	<-done
	n.Wait()
	n.consistent(want("dfl-port.0", nlb3))
	if r := n.record("dfl-port.0"); r == nil || r.State != region.Loaded || len(n.prs()) != 1 {
		t.Errorf("record afterwards: %+v, %d PR calls", r, len(n.prs()))
	}
}

func TestADeadlineThatIsOverBeginsNothing(t *testing.T) {
	n := emulated(t, "dfl:ports=1")
	if n == nil {
		return
	}
	n.store(iface, nlb3, 1000)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("never mind"))
	n.refused(ctx, want("dfl-port.0", nlb3), 0, "wait", "never mind")
	n.free("dfl-port.0")
	if r := n.record("dfl-port.0"); r != nil {
		t.Errorf("record %+v", r)
	}
}
