package emulator

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var twoPorts = Card{Driver: DFL, Ports: 2}

// payloadFile is where a helper finds what it is to load.
func payloadFile(t *testing.T, data []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(p, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// bothKinds runs a test on nodes and on plain files.
func bothKinds(t *testing.T, test func(t *testing.T, plain bool)) {
	t.Run("plain files", func(t *testing.T) { test(t, true) })
	t.Run("nodes", func(t *testing.T) { needRoot(t); test(t, false) })
}

func TestDFLCallsFollowTheKernelsRules(t *testing.T) {
	bothKinds(t, func(t *testing.T, plain bool) { newMachine(t, plain, twoPorts).run("dfl") })
}

func TestOpenRulesAndResetAtLastClose(t *testing.T) {
	bothKinds(t, func(t *testing.T, plain bool) { newMachine(t, plain, twoPorts).run("opens") })
}

func TestNodeIsFoundFromAnyDirectory(t *testing.T) {
	bothKinds(t, func(t *testing.T, plain bool) { newMachine(t, plain, twoPorts).run("relative") })
}

func TestNodeIsFoundInAnotherMountNamespace(t *testing.T) {
	needRoot(t)
	newMachine(t, false, twoPorts).run("chroot")
}

func TestModeBitsDecideWhoOpens(t *testing.T) {
	needRoot(t)
	m := newMachine(t, false, twoPorts)
	m.run("drop", strconv.Itoa(int(unix.EACCES)))
	if err := os.Chmod(filepath.Join(m.root, "dev/dfl-port.0"), 0o666); err != nil {
		t.Fatal(err)
	}
	m.run("drop", "0")
}

func TestPRLoadsTheFunctionOfThePayload(t *testing.T) {
	bothKinds(t, func(t *testing.T, plain bool) {
		m := newMachine(t, plain, twoPorts)
		data := m.install(DefaultInterface, nlb3, 3<<20+1)
		m.run("mapped", payloadFile(t, data))
		if got := m.afu("dfl-port.0"); got != nlb3 {
			t.Errorf("afu_id is %s", got)
		}
		if got := m.afu("dfl-port.1"); got != nlb0 {
			t.Errorf("afu_id of the other port is %s", got)
		}
		recs := m.records()
		got := recs[len(recs)-1]
		zero, size := uint32(0), uint32(24)
		length := uint32(len(data))
		want := Record{
			Node: "/dev/dfl-fme.0", Request: "0xb680", Argsz: &size, Flags: &zero, PortID: &zero, BufferSize: &length,
			Payload: sum(data), Port: "dfl-port.0", Loaded: nlb3, PID: got.PID, Start: got.Start, End: got.End,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("record (-want +got):\n%s", diff)
		}
	})
}

func TestRecordLineBeginsAsTheContractSays(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	m.run("pr", payloadFile(t, m.install(DefaultInterface, nlb3, 16)), "dfl-fme.0", "0", "0")
	data, err := os.ReadFile(m.cfg.RecordFile)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"node":"/dev/dfl-fme.0","request":"0xb680","argsz":24,"flags":0,"port_id":0,"buffer_size":16,"payload_sha256":"` + sum(payload(DefaultInterface+nlb3, 16)) + `","result":0,`
	if !strings.HasPrefix(string(data), want) {
		t.Errorf("line is\n%swant it to begin with\n%s", data, want)
	}
}

func TestPRWithFaults(t *testing.T) {
	eio, ebusy := strconv.Itoa(int(unix.EIO)), strconv.Itoa(int(unix.EBUSY))
	other := "9926ab6d6c925a68aabca7d84c545738"
	for _, tc := range []struct {
		name   string
		change func(m *machine)
		iface  string
		errno  string
		afu    string
	}{
		{"none", func(*machine) {}, DefaultInterface, "0", nlb3},
		{"flag errno", func(m *machine) { m.cfg.PRErrno = unix.EIO }, DefaultInterface, eio, nlb0},
		{"flag loads none", func(m *machine) { m.cfg.PRLoads = "none" }, DefaultInterface, "0", nlb0},
		{"flag loads another", func(m *machine) { m.cfg.PRLoads = strings.Repeat("ab", 16) }, DefaultInterface, "0", strings.Repeat("ab", 16)},
		{"file errno", func(m *machine) { m.faults(Faults{"dfl-fme.0": {PRErrno: "EBUSY"}}) }, DefaultInterface, ebusy, nlb0},
		{"file, other port", func(m *machine) { m.faults(Faults{"dfl-port.1": {PRErrno: "EBUSY"}}) }, DefaultInterface, "0", nlb3},
		{"dead", func(m *machine) { m.faults(Faults{"dfl-fme.0": {Dead: true}}) }, DefaultInterface, eio, nlb0},
		{"another interface", func(*machine) {}, other, eio, nlb0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine(t, true, twoPorts)
			tc.change(m)
			m.run("pr", payloadFile(t, m.install(tc.iface, nlb3, 100)), "dfl-fme.0", "0", tc.errno)
			if m.afu("dfl-port.0") != tc.afu {
				t.Errorf("afu_id is %s, want %s", m.afu("dfl-port.0"), tc.afu)
			}
		})
	}
}

func TestEachStatusBitOfAFailedPR(t *testing.T) {
	for bit, name := range StatusBits() {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, true, Card{Driver: OPAE, Ports: 1}, Card{Driver: DFL, Ports: 1})
			m.faults(Faults{"*": {PRStatus: []string{name}}})
			p := payloadFile(t, m.install(DefaultInterface, nlb3, 100))
			m.run("opae", strconv.Itoa(1<<bit), p)
			text := ""
			if bit < len(managerErrors) {
				text = managerErrors[bit]
			}
			m.run("status", p, text)
		})
	}
}

func TestOPAEProgramsAndReadsBack(t *testing.T) {
	bothKinds(t, func(t *testing.T, plain bool) {
		m := newMachine(t, plain, Card{Driver: OPAE, Ports: 1})
		m.run("opae", "0", payloadFile(t, m.install(DefaultInterface, nlb3, 100)))
		if got := m.afu("intel-fpga-port.0"); got != nlb3 {
			t.Errorf("afu_id is %s", got)
		}
	})
}

func TestPROutlivesItsCaller(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	m.faults(Faults{"dfl-port.0": {PRDelay: "3s"}}) // not the port that is programmed after it
	m.run("killed", payloadFile(t, m.install(DefaultInterface, nlb3, 100)))
	recs := m.records()
	if len(recs) != 2 || !recs[0].Abandoned || recs[0].Result != 0 || recs[1].Start.After(recs[0].End) {
		t.Errorf("records: %+v", recs)
	}
}

func TestPRUnderSIGURGStormRunsOnce(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	m.cfg.PRDelay = 400 * time.Millisecond
	p := payloadFile(t, m.install(DefaultInterface, nlb3, 100))
	wait := m.start("pr", p, "dfl-fme.0", "0", "0")
	if err := eventually("PR begun", func() bool { return m.afu("dfl-port.0") != nlb0 }); err != nil {
		t.Fatal(err)
	}
	pid := onlyChild(t)
	for m.afu("dfl-port.0") != nlb3 {
		if err := unix.Kill(pid, unix.SIGURG); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if code, err := wait(); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if recs := m.records(); len(recs) != 1 {
		t.Errorf("%d PRs, want 1", len(recs))
	}
}

// onlyChild is the process that this test's emulator runs.
func onlyChild(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text, err := readTrimmed(f); err == nil && text != "" {
			return must(strconv.Atoi(strings.Fields(text)[0]))
		}
	}
	t.Skip("SKIPPED: this kernel does not list children")
	return 0
}

func TestPRsTakeTurnsOnOneFMEOnly(t *testing.T) {
	const delay = 2 * time.Second
	for _, tc := range []struct {
		name    string
		targets []string
		turns   bool
	}{
		{"two ports of one FME", []string{"dfl-fme.0/0", "dfl-fme.0/1"}, true},
		{"two FMEs", []string{"dfl-fme.0/0", "dfl-fme.1/0"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine(t, true, twoPorts, twoPorts)
			m.cfg.PRDelay = delay
			m.run("concurrent", append([]string{payloadFile(t, m.install(DefaultInterface, nlb3, 100))}, tc.targets...)...)
			recs := m.records()
			if len(recs) != 2 {
				t.Fatalf("%d PRs", len(recs))
			}
			apart := recs[1].End.Sub(recs[0].End)
			if turns := apart >= delay/2; turns != tc.turns {
				t.Errorf("PRs ended %v apart", apart)
			}
		})
	}
}

func TestHangingPRHoldsUpNobodyElseAndHeals(t *testing.T) {
	m := newMachine(t, true, twoPorts, twoPorts)
	p := payloadFile(t, m.install(DefaultInterface, nlb3, 100))
	m.faults(Faults{"dfl-fme.0": {PRHang: true}})
	wait := m.start("concurrent", p, "dfl-fme.0/0", "dfl-fme.1/0")
	hangs := func() bool { return strings.Contains(m.afu("dfl-port.0"), "directory") }
	if err := eventually("PR on the other FME", func() bool { return m.afu("dfl-port.2") == nlb3 && hangs() }); err != nil {
		t.Error(err)
	}
	time.Sleep(100 * time.Millisecond)
	if !hangs() {
		t.Errorf("the PR ended: afu_id is %s", m.afu("dfl-port.0"))
	}
	m.faults(Faults{})
	if code, err := wait(); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if got := m.afu("dfl-port.0"); got != nlb3 {
		t.Errorf("afu_id is %s", got)
	}
}

func TestFailedPRCanLeaveThePortInReset(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	p := payloadFile(t, m.install(DefaultInterface, nlb3, 100))
	m.faults(Faults{"dfl-port.0": {PRErrno: "EIO", PRLeavesReset: true}})
	m.run("pr", p, "dfl-fme.0", "0", strconv.Itoa(int(unix.EIO)))
	if got := m.afu("dfl-port.0"); got != nlb0 { // the emulator has ended, and with it the fault
		t.Errorf("afu_id is %s", got)
	}
	m.run("stuck", p, m.cfg.FaultsFile)
	if got := m.afu("dfl-port.0"); got != nlb3 {
		t.Errorf("afu_id is %s", got)
	}
}

func TestReleasedPortLeavesTheTree(t *testing.T) {
	bothKinds(t, func(t *testing.T, plain bool) {
		m := newMachine(t, plain, twoPorts)
		m.run("release")
		if left, _ := filepath.Glob(filepath.Join(m.root, stashDir, "out-*")); len(left) > 0 {
			t.Errorf("the stash is left over: %v", left)
		}
	})
}

func TestCardDiesOrGoesAndComesBack(t *testing.T) {
	card := Card{Driver: DFL, Ports: 2, VF: true}
	for _, tc := range []struct {
		word  string
		fault Fault
		shows func(m *machine) bool
	}{
		{"dead", Fault{Dead: true}, func(m *machine) bool {
			iface, err := readTrimmed(filepath.Join(m.root, "sys/class/fpga_region/region1/compat_id"))
			return err == nil && iface == allOnes && m.afu("dfl-port.0") == allOnes && m.afu("dfl-port.2") == allOnes
		}},
		{"absent", Fault{Removed: true}, func(m *machine) bool {
			left, _ := filepath.Glob(filepath.Join(m.root, "sys/class/*/*"))
			nodes, _ := filepath.Glob(filepath.Join(m.root, "dev/*"))
			pci, _ := filepath.Glob(filepath.Join(m.root, "sys/bus/pci/devices/0000:3b*"))
			return len(left)+len(nodes)+len(pci) == 0
		}},
	} {
		t.Run(tc.word, func(t *testing.T) {
			m := newMachine(t, true, card)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			m.cfg.Stdin = r
			wait := m.start("gone")
			if err := eventually("helper ready", func() bool { recs, _ := ReadRecords(m.cfg.RecordFile); return len(recs) == 1 }); err != nil {
				t.Error(err)
			}
			m.faults(Faults{"dfl-fme.0": tc.fault})
			if err := eventually(tc.word, func() bool { return tc.shows(m) }); err != nil {
				t.Error(err)
			}
			if _, err := w.WriteString(tc.word); err != nil {
				t.Error(err)
			}
			w.Close()
			if code, err := wait(); code != 0 || err != nil {
				t.Errorf("exit code %d, %v", code, err)
			}
			r.Close()
			m.cfg.Stdin = nil
			// An emulator that ends leaves a whole tree behind, so the next one starts as if nothing had been.
			m.faults(nil)
			m.run("opens")
		})
	}
}

func TestForwardedSignalAndExitCode(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	m.cfg.Signals = []os.Signal{unix.SIGTERM}
	wait := m.start("wait")
	if err := eventually("helper ready", func() bool { _, err := os.Stat(filepath.Join(m.root, "run/waiting")); return err == nil }); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(os.Getpid(), unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := wait(); code != 3 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestLingerServesWhoWasLeftBehind(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	m.cfg.Linger = true
	m.run("orphan", payloadFile(t, m.install(DefaultInterface, nlb3, 100)))
	if got := m.afu("dfl-port.0"); got != nlb3 {
		t.Errorf("afu_id is %s", got)
	}
}

func TestUnrelatedOpensStayCheap(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	result := filepath.Join(t.TempDir(), "ns")
	const most = 2 * time.Millisecond // some 20 µs on an idle machine; the bound is for a busy one
	m.run("unrelated", "2000", result)
	text, err := readTrimmed(result)
	if err != nil {
		t.Fatal(err)
	}
	each := time.Duration(must(strconv.Atoi(text)))
	t.Logf("one open for reading and writing: %v", each)
	if each > most {
		t.Errorf("one open takes %v, want at most %v", each, most)
	}
}

func TestUnrelatedOpensGoOnDuringAPR(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	m.faults(Faults{"dfl-port.0": {PRHang: true}})
	m.run("meanwhile", payloadFile(t, m.install(DefaultInterface, nlb3, 100)), m.cfg.FaultsFile)
}
