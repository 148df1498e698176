package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/emulator"
)

func TestMain(m *testing.M) {
	code := m.Run()
	programs.remove()
	os.Exit(code)
}

// programs are the hook and the emulator, built once a test run.
var programs built

type built struct {
	once     sync.Once
	dir      string
	buildErr error
	runErr   error // why the emulator cannot run here
}

func (b *built) remove() { os.RemoveAll(b.dir) }

func (b *built) build() {
	if b.dir, b.buildErr = os.MkdirTemp("", "inlay-hook-test"); b.buildErr != nil {
		return
	}
	for name, folder := range map[string]string{"inlay-hook": ".", "fpga-emulator": "../fpga/cmd/fpga-emulator"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(b.dir, name), folder)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.buildErr = fmt.Errorf("build of %s: %w\n%s", name, err, out)
			return
		}
	}
	probe := filepath.Join(b.dir, "probe")
	if b.buildErr = emulator.WriteTree(probe, nil); b.buildErr != nil {
		return
	}
	if out, err := exec.Command(filepath.Join(b.dir, "fpga-emulator"), "--host-root", probe, "--", "true").CombinedOutput(); err != nil {
		b.runErr = fmt.Errorf("%w: %s", err, out)
	}
}

// path gives a built program.
func (b *built) path(tb testing.TB, name string) string {
	tb.Helper()
	b.once.Do(b.build)
	if b.buildErr != nil {
		tb.Fatal(b.buildErr)
	}
	return filepath.Join(b.dir, name)
}

// live is a node whose cards the emulator answers for.
type live struct {
	*node
	hookPath string
}

func newLive(t *testing.T, cards ...string) *live {
	t.Helper()
	hook := programs.path(t, "inlay-hook")
	if programs.runErr != nil {
		t.Skipf("SKIPPED: the emulator cannot run here: %v", programs.runErr)
	}
	return &live{node: makeNode(t, cards), hookPath: hook}
}

// faults sets what is wrong with the cards from now on.
func (l *live) faults(f emulator.Faults) {
	l.t.Helper()
	name := l.path("faults.json")
	if err := os.WriteFile(name+".new", mustJSON(l.t, f), 0o644); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		l.t.Fatal(err)
	}
}

// command runs anything below the emulator and gives its standard error; "$hook" is the hook on this node.
func (l *live) command(stdin, script string) *exec.Cmd {
	args := []string{
		"--host-root", l.root, "--bitstreams", l.store(), "--record", l.path("calls"), "--faults", l.path("faults.json"), "--", "sh", "-c", script,
	}
	cmd := exec.Command(programs.path(l.t, "fpga-emulator"), args...)
	cmd.Env = append(os.Environ(), "hook="+l.hookPath, "INLAY_HOST_ROOT="+l.root)
	cmd.Stdin = strings.NewReader(stdin)
	return cmd
}

func (l *live) script(script string) string {
	l.t.Helper()
	var stderr bytes.Buffer
	cmd := l.command("", script)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil && stderr.Len() == 0 {
		l.t.Errorf("%s: %v, and nothing on standard error", script, err)
	}
	return strings.TrimSuffix(stderr.String(), "\n")
}

// program runs the hook as a process; the line on standard error is all that it may say.
func (l *live) program(args ...string) string {
	l.t.Helper()
	line := l.script(`exec "$hook" program ` + strings.Join(args, " "))
	if strings.Contains(line, "\n") {
		l.t.Errorf("more than a line:\n%s", line)
	}
	return line
}

// prs counts the reconfigurations of each port so far.
func (l *live) prs() map[string]int {
	l.t.Helper()
	counts := map[string]int{}
	b, err := os.ReadFile(l.path("calls"))
	if err != nil {
		return counts
	}
	for line := range strings.Lines(string(b)) {
		var call struct{ Request, Port string }
		if err := json.Unmarshal([]byte(line), &call); err != nil {
			l.t.Fatalf("%s: %v", line, err)
		}
		if slices.Contains([]string{"0xb680", "0xb580"}, call.Request) {
			counts[call.Port]++
		}
	}
	return counts
}

func (l *live) wantPRs(want map[string]int) {
	l.t.Helper()
	got := l.prs()
	for port, n := range want {
		if got[port] != n {
			l.t.Errorf("port %s was reconfigured %d times, want %d", port, got[port], n)
		}
	}
	if len(got) != len(want) {
		l.t.Errorf("reconfigured %v, want %v", got, want)
	}
}

func pairFlag(port, address, function string) string {
	return "--pair " + pairArg(port, address, function)
}

