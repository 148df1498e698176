package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/inlay-project/inlay/fpga/bitstream"
	"github.com/inlay-project/inlay/internal/buildinfo"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// options are the flags. Paths are paths as this process sees them.
type options struct {
	bitstream, device    string
	port                 uint
	dryRun, force, quiet bool
	output               string // "text" or "json"

	hostRoot, store, runDir string
	maxBitstream            int64
	timeout                 time.Duration
}

func (o options) json() bool { return o.output == "json" }

var (
	errHelp    = errors.New("help wanted")
	errVersion = errors.New("version wanted")
)

func flags(o *options, wantVersion *bool) *flag.FlagSet {
	fs := flag.NewFlagSet("fpga_tool", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are one line, made by the caller
	fs.StringVar(&o.bitstream, "b", "", "bitstream `FILE`, .gbs or .aocx")
	fs.StringVar(&o.device, "d", "", "`DEVICE`, an FME or a port, by name (dfl-port.0) or node (/dev/dfl-port.0)")
	fs.UintVar(&o.port, "p", 0, "port `NUMBER`, for release and assign")
	fs.BoolVar(&o.dryRun, "dry-run", false, "make every check and change nothing")
	fs.BoolVar(&o.force, "force", false, "install: replace a file that is there")
	fs.BoolVar(&o.quiet, "q", false, "quiet: only what was asked for")
	fs.StringVar(&o.output, "o", "text", "output `FORMAT`, text or json")
	fs.StringVar(&o.hostRoot, "host-root", "/", "folder `DIR` where the host's /sys, /dev, /srv and /run are")
	fs.StringVar(&o.store, "bitstreams", "", "folder `DIR` of the bitstream store (default <host-root>/srv/intel.com/fpga)")
	fs.StringVar(&o.runDir, "run-dir", "", "folder `DIR` of locks and load records (default <host-root>/run/inlay)")
	fs.Int64Var(&o.maxBitstream, "max-bitstream", bitstream.DefaultMaxBytes, "largest payload in `BYTES`")
	fs.DurationVar(&o.timeout, "timeout", time.Minute, "pr: give up waiting for the port after this `TIME`; 0 = never")
	fs.BoolVar(wantVersion, "version", false, "print the version")
	return fs
}

// parse takes flags before and behind the one command word. A flag with a long name has an environment twin; the flag
// wins.
func parse(args []string, env func(string) (string, bool)) (options, string, error) {
	var o options
	var wantVersion bool
	fs := flags(&o, &wantVersion)
	var words []string
	for rest := args; ; {
		if err := fs.Parse(rest); errors.Is(err, flag.ErrHelp) {
			return o, "", errHelp
		} else if err != nil {
			return o, "", err
		}
		if fs.NArg() == 0 {
			break
		}
		words, rest = append(words, fs.Arg(0)), fs.Args()[1:]
	}
	if wantVersion {
		return o, "", errVersion
	}
	if err := applyEnv(fs, env); err != nil {
		return o, "", err
	}
	switch {
	case len(words) == 0:
		return o, "", errors.New("no command; fpga_tool -h lists them")
	case len(words) > 1:
		return o, "", fmt.Errorf("one command at a time, not %.80q and %.80q", words[0], words[1])
	case o.output != "text" && o.output != "json":
		return o, "", fmt.Errorf("-o is text or json, not %.80q", o.output)
	case o.timeout < 0 || o.maxBitstream < 0:
		return o, "", errors.New("-timeout and -max-bitstream cannot be negative")
	}
	return o, words[0], nil
}

func applyEnv(fs *flag.FlagSet, env func(string) (string, bool)) error {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var first error
	fs.VisitAll(func(f *flag.Flag) {
		name := twin(f.Name)
		value, ok := env(name)
		if first != nil || name == "" || given[f.Name] || !ok || value == "" {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			first = fmt.Errorf("environment variable %s=%.80q: %w", name, value, err)
		}
	})
	return first
}

// twin names the variable of a flag; one-letter flags say what one call is to do and have none.
func twin(flag string) string {
	if len(flag) == 1 || flag == "version" {
		return ""
	}
	return "INLAY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// openRoot opens the host tree and fills in the paths that depend on it.
func (o *options) openRoot() (*hostfs.Root, error) {
	root, err := hostfs.New(o.hostRoot)
	if err != nil {
		return nil, err
	}
	if o.store == "" {
		o.store = root.Join("/srv/intel.com/fpga")
	}
	if o.runDir == "" {
		o.runDir = root.Join("/run/inlay")
	}
	if o.store, err = filepath.Abs(o.store); err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

func version() string { return buildinfo.Get().String() }

func usage() string {
	var b strings.Builder
	b.WriteString("fpga_tool shows FPGA cards and bitstreams, installs bitstreams and programs ports.\n\n" +
		"Usage: fpga_tool [flags] COMMAND\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-10s %s\n", c.name, c.help)
	}
	b.WriteString("\nFlags:\n")
	var o options
	var v bool
	fs := flags(&o, &v)
	fs.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" {
			text += " (default " + f.DefValue + ")"
		}
		if env := twin(f.Name); env != "" {
			text += " [" + env + "]"
		}
		fmt.Fprintf(&b, "  %-26s %s\n", strings.TrimSpace("-"+f.Name+" "+value), text)
	})
	b.WriteString("\nExamples:\n" +
		"  fpga_tool list\n" +
		"  fpga_tool -b nlb0.gbs info\n" +
		"  fpga_tool -b nlb0.gbs install\n" +
		"  fpga_tool -b nlb0.gbs -d dfl-port.0 pr\n" +
		"  fpga_tool -d dfl-port.0 -o json portinfo\n")
	return b.String()
}
