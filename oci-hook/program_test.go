package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/oci-hook/bundle"
)

func pairArg(port, address, function string) string {
	return port + "@" + address + "=" + iface + "/" + function
}

func TestProgramRefusesArgumentsThatItDoesNotUnderstand(t *testing.T) {
	good := pairArg("dfl-port.0", card0, nlb0)
	for _, tt := range []struct {
		args    string
		wantErr string
	}{
		{"", "program: no --pair is given"},
		{"--pair " + good, ""},
		{"--mode region --pair " + good + " --for ns/pod/ctr --timeout 1s", ""},
		{"--mode af --pair " + good, ""},
		{"--mode af --pair " + pairArg("dfl-port.0", card0, nlb3), "port dfl-port.0: function " + nlb3 + ": it holds " + nlb0},
		{"--mode regiondevel --pair " + pairArg("dfl-port.0", card0, ""), ""},
		{"--mode regiondevel --pair " + good, "in mode regiondevel no function is chosen"},
		{"--pair " + pairArg("dfl-port.0", card0, ""), "mode region needs a function"},
		{"--mode af --pair " + pairArg("dfl-port.0", card0, ""), "mode af needs a function"},
		{"--mode any --pair " + good, `mode "any" is not af, region or regiondevel`},
		{"--pair " + good + " --pair " + pairArg("dfl-port.0", card0, nlb3), `port "dfl-port.0" is in two pairs`},
		{"--pair x", `invalid value "x" for flag -pair: it is not <port>@<PCI address>=<interface>/<function>`},
		{"--pair dfl-port.0=" + iface + "/" + nlb0, "it is not <port>@"},
		{"--pair dfl-port.0@=" + iface + "/" + nlb0, "it is not <port>@"},
		{"--pair @" + card0 + "=" + iface + "/" + nlb0, "it is not <port>@"},
		{"--pair dfl-port.0@" + card0 + "=" + iface, "it is not <port>@"},
		{"--pair dfl-port.0@" + card0 + "=69528db6/" + nlb0, "interface id \"69528db6\""},
		{"--pair dfl-port.0@" + card0 + "=" + iface + "/../" + nlb0, "function id"},
		{"--pair " + pairArg("../dfl-port.0", card0, nlb0), `port ../dfl-port.0: …is not the name of an FPGA device`},
		{"--pair " + pairArg("dfl-fme.0", card0, nlb0), "port dfl-fme.0: …no such FPGA device"},
		{"--pair " + pairArg("dfl-port.5", card0, nlb0), "port dfl-port.5: …no such FPGA device"},
		{"--pair " + pairArg("dfl-port.0", card1, nlb0), "port dfl-port.0: function " + nlb0 + ": dfl-fme.0 is at " + card0},
		{"--pair dfl-port.0@" + card0 + "=" + other + "/" + nlb0, "dfl-fme.0 has interface " + iface},
		{"--pair " + good + " --timeout 0s", "--timeout 0s is not positive"},
		{"--pair " + good + " --timeout soon", `invalid value "soon" for flag -timeout`},
		{"--pair " + good + " --max-bitstream -1", "--max-bitstream -1 is not positive"},
		{"--pair " + good + " --bitstreams /elsewhere", "--bitstreams: /elsewhere is outside the host root"},
		{"--pair " + good + " --frobnicate", "flag provided but not defined: -frobnicate"},
		{"--pair " + good + " more", `program: "more" is not expected`},
	} {
		t.Run(tt.args, func(t *testing.T) {
			n := newNode(t, "dfl", "dfl").put(nlb0)
			args := append([]string{"program", "--host-root", n.root}, strings.Fields(tt.args)...)
			want(t, call(t, "", args...), tt.wantErr)
		})
	}
}

func TestEveryPortThatFailsIsNamed(t *testing.T) {
	n := newNode(t, "dfl", "dfl")
	line := n.hook("", "program", "--mode", "af", "--pair", pairArg("dfl-port.0", card0, nlb3), "--pair", pairArg("dfl-port.1", card1, nlb3))
	// Both are looked at side by side; the second one may give up because of the first.
	if !strings.Contains(line, "it holds "+nlb0) {
		t.Error(line)
	}
	errs := []error{nil, errors.New("port a: x"), fmt.Errorf("port b: %w", errAnother), errors.New("port c: y")}
	if got := joined(errs).Error(); got != "port a: x; port c: y" {
		t.Error(got)
	}
	if err := joined([]error{nil, nil}); err != nil {
		t.Error(err)
	}
}

func TestAJournalLineTellsWhatCameOfEachPort(t *testing.T) {
	n := newNode(t, "dfl")
	want(t, n.hook("", "program", "--for", "ns/pod/ctr", "--pair", pairArg("dfl-port.0", card0, nlb0)), "")
	want(t, n.hook("", "program", "--for", "ns/pod/ctr\n", "--pair", pairArg("dfl-port.0", card0, nlb3)), "not found")
	got := n.journal()
	if len(got) != 2 {
		t.Fatalf("journal %+v", got)
	}
	if e := got[0]; e.Container != "ns/pod/ctr" || e.Device != "dfl-port.0" || e.Function != nlb0 || e.Programmed || e.Error != "" || e.Time.IsZero() {
		t.Errorf("%+v", e)
	}
	if e := got[1]; e.Function != nlb3 || !strings.Contains(e.Error, "not found") || e.Reason != "bitstream" {
		t.Errorf("%+v", e)
	}
}