func TestAColdPortIsProgrammedAndAWarmOneIsNot(t *testing.T) {
	for _, driver := range []string{"dfl", "opae"} {
		t.Run(driver, func(t *testing.T) {
			l := newLive(t, driver)
			l.put(nlb3)
			port, address := "dfl-port.0", card0
			if driver == "opae" {
				port, address = "intel-fpga-port.0", "0000:06:00.0"
			}
			for range 2 {
				want(t, l.program(pairFlag(port, address, nlb3)), "")
				if got := l.afu(port); got != nlb3 {
					t.Errorf("%s holds %s", port, got)
				}
				l.wantPRs(map[string]int{port: 1})
			}
			got := l.journal()
			if len(got) != 2 || !got[0].Programmed || got[0].PR <= 0 || got[1].Programmed || got[1].PR != 0 {
				t.Errorf("journal %+v", got)
			}
		})
	}
}

func TestTwoCardsAreProgrammedSideBySide(t *testing.T) {
	l := newLive(t, "dfl", "dfl")
	l.put(nlb3)
	l.faults(emulator.Faults{"*": {PRDelay: "3s"}})
	began := time.Now()
	want(t, l.program(pairFlag("dfl-port.0", card0, nlb3), pairFlag("dfl-port.1", card1, nlb3)), "")
	if took := time.Since(began); took > 5500*time.Millisecond {
		t.Errorf("two reconfigurations of 3 s took %s", took)
	}
	l.wantPRs(map[string]int{"dfl-port.0": 1, "dfl-port.1": 1})
}

func TestTheStandAloneHookLeavesSwappedFunctionsWhereTheyAre(t *testing.T) {
	l := newLive(t, "dfl:afu="+nlb0, "dfl:afu="+nlb3)
	l.put(nlb0, nlb3)
	ctr := container{
		env: asks(nlb3, nlb0), devices: []device{port(0), port(1)},
		annotations: rec(fpga.RegionResource(iface), "dfl-fme.0@"+card0, "dfl-fme.1@"+card1),
	}
	out, err := l.command(ctr.state(t), `exec "$hook"`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.wantPRs(map[string]int{})
	l.wantReadied("dfl-port.0 dfl-port.1")
}

// spec/fpga.md 4.4, rows 15 and 16.
func TestWhatTheCardRefusesIsTold(t *testing.T) {
	for _, tt := range []struct {
		name, card, port, address string
		fault                     emulator.Fault
		wantErr                   string
	}{
		{"EIO", "dfl", "dfl-port.0", card0, emulator.Fault{PRErrno: "EIO"}, "partial reconfiguration: …input/output error"},
		{"CRC on DFL", "dfl", "dfl-port.0", card0, emulator.Fault{PRStatus: []string{"crc"}}, "input/output error…FPGA manager"},
		{"CRC on OPAE", "opae", "intel-fpga-port.0", "0000:06:00.0", emulator.Fault{PRStatus: []string{"crc"}}, "input/output error…CRC"},
		{"another function loaded", "dfl", "dfl-port.0", card0, emulator.Fault{PRLoads: nlb0}, "read back " + nlb0 + ", expected " + nlb3},
		{"nothing loaded", "dfl", "dfl-port.0", card0, emulator.Fault{PRLoads: "none"}, "read back " + nlb0},
		{"dead", "dfl", "dfl-port.0", card0, emulator.Fault{Dead: true}, "all ones"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLive(t, tt.card)
			l.put(nlb3)
			l.faults(emulator.Faults{"*": tt.fault})
			line := l.program(pairFlag(tt.port, tt.address, nlb3))
			want(t, line, "inlay-hook: port "+tt.port+": function "+nlb3+": …"+tt.wantErr)
			if e := l.journal(); len(e) != 1 || "inlay-hook: "+e[0].Error != line {
				t.Errorf("journal %+v", e)
			}
			if tt.fault.Dead {
				return // its tree stays dead when the emulator has ended
			}
			// What failed is not believed later, whatever the port shows, and heals with the card.
			l.faults(nil)
			want(t, l.program(pairFlag(tt.port, tt.address, nlb3)), "")
			if got := l.afu(tt.port); got != nlb3 {
				t.Errorf("holds %s", got)
			}
		})
	}
}

func TestTheNodeThatCannotBeOpenedIsNamed(t *testing.T) {
	for _, device := range []string{"dfl-fme.0", "dfl-port.0"} {
		l := newLive(t, "dfl")
		l.put(nlb3)
		l.faults(emulator.Faults{device: {OpenErrno: "EPERM"}})
		want(t, l.program(pairFlag("dfl-port.0", card0, nlb3)),
			"inlay-hook: port dfl-port.0: function "+nlb3+": open "+l.path("dev/"+device)+": operation not permitted")
	}
}

