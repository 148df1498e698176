package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/fpga/bitstream"
	bt "github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
	"github.com/inlay-project/inlay/fpga/region"
)

func TestWhichCallsReachTheKernel(t *testing.T) {
	for args, want := range map[string][]string{
		"list":                           nil,
		"-d dfl-fme.0 fmeinfo":           {"dfl-fme.0 version"},
		"-d dfl-port.0 portinfo":         {"dfl-port.0 version", "dfl-port.0 info"},
		"-d my-fpga portinfo":            {"dfl-port.0 version", "dfl-port.0 info"}, // a link
		"-d /dev/my-fpga portinfo":       {"dfl-port.0 version", "dfl-port.0 info"},
		"-q -d dfl-port.0 portinfo":      nil, // to open a free port is to reset it
		"-d dfl-fme.0 -p 1 release":      {"dfl-fme.0 version", "dfl-fme.0 release 1"},
		"-d dfl-fme.0 -p 1 assign":       {"dfl-fme.0 version", "dfl-fme.0 assign 1"},
		"-d dfl-fme.0 assign":            {"dfl-fme.0 version", "dfl-fme.0 assign 0"},
		"-dry-run -d dfl-fme.0 release":  nil,
		"-dry-run -b F -d dfl-port.0 pr": nil,
		"-b F -d dfl-port.10 pr":         {"dfl-fme.0 version"}, // the port is Ensure's
	} {
		b := newBench(t)
		b.ensure.load = b.programVF
		args := strings.ReplaceAll(args, "F ", b.file("nlb.gbs", string(bt.GBS{}.Bytes()))+" ")
		if code, _, stderr := b.run(strings.Fields(args)...); code != 0 {
			t.Errorf("%s: %s", args, stderr)
		}
		if diff := cmp.Diff(want, b.driver.calls); diff != "" {
			t.Errorf("%s: calls: -want +got\n%s", args, diff)
		}
	}
}

func TestPRAsksEnsureForTheFile(t *testing.T) {
	b := newBench(t)
	b.ensure.load = b.programVF
	file := b.file("cl.aocx", string(bt.AOCX{}.Bytes()))
	if code, _, stderr := b.run("-b", file, "-d", "dfl-port.10", "--max-bitstream", "1000000", "pr"); code != 0 {
		t.Fatal(stderr)
	}
	want := region.Request{
		Port: "dfl-port.10", FME: "0000:3b:00.0", Interface: bt.Interface, Function: bt.Hash, File: file, Force: true,
	}
	if diff := cmp.Diff(want, b.ensure.got); diff != "" {
		t.Errorf("request: -want +got\n%s", diff)
	}
	p := b.ensure.programmer
	if p.RunDir != b.root+"/run/inlay" || p.Store != "/srv/intel.com/fpga" || p.MaxBitstream != 1000000 {
		t.Errorf("run folder %s, store %s, limit %d", p.RunDir, p.Store, p.MaxBitstream)
	}
	if !b.ensure.waited {
		t.Error("the tool ended without waiting for the kernel")
	}
}

func TestFailedPRShowsWhatThePortHoldsNow(t *testing.T) {
	b := newBench(t)
	b.ensure.load = func() error { return errors.New("read back 0123, expected 4567") }
	file := b.file("nlb.gbs", string(bt.GBS{}.Bytes()))
	code, out, stderr := b.run("-b", file, "-d", "dfl-port.0", "pr")
	if code != 1 || !strings.Contains(out, "FAILED") || !strings.Contains(out, "After : ") || !strings.Contains(stderr, "read back") {
		t.Errorf("exit %d, stderr %q, stdout\n%s", code, stderr, out)
	}
	code, out, _ = b.run("-b", file, "-d", "dfl-port.0", "-o", "json", "pr")
	if code != 1 || !strings.Contains(out, `"error": "port dfl-port.0: function `+bt.AFU+`: read back`) {
		t.Errorf("exit %d, JSON\n%s", code, out)
	}
}

func TestPRThatIsRefusedBeforeTheKernelIsAskedSaysFAILEDToo(t *testing.T) {
	for _, more := range []string{"", "-dry-run "} {
		b := newBench(t)
		file := b.file("other.gbs", string(bt.GBS{Interface: bt.AFU}.Bytes()))
		code, out, stderr := b.run(strings.Fields(more + "-b " + file + " -d dfl-port.0 pr")...)
		now := "Interface ID: " + bt.Interface + " AFU ID: " + bt.AFU + "\n"
		want := "Before: " + now + "Programming ROOT/other.gbs to port dfl-port.0: FAILED\nAfter : " + now
		if code != 1 || out != want || !strings.Contains(stderr, "has interface "+bt.Interface) {
			t.Errorf("%q: exit %d, stderr %q, stdout\n%s", more, code, stderr, out)
		}
		if len(b.driver.calls) != 0 || b.ensure.programmer != nil {
			t.Errorf("%q: calls %v", more, b.driver.calls)
		}
		if _, out, _ = b.run(strings.Fields(more + "-b " + file + " -d dfl-port.0 -o json pr")...); !strings.Contains(out, `"error": "ROOT/other.gbs: dfl-fme.0 has interface`) {
			t.Errorf("%q: JSON\n%s", more, out)
		}
	}
}

func TestPortWithoutAFUIsShownWithTheReason(t *testing.T) {
	b := newBench(t)
	b.file(vfPort+"afu_id", "no id")
	code, out, stderr := b.run("-d", "dfl-port.10", "portinfo")
	if code != 0 || !strings.Contains(out, `: (AFU id "no id" is not 32 hex digits)`) {
		t.Errorf("exit %d, %s\n%s", code, stderr, out)
	}
}

func TestProgressIsALineASecond(t *testing.T) {
	for terminal, want := range map[bool]string{
		false: "dfl-port.0: waiting for the port, 1 s\ndfl-port.0: programming, 2 s\n",
		true: "\r\x1b[Kdfl-port.0: waiting for the port, 1 s" + "\r\x1b[Kdfl-port.0: programming, 2 s" +
			"\r\x1b[K",
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			p := (&tool{stderr: &out, terminal: terminal}).newProgress("dfl-port.0")
			p.phase(region.Request{}, region.WaitingForPort)
			time.Sleep(1500 * time.Millisecond)
			p.phase(region.Request{}, region.Reconfiguring)
			time.Sleep(time.Second)
			p.stop()
			if got := out.String(); got != want {
				t.Errorf("terminal %v: %q, want %q", terminal, got, want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := (&tool{stderr: &out, options: options{quiet: true}}).newProgress("dfl-port.0")
		time.Sleep(5 * time.Second)
		p.stop()
		if out.Len() != 0 {
			t.Errorf("quiet, but %q", out.String())
		}
	})
}

func TestInstalledFileIsFoundByTheStore(t *testing.T) {
	b := newBench(t)
	b.file("cl.aocx", string(bt.AOCX{}.Bytes()))
	if code, _, stderr := b.run("-b", "ROOT/cl.aocx", "install"); code != 0 {
		t.Fatal(stderr)
	}
	opts := options{hostRoot: b.root}
	root, err := opts.openRoot()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	found, err := bitstream.Open(root, "/srv/intel.com/fpga", bt.Interface, bt.Hash, bitstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	found.Close()
}
