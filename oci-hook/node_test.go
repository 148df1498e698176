package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/internal/journal"
	"github.com/inlay-project/inlay/internal/nodestate"
)

const (
	iface = bitstreamtest.Interface // of the emulated cards
	nlb0  = bitstreamtest.AFU       // what their ports hold at first
	nlb3  = bitstreamtest.OtherAFU
	other = "9926ab6d6c925a68aabca7d84c545738" // another interface

	card0, card1 = "0000:3b:00.0", "0000:82:00.0"
)

// node is a host tree with emulated cards.
type node struct {
	t    testing.TB
	root string
}

// newNode makes a tree whose device nodes are plain files: a hook can look at such ports and not program them.
func newNode(t testing.TB, cards ...string) *node { return makeNode(t, cards, emulator.PlainNodes()) }

func makeNode(t testing.TB, cards []string, opts ...emulator.TreeOption) *node {
	t.Helper()
	n := &node{t: t, root: t.TempDir()}
	parsed := make([]emulator.Card, len(cards))
	for i, text := range cards {
		var err error
		if parsed[i], err = emulator.ParseCard(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := emulator.WriteTree(n.root, parsed, opts...); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) path(hostPath string) string { return filepath.Join(n.root, hostPath) }
func (n *node) store() string               { return n.path("srv/intel.com/fpga") }
func (n *node) runDir() string              { return n.path("run/inlay") }

// put stores a bitstream that says of itself what its place says.
func (n *node) put(afus ...string) *node {
	n.t.Helper()
	for _, afu := range afus {
		data, err := emulator.GBS(iface, afu, 4096)
		if err != nil {
			n.t.Fatal(err)
		}
		n.write("srv/intel.com/fpga/"+iface+"/"+afu+".gbs", data)
	}
	return n
}

func (n *node) write(hostPath string, data []byte) {
	n.t.Helper()
	if err := os.MkdirAll(filepath.Dir(n.path(hostPath)), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(n.path(hostPath), data, 0o644); err != nil {
		n.t.Fatal(err)
	}
}

// sysfs gives the folder of a device.
func (n *node) sysfs(name string) string {
	n.t.Helper()
	dir, err := filepath.EvalSymlinks(n.path("sys/bus/platform/devices/" + name))
	if err != nil {
		n.t.Fatal(err)
	}
	return dir
}

func (n *node) afu(port string) string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.sysfs(port), "afu_id"))
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (n *node) set(port, attribute, value string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.sysfs(port), attribute), []byte(value+"\n"), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) mode(mode string) *node {
	n.t.Helper()
	if err := nodestate.Write(n.runDir(), nodestate.State{Mode: mode, Grant: "allocate"}); err != nil {
		n.t.Fatal(err)
	}
	return n
}

// container is the part of a bundle that differs from test to test.
type container struct {
	env         []string
	devices     []device
	annotations map[string]string
	raw         string // config.json in place of one made of the above
}

type device struct {
	Path  string `json:"path"`
	Type  string `json:"type"`
	Major int64  `json:"major"`
	Minor int64  `json:"minor"`
}

func port(k int64) device { return device{fmt.Sprintf("/dev/dfl-port.%d", k), "c", 243, k} }
func fme(k int64) device  { return device{fmt.Sprintf("/dev/dfl-fme.%d", k), "c", 242, k} }

// asks is an environment with these functions, in the order of their numbers.
func asks(functions ...string) []string {
	env := []string{"PATH=/bin"}
	for i, fn := range functions {
		env = append(env, fmt.Sprintf("FPGA_REGION_%d=%s", i+1, iface), fmt.Sprintf("FPGA_AFU_%d=%s", i+1, fn))
	}
	return env
}

// state writes the bundle and gives the OCI state that a runtime would hand to the hook.
func (c container) state(t *testing.T) string {
	t.Helper()
	bundle := t.TempDir()
	text := []byte(c.raw)
	if c.raw == "" {
		text = mustJSON(t, map[string]any{
			"ociVersion":  "1.0.2",
			"process":     map[string]any{"env": c.env, "args": []string{"sleep"}},
			"linux":       map[string]any{"devices": c.devices},
			"annotations": c.annotations,
		})
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return stateOf(t, bundle)
}

func stateOf(t testing.TB, bundle string) string {
	t.Helper()
	return string(mustJSON(t, map[string]any{
		"ociVersion": "1.0.2", "id": "c1", "status": "creating", "pid": 42, "bundle": bundle,
	}))
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hook runs the command in this process and gives its line on standard error, "" for exit code 0. Whatever the line
// is, it is one line.
func (n *node) hook(stdin string, args ...string) string {
	n.t.Helper()
	return call(n.t, stdin, append(args, "--host-root", n.root)...)
}

func call(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	var stdout bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(stdin), &stdout)
	if stdout.Len() > 0 {
		t.Errorf("%q writes %q to standard output", args, stdout.String())
	}
	if err == nil {
		return ""
	}
	line := oneLine(name + ": " + err.Error())
	if len(line) > maxLine+len(name) || strings.ContainsAny(line, "\n\r\x00\x1b\u2028") || !strings.HasPrefix(line, name+": ") {
		t.Errorf("%q is not one line of bounded length", line)
	}
	return line
}

// want checks an outcome: "" is exit code 0, anything else parts of the line, joined by "…" in their order.
func want(t *testing.T, got, wanted string) {
	t.Helper()
	if wanted == "" {
		if got != "" {
			t.Errorf("refused: %s", got)
		}
		return
	}
	if got == "" {
		t.Errorf("passed, want %q", wanted)
		return
	}
	rest := got
	for part := range strings.SplitSeq(wanted, "…") {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			t.Fatalf("line %q does not say %q", got, wanted)
		}
		rest = after
	}
}

// journal gives what hooks noted, in order.
func (n *node) journal() []journal.Entry {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.runDir(), journal.Name))
	if err != nil {
		return nil
	}
	var entries []journal.Entry
	for line := range strings.Lines(string(b)) {
		var e journal.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			n.t.Fatalf("journal line %q: %v", line, err)
		}
		entries = append(entries, e)
	}
	return entries
}