func TestAReconfigurationThatHangsEndsTheWaitAndIsNotForgotten(t *testing.T) {
	l := newLive(t, "dfl")
	l.put(nlb3, nlb0)
	l.faults(emulator.Faults{"dfl-fme.0": {PRHang: true}})
	// While it hangs the next hook waits, then fails as well; once it is over the one after that succeeds.
	// The first one's time has to be enough to begin it, on any machine.
	script := `"$hook" program --timeout 3s ` + pairFlag("dfl-port.0", card0, nlb3) + ` && exit 3
"$hook" program --timeout 400ms ` + pairFlag("dfl-port.0", card0, nlb3) + ` && exit 3
echo '{}' > "$INLAY_HOST_ROOT/faults.json"
"$hook" program --timeout 20s ` + pairFlag("dfl-port.0", card0, nlb3)
	began := time.Now()
	lines := strings.Split(l.script(script), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "port dfl-port.0: function "+nlb3+": the kernel is still programming it: gave up after 3s") ||
		!strings.Contains(lines[1], "port dfl-port.0: function "+nlb3+": ") {
		t.Errorf("lines %q", lines)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("took %s", took)
	}
	if got := l.afu("dfl-port.0"); got != nlb3 {
		t.Errorf("holds %s", got)
	}
}

func TestAHookKilledInTheMiddleLeavesNothingInTheWay(t *testing.T) {
	l := newLive(t, "dfl")
	l.put(nlb3)
	l.faults(emulator.Faults{"dfl-fme.0": {PRHang: true}})
	// The port's id is a folder while the card is programmed. The next hook finds the card busy, for a while.
	script := `"$hook" program ` + pairFlag("dfl-port.0", card0, nlb3) + ` &
for i in $(seq 1000); do
  [ -d "$INLAY_HOST_ROOT/sys/bus/platform/devices/dfl-port.0/afu_id" ] && break
  sleep 0.02
done
kill -9 $!; wait $! 2>/dev/null
(sleep 0.3; echo '{}' > "$INLAY_HOST_ROOT/faults.json") &
exec "$hook" program ` + pairFlag("dfl-port.0", card0, nlb3)
	if line := l.script(script); strings.Contains(line, "inlay-hook:") {
		t.Error(line)
	}
	if got := l.afu("dfl-port.0"); got != nlb3 {
		t.Errorf("holds %s", got)
	}
	l.wantPRs(map[string]int{"dfl-port.0": 2}) // the first one's end was not verified by anybody
}

func TestAPortThatFailsDoesNotCutAnotherOneShort(t *testing.T) {
	l := newLive(t, "dfl", "dfl")
	l.put(nlb3)
	l.faults(emulator.Faults{"dfl-fme.0": {PRDelay: "500ms"}, "dfl-fme.1": {PRErrno: "EINVAL"}})
	line := l.program(pairFlag("dfl-port.0", card0, nlb3), pairFlag("dfl-port.1", card1, nlb3))
	want(t, line, "inlay-hook: port dfl-port.1: function "+nlb3)
	if strings.Contains(line, "dfl-port.0") {
		t.Errorf("%s blames the one that was all right", line)
	}
	l.faults(nil)
	want(t, l.program(pairFlag("dfl-port.0", card0, nlb3), pairFlag("dfl-port.1", card1, nlb3)), "")
	l.wantPRs(map[string]int{"dfl-port.0": 1, "dfl-port.1": 2})
}

// holdOpen keeps a port open as a workload would, for some seconds or until the script ends.
const holdOpen = `held="$INLAY_HOST_ROOT/held.$$"
(exec 3<>"$INLAY_HOST_ROOT/dev/%s"; : >"$held"; exec sleep %s) >/dev/null 2>&1 &
holder=$!
trap 'kill "$holder" 2>/dev/null' EXIT
until [ -e "$held" ]; do sleep 0.02; done
`

// Who holds it is told as far as /proc shows; what other tests of this machine hold under the same name may be among them.
func TestAPortInUseIsWaitedForAndItsHolderNamed(t *testing.T) {
	l := newLive(t, "dfl")
	l.put(nlb3)
	line := l.script(fmt.Sprintf(holdOpen, "dfl-port.0", "30") + `"$hook" program --timeout 2s ` + pairFlag("dfl-port.0", card0, nlb3))
	want(t, line, "inlay-hook: port dfl-port.0: function "+nlb3+": in use by …: gave up after 2s")
	l.wantPRs(map[string]int{})
	line = l.script(fmt.Sprintf(holdOpen, "dfl-port.0", "3") + `"$hook" program --timeout 20s ` + pairFlag("dfl-port.0", card0, nlb3))
	want(t, line, "")
	l.wantPRs(map[string]int{"dfl-port.0": 1})
	if e := l.journal(); e[len(e)-1].Waited < 500*time.Millisecond {
		t.Errorf("journal %+v", e)
	}
}