func TestAJournalThatCannotBeWrittenStopsNobody(t *testing.T) {
	n := newNode(t, "dfl")
	if err := os.MkdirAll(n.path("run/inlay/programs.jsonl"), 0o755); err != nil {
		t.Fatal(err)
	}
	want(t, n.hook("", "program", "--pair", pairArg("dfl-port.0", card0, nlb0)), "")
}

func TestAFlagBeatsItsEnvironmentTwin(t *testing.T) {
	n := newNode(t, "dfl")
	t.Setenv("INLAY_HOST_ROOT", n.root)
	t.Setenv("INLAY_PAIR", pairArg("dfl-port.0", card0, nlb0))
	want(t, call(t, "", "program"), "")
	want(t, call(t, "", "program", "--pair", pairArg("dfl-port.7", card0, nlb0)), "dfl-port.7")
	t.Setenv("INLAY_TIMEOUT", "soon")
	want(t, call(t, "", "program"), `program: INLAY_TIMEOUT="soon"`)
	want(t, call(t, "", "program", "--timeout", "1s"), "")
	want(t, call(t, "", "program", "--timeout", "1s", "--host-root", ""), "--host-root is empty")
	want(t, call(t, "", "program", "--timeout", "1s", "--host-root", "/nonexistent/root"), "host root /nonexistent/root")
}

func TestAPanicIsALineAndNoTrace(t *testing.T) {
	n := newNode(t, "dfl", "dfl")
	w := worker{p: &region.Programmer{RunDir: n.runDir()}, mode: modeRegion} // without a root: a bug
	pairs := []pair{{port: "dfl-port.0", address: card0, iface: iface, function: nlb0}, {port: "dfl-port.1", address: card1, iface: iface, function: nlb0}}
	if err := w.all(context.Background(), pairs); err == nil || !strings.Contains(err.Error(), "internal error: runtime error") {
		t.Error(err)
	}
	err := func() (err error) {
		defer func() { err = caught(recover(), err) }()
		return w.all(context.Background(), pairs[:1])
	}()
	if err == nil || !strings.Contains(err.Error(), "internal error: runtime error") {
		t.Error(err)
	}
}

func TestWordsThatAreNoCommand(t *testing.T) {
	want(t, call(t, "", "frobnicate"), `"frobnicate" is not a command; see inlay-hook help`)
	for _, args := range []string{"help", "--help", "-h", "program --help", "version", "--version", "-version", "--host-root / --version", "program --version", "gate --version", "install --version"} {
		var out strings.Builder
		if err := run(t.Context(), strings.Fields(args), strings.NewReader(""), &out); err != nil || !strings.HasPrefix(out.String(), "inlay-hook ") {
			t.Errorf("%s: %q, %v", args, out.String(), err)
		}
	}
}

// FuzzState feeds the hook what a runtime would; whatever it is, the outcome is an error or none.
func FuzzState(f *testing.F) {
	f.Add(`{"ociVersion":"1.0.2","id":"c1","status":"creating","pid":42,"bundle":"/nonexistent"}`)
	f.Add(`{"bundle":7}`)
	f.Add(`{"bundle":"/proc/self","annotations":{"allocated.fpga.intel.com/region-x":"a@b"}}`)
	f.Add(`[`)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := bundle.ReadState(strings.NewReader(text))
		if err == nil && s.Bundle == "" {
			t.Error("a state without bundle passed")
		}
		if err != nil {
			oneLineOf(t, err)
		}
	})
}

// FuzzConfig runs the stand-alone hook and the gate on any config.json, on a node with two cards.
func FuzzConfig(f *testing.F) {
	f.Add(`{"process":{"env":["FPGA_REGION_1=` + iface + `","FPGA_AFU_1=` + nlb0 + `"]},"linux":{"devices":[{"path":"/dev/dfl-port.0","type":"c","major":243,"minor":0}]}}`)
	f.Add(`{"process":{"env":["FPGA_AFU"]},"linux":{"devices":[{"path":"/dev/dfl-fme.0","type":"c","major":242,"minor":0}]}}`)
	f.Add(`{"process":{"env":["A"]},"linux":{"devices":[{"path":"x"}]},"annotations":{"allocated.fpga.intel.com/region-` + iface + `":"dfl-fme.0@` + card0 + `"}}`)
	f.Add(`{"hooks":{"createRuntime":[{"path":"/x/inlay-hook","args":["inlay-hook","program"]}]}}`)
	root, bundle := newNode(f, "dfl:ports=2", "opae").root, f.TempDir()
	state := stateOf(f, bundle)
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		(&node{t: t, root: root}).hook(state, "--timeout", "1ms")
		call(t, state, "gate")
	})
}

// FuzzPair: what is understood is written back as it was meant.
func FuzzPair(f *testing.F) {
	f.Add(pairArg("dfl-port.0", card0, nlb0))
	f.Add("a@b=c/d")
	f.Add("@=/")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePair(s)
		if err != nil {
			oneLineOf(t, err)
			return
		}
		if p.port == "" || p.address == "" || len(p.iface) != 32 || strings.ContainsAny(string(p.function), "/.") {
			t.Errorf("%q is understood as %+v", s, p)
		}
		again, err := parsePair(p.port + "@" + p.address + "=" + string(p.iface) + "/" + string(p.function))
		if err != nil || again != p {
			t.Errorf("%q: %+v, then %+v, %v", s, p, again, err)
		}
	})
}

func oneLineOf(t *testing.T, err error) {
	t.Helper()
	if line := oneLine(err.Error()); strings.ContainsAny(line, "\n\r\x00") || len(line) > maxLine+8 {
		t.Errorf("%q", line)
	}
}
