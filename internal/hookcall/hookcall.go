// Package hookcall tells how a container runtime calls inlay-hook: where the program is on the host, and the arguments by
// which it finds there what a daemon's own flags say. Both daemons write such calls: inlay-deviceplugin into a CDI file,
// inlay-nri into a container's hooks.
package hookcall

import (
	"os"
	"path"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// What inlay-hook takes where no argument says otherwise; such arguments are left out.
const (
	standardStore  = "/srv/intel.com/fpga"
	standardRunDir = "/run/inlay"
	// StandardMaxBitstream is in bytes.
	StandardMaxBitstream = 512 << 20
)

const (
	// minTimeout leaves the hook time to say what it waited for.
	minTimeout = 2 * time.Second
	// endTimeout is when the kubelet gives up (its runtimeRequestTimeout, unless set): the hook's own words would be lost.
	endTimeout = 2 * time.Minute
)

// Flags are a daemon's flags about the hook.
type Flags struct {
	Path     string // --hook-path
	HostRoot string // --hook-host-root
	Timeout  time.Duration
}

// Add defines them. timeout says what --hook-timeout is for.
func (f *Flags) Add(c *cli.Common, flags *pflag.FlagSet, timeout string) {
	c.Path(&f.Path, "hook-path", "/opt/inlay/bin/inlay-hook", "inlay-hook, which the runtime runs on the host")
	flags.StringVar(&f.HostRoot, "hook-host-root", "",
		"host root as the hook sees it, where that is not / (a host tree made for tests)")
	flags.DurationVar(&f.Timeout, "hook-timeout", time.Minute, timeout+"; at least 2 s, below the kubelet's 2 min")
}

// Check refuses what no host could make right.
func (f Flags) Check() error {
	switch {
	case f.Timeout < minTimeout:
		return cli.UsageError("--hook-timeout %s is shorter than 2 s", f.Timeout)
	case f.Timeout >= endTimeout:
		return cli.UsageError("--hook-timeout %s is not below 2 min, after which the kubelet gives up", f.Timeout)
	}
	return nil
}

// Call is how the runtime calls the hook.
type Call struct {
	Root *hostfs.Root // the tree in which Path is found
	Path string       // of the program, as the host has it
	Args []string     // where things are, behind the arguments that say what to do
}

// New makes a call of what the flags say. maxBitstream is in bytes; 0 is the hook's own.
func (f Flags) New(c *cli.Common, maxBitstream int64) (Call, error) {
	if err := f.Check(); err != nil {
		return Call{}, err
	}
	call, err := f.program(c)
	if err != nil {
		return call, err
	}
	if f.HostRoot != "" {
		call.Args = append(call.Args, "--host-root", f.HostRoot)
	}
	for _, p := range []struct{ flag, value, standard string }{
		{"bitstreams", c.Bitstreams, standardStore},
		{"run-dir", c.RunDir, standardRunDir},
	} {
		hostPath, err := c.HostPath(p.flag, p.value)
		if err != nil {
			return call, err
		}
		if hostPath != p.standard {
			call.Args = append(call.Args, "--"+p.flag, path.Join("/", f.HostRoot, hostPath))
		}
	}
	if maxBitstream != 0 && maxBitstream != StandardMaxBitstream {
		call.Args = append(call.Args, "--max-bitstream", strconv.FormatInt(maxBitstream, 10))
	}
	return call, nil
}

// program takes a path below the host root, as every path flag, or the host's own path of a hook that is there. Where
// the host tree stands apart from the host that the hook runs on, it is the latter's.
func (f Flags) program(c *cli.Common) (Call, error) {
	if !path.IsAbs(f.Path) {
		return Call{}, cli.UsageError("--hook-path %s is not absolute", f.Path)
	}
	if f.HostRoot != "" {
		if _, err := os.Stat(path.Dir(f.Path)); err == nil {
			machine, err := hostfs.New("/")
			return Call{Root: machine, Path: path.Clean(f.Path)}, err
		}
	}
	hostPath, err := c.HostPath("hook-path", f.Path)
	if err != nil && c.Root.Exists(f.Path) {
		hostPath, err = path.Clean(f.Path), nil
	}
	return Call{Root: c.Root, Path: hostPath}, err
}