// spec/fpga.md 8.22: a privileged container lists every port of the node.
func TestWithoutARecordAPortThatAnotherProcessHasOpenIsNeverProgrammed(t *testing.T) {
	l := newLive(t, "dfl", "dfl")
	l.put(nlb3)
	run := func(env []string, devices []device, hold, timeout string) string {
		t.Helper()
		ctr := container{env: env, devices: devices}
		cmd := l.command(ctr.state(t), fmt.Sprintf(holdOpen, "dfl-port.0", hold)+`"$hook" --timeout `+timeout)
		out, _ := cmd.CombinedOutput()
		return strings.TrimSpace(string(out))
	}
	all := []device{port(0), port(1), fme(0), fme(1)}
	want(t, run(asks(nlb3), all, "30", "20s"), "")
	l.wantPRs(map[string]int{"dfl-port.1": 1})
	want(t, run(asks(nlb3), all[:1], "30", "2s"), "function "+nlb3+": 0 free ports…dfl-port.0 is in use by …: gave up after 2s")
	l.wantPRs(map[string]int{"dfl-port.1": 1})
	want(t, run(asks(nlb3, nlb3), all, "3", "20s"), "") // it waits until there are enough
	// The first container had the FMEs too, so what it left in port 1 is not believed.
	l.wantPRs(map[string]int{"dfl-port.0": 1, "dfl-port.1": 2})
}

// Two containers that nobody counted, both with both ports: neither has opened one when the other chooses.
func TestWithoutARecordTwoContainersThatStartTogetherGetAPortEach(t *testing.T) {
	l := newLive(t, "dfl:ports=2")
	l.put(nlb3)
	var hooks sync.WaitGroup
	for range 2 {
		init := exec.Command("sleep", "30")
		if err := init.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = init.Process.Kill(); _ = init.Wait() })
		state := container{env: asks(nlb3), devices: []device{port(0), port(1)}}.state(t)
		state = strings.Replace(state, `"pid":42`, fmt.Sprintf(`"pid":%d`, init.Process.Pid), 1)
		hooks.Go(func() {
			if out, err := l.command(state, `exec "$hook" --timeout 10s`).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	hooks.Wait()
	l.wantPRs(map[string]int{"dfl-port.0": 1, "dfl-port.1": 1})
}

// Such a port is not open yet, so the driver knows of nobody. A container that has ended holds nothing, even while nobody
// has waited for its process.
func TestAPortThatALivingContainerHasChosenIsItsAndSaid(t *testing.T) {
	l := newLive(t, "dfl")
	l.put(nlb3)
	run := func(pid int, timeout string) string {
		t.Helper()
		state := container{env: asks(nlb3), devices: []device{port(0)}}.state(t)
		state = strings.Replace(state, `"pid":42`, fmt.Sprintf(`"pid":%d`, pid), 1)
		out, _ := l.command(state, `exec "$hook" --timeout `+timeout).CombinedOutput()
		return strings.TrimSpace(string(out))
	}
	init := exec.Command("sleep", "30")
	if err := init.Start(); err != nil {
		t.Fatal(err)
	}
	want(t, run(init.Process.Pid, "20s"), "")
	want(t, run(init.Process.Pid, "20s"), "") // once for each of its CDI devices
	want(t, run(os.Getpid(), "1s"), fmt.Sprintf("dfl-port.0 is in use by the container of process %d): gave up after 1s", init.Process.Pid))
	if err := init.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	want(t, run(os.Getpid(), "20s"), "")
	if err := init.Wait(); err == nil {
		t.Error("the first container ended by itself")
	}
}

func TestRegiondevelMakesTheNextOneProgramAnew(t *testing.T) {
	l := newLive(t, "dfl:ports=2")
	l.put(nlb0)
	want(t, l.program("--mode regiondevel", pairFlag("dfl-port.0", card0, "")), "")
	for _, port := range []string{"dfl-port.0", "dfl-port.1"} {
		want(t, l.program(pairFlag(port, card0, nlb0)), "")
	}
	l.wantPRs(map[string]int{"dfl-port.0": 1, "dfl-port.1": 1})
	want(t, l.program("--mode af", pairFlag("dfl-port.0", card0, nlb3)), "port dfl-port.0: function "+nlb3+": it holds "+nlb0)
}
