package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"golang.org/x/tools/txtar"

	"github.com/inlay-project/inlay/fpga"
	bt "github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/region"
)

var update = flag.Bool("update", false, "write the golden files anew")

// bench is a host tree and what the tool did on it.
type bench struct {
	t      *testing.T
	root   string
	env    map[string]string
	driver *fakeDriver
	ensure *fakeEnsurer
	stdout io.Writer // in place of a buffer
	ended  error     // a signal that came at once
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, root: t.TempDir(), env: map[string]string{}, driver: &fakeDriver{}, ensure: &fakeEnsurer{}}
	archive, err := txtar.ParseFile("testdata/host.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		b.file(f.Name, strings.TrimSuffix(string(f.Data), "\n"))
	}
	return b
}

// file makes a file of the host tree: "-> target" a link, "c 1:2" a node, for which a plain file stands.
func (b *bench) file(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.root, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		if target, isLink := strings.CutPrefix(text, "-> "); isLink {
			err = os.Symlink(target, path)
		} else if strings.HasPrefix(text, "c ") {
			err = os.WriteFile(path, nil, 0o600)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return path
}

// run calls the tool on the tree. "ROOT" stands for the tree's folder, in the arguments and in what comes out.
func (b *bench) run(args ...string) (code int, stdout, stderr string) {
	b.t.Helper()
	var out, errs bytes.Buffer
	t := tool{
		stdout: &out, stderr: &errs,
		env:      func(name string) (string, bool) { v, ok := b.env[name]; return v, ok },
		driverOf: b.driverOf,
		ensurer:  func(p *region.Programmer) ensurer { b.ensure.programmer = p; return b.ensure },
	}
	if b.stdout != nil {
		t.stdout = b.stdout
	}
	if b.ended != nil {
		t.signals = func(ctx context.Context) (context.Context, func()) {
			ctx, end := context.WithCancelCause(ctx)
			end(b.ended)
			return ctx, func() {}
		}
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "ROOT", b.root)
	}
	code = t.main(context.Background(), append([]string{"--host-root", b.root}, args...))
	clean := func(s string) string { return strings.ReplaceAll(s, b.root, "ROOT") }
	return code, clean(out.String()), clean(errs.String())
}

func (b *bench) driverOf(name string) (fpga.Driver, bool) {
	if _, ok := card.DriverOf(name); !ok {
		return nil, false
	}
	return b.driver, true
}

// fakeDriver answers what the kernel would.
type fakeDriver struct {
	fpga.Driver // what the tool must not call
	version     int
	err         error
	calls       []string
}

func (d *fakeDriver) log(f *os.File, format string, args ...any) {
	d.calls = append(d.calls, filepath.Base(f.Name())+" "+fmt.Sprintf(format, args...))
}

func (d *fakeDriver) APIVersion(f *os.File) (int, error) { d.log(f, "version"); return d.version, nil }

func (d *fakeDriver) Release(f *os.File, port uint32) error {
	d.log(f, "release %d", port)
	return d.err
}

func (d *fakeDriver) Assign(f *os.File, port uint32) error { d.log(f, "assign %d", port); return d.err }

func (d *fakeDriver) PortInfo(f *os.File) (fpga.PortInfo, error) {
	d.log(f, "info")
	return fpga.PortInfo{Regions: 2}, d.err
}

func (d *fakeDriver) RegionInfo(_ *os.File, index uint32) (fpga.RegionInfo, error) {
	return fpga.RegionInfo{Index: index, Size: 262144 >> index, Offset: uint64(index) << 18}, nil
}

// fakeEnsurer programs by writing the port's afu_id.
type fakeEnsurer struct {
	programmer *region.Programmer
	got        region.Request
	load       func() error
	waited     bool
}

func (e *fakeEnsurer) Ensure(_ context.Context, req region.Request) (region.Result, error) {
	e.got = req
	e.programmer.Progress(req, region.Reconfiguring)
	if err := e.load(); err != nil {
		return region.Result{}, fmt.Errorf("port %s: function %s: %w", req.Port, req.Function, err)
	}
	return region.Result{Programmed: true}, nil
}

func (e *fakeEnsurer) Wait() { e.waited = true }

