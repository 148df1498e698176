package region_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Variables by which the test binary tells its other lives what they are.
const (
	nodeVariable   = "INLAY_REGION_TEST_NODE"   // a test that runs under the emulator: the folder of its node
	helperVariable = "INLAY_REGION_TEST_HELPER" // a process of such a test: its job as JSON
)

func TestMain(m *testing.M) {
	emulator.Shim()
	if text, ok := os.LookupEnv(helperVariable); ok {
		if err := help(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// node is an emulated node as a test under the emulator sees it.
type node struct {
	testing.TB
	*region.Programmer
	dir string
}

// emulated makes a node with these cards and runs the calling test once more, under the emulator. There it returns the
// node; here it returns nil when that run has passed, and the test has nothing more to do.
func emulated(t *testing.T, cards ...string) *node {
	t.Helper()
	if dir := os.Getenv(nodeVariable); dir != "" {
		return openNode(t, dir)
	}
	t.Parallel()
	dir := newNode(t, cards...)
	var out bytes.Buffer
	args := []string{"-test.run=^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$", "-test.timeout=2m", "-test.v"}
	runEmulated(t, dir, &out, []string{nodeVariable + "=" + dir}, args...)
	if strings.Contains(out.String(), "--- SKIP: ") {
		t.Skipf("SKIPPED under the emulator:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "--- PASS: "+t.Name()) {
		t.Fatalf("nothing ran under the emulator:\n%s", out.String())
	}
	return nil
}

// newNode writes the tree of a node: <dir>/host.
func newNode(t testing.TB, cards ...string) string {
	t.Helper()
	dir := t.TempDir()
	var list []emulator.Card
	for _, text := range cards {
		c, err := emulator.ParseCard(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	if err := emulator.WriteTree(filepath.Join(dir, "host"), list); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runEmulated runs this test binary under the emulator, and fails the test if it fails.
func runEmulated(t testing.TB, dir string, out *bytes.Buffer, env []string, args ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	code, err := emulator.Run(ctx, emulator.Config{
		HostRoot: filepath.Join(dir, "host"), RecordFile: filepath.Join(dir, "record"), FaultsFile: filepath.Join(dir, "faults"),
		Command: append([]string{self}, args...), Env: append(os.Environ(), env...), Stdout: out, Stderr: out,
		Log: func(format string, a ...any) { t.Logf("emulator: "+format, a...) },
	})
	if err != nil && strings.Contains(err.Error(), "seccomp user notification") {
		t.Skipf("SKIPPED: the emulator cannot run here: %v", err)
	}
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
}

func openNode(t testing.TB, dir string) *node {
	t.Helper()
	root, err := hostfs.New(filepath.Join(dir, "host"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return &node{TB: t, dir: dir, Programmer: &region.Programmer{
		Root: root, RunDir: root.Join("/run/inlay"), Store: "/srv/intel.com/fpga",
	}}
}

// store puts a GBS file into the store and gives its path.
func (n *node) store(iface, afu string, size int) string {
	n.Helper()
	b, err := emulator.GBS(iface, afu, size)
	if err != nil {
		n.Fatal(err)
	}
	return n.write("/srv/intel.com/fpga/"+iface+"/"+afu+".gbs", b)
}

func (n *node) write(hostPath string, content []byte) string {
	n.Helper()
	file := n.Root.Join(hostPath)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		n.Fatal(err)
	}
	tmp := file + ".new"
	if err := os.WriteFile(tmp, content, 0o644); err != nil {
		n.Fatal(err)
	}
	if err := os.Rename(tmp, file); err != nil {
		n.Fatal(err)
	}
	return file
}

func (n *node) faults(f emulator.Faults) {
	n.Helper()
	if err := emulator.WriteFaults(filepath.Join(n.dir, "faults"), f); err != nil {
		n.Fatal(err)
	}
}

// prs gives the programmings that the card has seen to their end.
func (n *node) prs() []emulator.Record {
	n.Helper()
	file := filepath.Join(n.dir, "record")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	all, err := emulator.ReadRecords(file)
	if err != nil {
		n.Fatal(err)
	}
	var prs []emulator.Record
	for _, r := range all {
		if r.BufferSize != nil {
			prs = append(prs, r)
		}
	}
	return prs
}

func (n *node) port(name string) (*fpga.FME, *fpga.Port) {
	n.Helper()
	fme, port, err := card.FindPort(n.Root, name)
	if err != nil {
		n.Fatal(err)
	}
	return fme, port
}

// resets counts the port resets that were asked for.
func (n *node) resets() int {
	n.Helper()
	all, err := emulator.ReadRecords(filepath.Join(n.dir, "record"))
	if err != nil {
		n.Fatal(err)
	}
	count := 0
	for _, r := range all {
		if r.Request == "0xb640" || r.Request == "0xb540" {
			count++
		}
	}
	return count
}

func contains(err error, texts ...string) bool {
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			return false
		}
	}
	return true
}

// afu gives what a port reads back as.
func (n *node) afu(name string) fpga.AFUID {
	n.Helper()
	_, port := n.port(name)
	return port.AFU
}

func (n *node) record(name string) *region.Record {
	n.Helper()
	fme, port := n.port(name)
	r, err := region.ReadRecord(n.RunDir, fme, port.ID)
	if err != nil {
		n.Fatal(err)
	}
	return r
}

// want is a request for a port and a function of the usual interface.
func want(port, function string) region.Request {
	return region.Request{Port: port, Interface: iface, Function: fpga.FunctionID(function)}
}

// must calls Ensure and checks whether it had to program.
func (n *node) must(req region.Request, programmed bool) region.Result {
	n.Helper()
	before := len(n.prs())
	res, err := n.Ensure(n.Context(), req)
	if err != nil {
		n.Fatal(err)
	}
	if res.Programmed != programmed {
		n.Fatalf("programmed: %v, want %v (%+v)", res.Programmed, programmed, res)
	}
	if got := len(n.prs()) - before; got > 0 != programmed {
		n.Fatalf("%d PR calls, programmed: %v", got, programmed)
	}
	n.consistent(req)
	return res
}

// consistent checks that port, registers and record agree on a function, and that nobody is left on the port.
func (n *node) consistent(req region.Request) {
	n.Helper()
	_, port := n.port(req.Port)
	if want, isAFU := req.Function.AFU(); isAFU && port.AFU != want {
		n.Errorf("port %s reads back as %q (%v), want %s", req.Port, port.AFU, port.AFUErr, want)
	}
	if r := n.record(req.Port); r != nil && (r.State != region.Loaded || r.Function != req.Function || r.AFU != port.AFU) {
		n.Errorf("record %+v, port %s", r, port.AFU)
	}
	n.free(req.Port)
}

// free checks that port and lock can be had, at once but for the moment for which a look at all open files of the machine
// (Holder's, a neighbour's) keeps a closed one.
func (n *node) free(port string) {
	n.Helper()
	fme, p := n.port(port)
	var f *os.File
	var err error
	for end := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
		if f, err = os.OpenFile(n.Root.Join(p.Node), os.O_RDWR|os.O_EXCL, 0); !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		n.Errorf("port %s is not free: %v", port, err)
	} else {
		f.Close()
	}
	out, err := exec.Command("flock", "-w", "1", filepath.Join(n.RunDir, "lock-"+fme.PCI.Address), "true").CombinedOutput()
	if _, missing := exec.LookPath("flock"); missing == nil && err != nil {
		n.Errorf("the lock of %s is held: %v %s", fme.Name, err, out)
	}
}

// refused calls Ensure, which must fail for this reason, with these texts in one line, and after so many PR calls.
func (n *node) refused(ctx context.Context, req region.Request, prs int, reason string, texts ...string) {
	n.Helper()
	_ = n.refusal(ctx, req, prs, reason, texts...) // the texts say all that is expected of it
}

// refusal is refused, for those who look at the error further.
func (n *node) refusal(ctx context.Context, req region.Request, prs int, reason string, texts ...string) error {
	n.Helper()
	before := len(n.prs())
	_, err := n.Ensure(ctx, req)
	if err == nil {
		n.Fatal("Ensure succeeded")
	}
	for _, text := range append(texts, "port "+req.Port, "function "+string(req.Function)) {
		if !strings.Contains(err.Error(), text) {
			n.Errorf("error %q does not say %q", err, text)
		}
	}
	if got := region.Reason(err); got != reason {
		n.Errorf("the reason of %v is %q, want %q", err, got, reason)
	}
	if strings.Contains(err.Error(), "\n") {
		n.Errorf("not one line: %q", err)
	}
	if got := len(n.prs()) - before; got != prs {
		n.Errorf("%d PR calls, want %d", got, prs)
	}
	return err
}

// eventually waits for a condition that another process brings about.
func (n *node) eventually(what string, holds func() bool) {
	n.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			n.Fatalf("never: %s", what)
		}
	}
}
