package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga/emulator"
)

// asTool makes the test's own executable the tool: emulated cards are there for a process that the emulator started.
const asTool = "INLAY_TEST_AS_FPGA_TOOL"

func TestMain(m *testing.M) {
	emulator.Shim()
	if os.Getenv(asTool) != "" {
		main()
	}
	os.Exit(m.Run())
}

const (
	iface    = emulator.DefaultInterface
	otherAFU = "f7df405cbd7acf7222f144b0b93acd18"
)

// node is an emulated host: a DFL card with two ports and an OPAE card.
type node struct {
	t                 *testing.T
	root, record, gbs string
	config            emulator.Config
}

func newNode(t *testing.T) *node {
	n := &node{t: t, root: t.TempDir()}
	n.record, n.gbs = filepath.Join(n.root, "calls"), filepath.Join(n.root, "nlb3.gbs")
	cards := []emulator.Card{{Driver: emulator.DFL, Ports: 2}, {Driver: emulator.OPAE, Ports: 1}}
	if err := emulator.WriteTree(n.root, cards, emulator.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	gbs, err := emulator.GBS(iface, otherAFU, 8192)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.gbs, gbs, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := n.run("-b", n.gbs, "install"); code != 0 {
		if strings.Contains(stderr, "seccomp") {
			t.Skipf("no seccomp user notification here: %s", stderr)
		}
		t.Fatalf("install: %s%s", out, stderr)
	}
	n.config.RecordFile = n.record
	return n
}

func (n *node) run(args ...string) (int, string, string) {
	n.t.Helper()
	return n.start(append([]string{os.Args[0], "-host-root", n.root}, args...)...)
}

// start runs a command on the emulated cards. The emulator remembers a released port for as long.
func (n *node) start(command ...string) (int, string, string) {
	n.t.Helper()
	var stdout, stderr bytes.Buffer
	cfg := n.config
	cfg.HostRoot, cfg.Stdout, cfg.Stderr = n.root, &stdout, &stderr
	cfg.Command = command
	cfg.Env = append(os.Environ(), asTool+"=1")
	code, err := emulator.Run(n.t.Context(), cfg)
	if err != nil {
		stderr.WriteString(err.Error())
	}
	return code, stdout.String(), stderr.String()
}

// calls are the ioctl numbers that reached each node, in order.
func (n *node) calls() string {
	n.t.Helper()
	b, err := os.ReadFile(n.record)
	if err != nil {
		n.t.Fatal(err)
	}
	var calls []string
	for line := range strings.Lines(string(b)) {
		var call struct{ Node, Request string }
		if err := json.Unmarshal([]byte(line), &call); err != nil {
			n.t.Fatal(err)
		}
		calls = append(calls, filepath.Base(call.Node)+" "+call.Request)
	}
	os.Remove(n.record)
	return strings.Join(calls, ", ")
}

func TestPROnAnEmulatedCard(t *testing.T) {
	n := newNode(t)
	for port, want := range map[string]string{
		"dfl-port.1":        "dfl-fme.0 0xb600, dfl-fme.0 0xb680",
		"intel-fpga-port.0": "intel-fpga-fme.0 0xb500, intel-fpga-fme.0 0xb580",
	} {
		code, out, stderr := n.run("-b", n.gbs, "-d", port, "pr")
		if code != 0 || stderr != "" || !strings.Contains(out, ": OK\nAfter : Interface ID: "+iface+" AFU ID: "+otherAFU) {
			t.Errorf("%s: exit %d, stderr %q\n%s", port, code, stderr, out)
		}
		if got := n.calls(); got != want {
			t.Errorf("%s: calls %s; want %s", port, got, want)
		}
	}
}

func TestFailedPROnAnEmulatedCard(t *testing.T) {
	n := newNode(t)
	n.config.PRErrno = unix.EIO
	code, out, stderr := n.run("-b", n.gbs, "-d", "dfl-port.0", "pr")
	if code != 1 || !strings.Contains(out, ": FAILED") || !strings.Contains(stderr, "input/output error") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit %d, stderr %q\n%s", code, stderr, out)
	}
}

func TestTimeOutDoesNotEndAPRThatHasBegun(t *testing.T) {
	n := newNode(t)
	n.config.PRDelay = 3500 * time.Millisecond
	code, out, stderr := n.run("-timeout", "2s", "-b", n.gbs, "-d", "dfl-port.0", "pr")
	if code != 0 || !regexp.MustCompile(`^(dfl-port.0: programming, \d s\n)+$`).MatchString(stderr) {
		t.Errorf("exit %d, stderr %q\n%s", code, stderr, out)
	}
}

func TestPortInfoAndReleaseOnAnEmulatedCard(t *testing.T) {
	n := newNode(t)
	code, out, stderr := n.run("-d", "dfl-port.0", "portinfo")
	if code != 0 || !strings.Contains(out, "Kernel API Version               : 0") || !strings.Contains(out, "(Index/Size/Offset)") {
		t.Errorf("portinfo: exit %d, stderr %q\n%s", code, stderr, out)
	}
	script := `for c in release release assign; do
		"$0" -host-root "$1" -d dfl-fme.0 -p 1 -q $c 2>/dev/null; echo $c $? $("$0" -host-root "$1" -q list-port)
	done`
	_, out, stderr = n.start("sh", "-c", script, os.Args[0], n.root)
	want := `release 0 dfl-port.0 intel-fpga-port.0
release 1 dfl-port.0 intel-fpga-port.0
assign 0 dfl-port.0 dfl-port.1 intel-fpga-port.0
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("stderr %q, -want +got\n%s", stderr, diff)
	}
}