func TestGoldenOutput(t *testing.T) {
	for name, args := range map[string]string{
		"info-gbs":         "-b ROOT/nlb.gbs info",
		"info-gbs-quiet":   "-q -b ROOT/nlb.gbs info",
		"info-gbs-json":    "-b ROOT/nlb.gbs -o json info",
		"info-aocx":        "-b ROOT/cl.aocx info",
		"info-aocx-json":   "-b ROOT/cl.aocx -o json info",
		"info-aocx-nobin":  "-b ROOT/nobin.aocx info", // regression, spec 8.42: a crash
		"info-aocx-nohash": "-b ROOT/nohash.aocx info",
		"list":             "list",
		"list-quiet":       "-q list",
		"list-json":        "-o json list",
		"list-fme":         "list-fme",
		"list-port":        "list-port",
		"list-port-json":   "list-port -o json",
		"fme":              "-d dfl-fme.0 fmeinfo",
		"fme-quiet":        "-q -d dfl-fme.0 fmeinfo",
		"fme-json":         "-d dfl-fme.0 -o json fmeinfo",
		"fme-opae":         "-d intel-fpga-fme.1 fpgainfo",
		"port":             "-d /dev/dfl-port.0 portinfo",
		"port-quiet":       "-d ROOT/dev/dfl-port.0 -q fpgainfo",
		"port-vf":          "-d dfl-port.10 portinfo",
		"port-vf-quiet":    "-q -d dfl-port.10 portinfo",
		"port-vf-json":     "-d dfl-port.10 -o json portinfo",
		"port-opae":        "-d intel-fpga-port.1 portinfo",
		"install-dry":      "-b ROOT/nlb.gbs -dry-run install",
		"install":          "-b ROOT/nlb.gbs install",
		"install-json":     "-b ROOT/cl.aocx -o json install",
		"pr-dry":           "-b ROOT/nlb.gbs -d dfl-port.10 -dry-run pr",
		"pr-dry-json":      "-b ROOT/nlb.gbs -d dfl-port.10 -dry-run -o json pr",
		"pr":               "-b ROOT/nlb.gbs -d dfl-port.10 pr",
		"pr-node":          "-b ROOT/nlb.gbs -d /dev/dfl-port.10 pr",
		"pr-json":          "-b ROOT/nlb.gbs -d dfl-port.10 -o json pr",
		"release":          "-d dfl-fme.0 -p 1 release",
		"release-json":     "-d dfl-fme.0 -p 1 -o json release",
		"assign":           "-d dfl-fme.0 -p 1 assign",
		"help":             "-h",
		"flags-afterwards": "info -q -b ROOT/nlb.gbs",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.file("nlb.gbs", string(bt.GBS{}.Bytes()))
			b.file("cl.aocx", string(bt.AOCX{Version: "17.1\x1b[2J\n.1"}.Bytes()))
			b.file("nobin.aocx", string(bt.AOCX{NoBin: true}.Bytes()))
			b.file("nohash.aocx", string(bt.AOCX{Hash: " "}.Bytes()))
			b.ensure.load = b.programVF
			code, stdout, stderr := b.run(strings.Fields(args)...)
			if code != 0 || stderr != "" {
				t.Errorf("exit %d, stderr %q", code, stderr)
			}
			golden := filepath.Join("testdata", "golden", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(stdout), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), stdout); diff != "" {
				t.Errorf("fpga_tool %s: -want +got\n%s", args, diff)
			}
		})
	}
}

const vfPort = "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1/fpga_region/region3/dfl-port.10/"

// programVF is what a PR of nlb.gbs does to the port on the virtual function.
func (b *bench) programVF() error { b.file(vfPort+"afu_id", bt.AFU); return nil }

