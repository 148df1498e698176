package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/hostfs"
)

const (
	defaultStore        = "/srv/intel.com/fpga"
	defaultMaxBitstream = 512 << 20        // bytes
	defaultTimeout      = 58 * time.Second // within the 60 s that hooks.d and CDI give the hook
)

// options are the flags that every command has; each has an environment twin (INLAY_HOST_ROOT), which a flag beats.
type options struct {
	hostRoot, runDir, store string
	maxBitstream            int64
	timeout                 time.Duration
	version                 bool
}

func (o *options) flags(command string) *flag.FlagSet {
	f := flag.NewFlagSet(command, flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are one line, and main's
	f.StringVar(&o.hostRoot, "host-root", "/", "where the host's /sys, /dev, /srv and /run are")
	f.StringVar(&o.runDir, "run-dir", "", "locks and load records (default <host-root>/run/inlay)")
	f.StringVar(&o.store, "bitstreams", "", "bitstream store (default <host-root>/srv/intel.com/fpga)")
	f.Int64Var(&o.maxBitstream, "max-bitstream", defaultMaxBitstream, "bytes that a bitstream's payload may have")
	f.DurationVar(&o.timeout, "timeout", defaultTimeout, "how long to wait for a busy port and its programming")
	f.BoolVar(&o.version, "version", false, "print the version")
	return f
}

// parse reads the arguments and, for what they do not say, the environment.
func (o *options) parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return errHelp
		}
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if o.version {
		return errVersion
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%s: %.80q is not expected", f.Name(), f.Arg(0))
	}
	if err := fromEnvironment(f); err != nil {
		return err
	}
	switch {
	case o.timeout <= 0:
		return fmt.Errorf("%s: --timeout %s is not positive", f.Name(), o.timeout)
	case o.maxBitstream <= 0:
		return fmt.Errorf("%s: --max-bitstream %d is not positive", f.Name(), o.maxBitstream)
	case o.hostRoot == "":
		return fmt.Errorf("%s: --host-root is empty", f.Name())
	}
	if o.runDir == "" {
		o.runDir = filepath.Join(o.hostRoot, "run/inlay")
	}
	return nil
}

// fromEnvironment sets the flags that no argument has set.
func fromEnvironment(f *flag.FlagSet) error {
	given := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	var bad error
	f.VisitAll(func(fl *flag.Flag) {
		variable := "INLAY_" + strings.ToUpper(strings.ReplaceAll(fl.Name, "-", "_"))
		value := os.Getenv(variable)
		if value == "" || given[fl.Name] || fl.Name == "version" || bad != nil {
			return
		}
		if err := f.Set(fl.Name, value); err != nil {
			bad = fmt.Errorf("%s: %s=%.80q: %w", f.Name(), variable, value, err)
		}
	})
	return bad
}

// programmer opens the host tree. The bitstream store is a path of this process and has to lie in it.
func (o *options) programmer() (*region.Programmer, error) {
	root, err := hostfs.New(o.hostRoot)
	if err != nil {
		return nil, err
	}
	if _, err := root.HostPath(o.runDir); err != nil {
		return nil, fmt.Errorf("--run-dir: %w", err) // locks that others do not see would be none
	}
	store := defaultStore
	if o.store != "" {
		if store, err = root.HostPath(o.store); err != nil {
			return nil, fmt.Errorf("--bitstreams: %w", err)
		}
	}
	return &region.Programmer{Root: root, RunDir: o.runDir, Store: store, MaxBitstream: o.maxBitstream}, nil
}