func TestErrorsAreOneLineAndExitOne(t *testing.T) {
	for name, test := range map[string]struct {
		args, want string
		before     func(*bench)
	}{
		"no command":          {args: "-q", want: "fpga_tool: no command"},
		"unknown command":     {args: "reboot", want: `unknown command "reboot"`},
		"two commands":        {args: "list info", want: `not "list" and "info"`},
		"unknown flag":        {args: "-x list", want: "flag provided but not defined: -x"},
		"bad format":          {args: "-o xml list", want: "-o is text or json"},
		"bad environment":     {args: "list", want: `INLAY_MAX_BITSTREAM="lots"`, before: func(b *bench) { b.env["INLAY_MAX_BITSTREAM"] = "lots" }},
		"no host root":        {args: "-host-root ROOT/none list", want: "fpga_tool: list: host root"},
		"info without file":   {args: "info", want: "fpga_tool: info: which bitstream file?"},
		"file is not there":   {args: "-b ROOT/none.gbs info", want: "bitstream ROOT/none.gbs: not found"},
		"file of other kind":  {args: "-b ROOT/dev/dfl-fme.0 info", want: "neither in .gbs nor in .aocx"},
		"payload too large":   {args: "-b ROOT/nlb.gbs -max-bitstream 5 info", want: "the limit is 5"},
		"no device":           {args: "fpgainfo", want: "which device?"},
		"device unknown":      {args: "-d null-like fpgainfo", want: `"null-like" is neither`},
		"device not there":    {args: "-d dfl-port.7 portinfo", want: "dfl-port.7: no such FPGA device"},
		"device outside":      {args: "-d /etc/dfl-port.0 portinfo", want: "outside the host root"},
		"device with a slash": {args: "-d dfl-port.0/ portinfo", want: `"dfl-port.0/" is no device name`},
		"node with a slash":   {args: "-d ROOT/dev/dfl-port.0/ portinfo", want: "is no device name"},
		"driver refuses": {
			args: "-q=false -d dfl-port.0 portinfo", want: "port info: permission denied",
			before: func(b *bench) { b.driver.err = unix.EACCES },
		},
		"install of nothing":   {args: "-b ROOT/nobin.aocx install", want: "does not say where it belongs"},
		"store outside":        {args: "-b ROOT/nlb.gbs -bitstreams /elsewhere install", want: "outside the host root"},
		"pr of nothing":        {args: "-b ROOT/nobin.aocx -d dfl-port.0 pr", want: "nothing to program"},
		"pr of an FME":         {args: "-b ROOT/nlb.gbs -d dfl-fme.0 pr", want: "dfl-fme.0 is an FME"},
		"pr of another card":   {args: "-b ROOT/other.gbs -d dfl-port.0 pr", want: "has interface " + bt.Interface},
		"pr dry of another":    {args: "-dry-run -b ROOT/other.gbs -d dfl-port.0 pr", want: "has interface " + bt.Interface},
		"pr on another driver": {args: "-b ROOT/nlb.gbs -d dfl-port.0 pr", want: "API version 7", before: func(b *bench) { b.driver.version = 7 }},
		"pr refused": {
			args: "-b ROOT/nlb.gbs -d dfl-port.0 pr", want: "port dfl-port.0: function " + bt.AFU + ": input/output error",
			before: func(b *bench) { b.ensure.load = func() error { return unix.EIO } },
		},
		"release of a port":       {args: "-d dfl-port.0 release", want: "dfl-port.0 is a port"},
		"release of an open port": {args: "-d dfl-fme.0 release", want: "busy (already released, or still open)", before: func(b *bench) { b.driver.err = unix.EBUSY }},
		"assign of a wrong port":  {args: "-d dfl-fme.0 -p 9 assign", want: "dfl-fme.0: port 9: no such device (no such port)", before: func(b *bench) { b.driver.err = unix.ENODEV }},
		"port number too large":   {args: "-d dfl-fme.0 -p 4294967296 assign", want: "too large"},
		"port number negative":    {args: "-d dfl-fme.0 -p -1 assign", want: "invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.file("nlb.gbs", string(bt.GBS{}.Bytes()))
			b.file("other.gbs", string(bt.GBS{Interface: bt.AFU}.Bytes()))
			b.file("nobin.aocx", string(bt.AOCX{NoBin: true}.Bytes()))
			if test.before != nil {
				test.before(b)
			}
			code, _, stderr := b.run(strings.Fields(test.args)...)
			if code != 1 || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit %d, stderr %q; want 1 and one line with %q", code, stderr, test.want)
			}
		})
	}
}

// full is /dev/full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, unix.ENOSPC }

func TestWhatCannotBeWrittenIsAnError(t *testing.T) {
	for _, args := range []string{
		"-h", "-version", "list", "-q list", "-o json list", "list-fme", "list-port", "-b ROOT/nlb.gbs info", "-b ROOT/nlb.gbs -q info",
		"-d dfl-port.0 portinfo", "-d dfl-fme.0 fmeinfo", "-d dfl-fme.0 -p 1 release", "-d dfl-fme.0 -p 1 assign",
		"-b ROOT/nlb.gbs install", "-b ROOT/nlb.gbs -dry-run install", "-b ROOT/nlb.gbs -d dfl-port.10 pr",
		"-b ROOT/nlb.gbs -d dfl-port.10 -dry-run pr", "-b ROOT/nlb.gbs -d dfl-port.10 -o json pr",
	} {
		b := newBench(t)
		b.ensure.load = b.programVF
		b.file("nlb.gbs", string(bt.GBS{}.Bytes()))
		b.stdout = full{}
		code, _, stderr := b.run(strings.Fields(args)...)
		if code != 1 || !strings.Contains(stderr, "no space left on device") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("fpga_tool %s: exit %d, stderr %q", args, code, stderr)
		}
	}
}

func TestEnvironmentTwinsYieldToFlags(t *testing.T) {
	b := newBench(t)
	b.file("nlb.gbs", string(bt.GBS{}.Bytes()))
	b.env["INLAY_BITSTREAMS"] = b.root + "/from-env"
	b.env["INLAY_D"] = "nothing has this name"
	if _, out, _ := b.run("-b", "ROOT/nlb.gbs", "info"); !strings.Contains(out, `"ROOT/from-env/`+bt.Interface) {
		t.Errorf("variable not used:\n%s", out)
	}
	if _, out, _ := b.run("-b", "ROOT/nlb.gbs", "--bitstreams", "ROOT/from-flag", "info"); !strings.Contains(out, `"ROOT/from-flag/`) {
		t.Errorf("variable beats flag:\n%s", out)
	}
}
