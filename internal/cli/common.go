package cli

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/internal/hostfs"
)

// Common holds what all daemons of a node are told in the same way: Service's flags, and where the host is found. The
// fields are final once the command's RunE is called.
type Common struct {
	Service
	HostRoot   string       // where the host's /sys, /dev, /srv, /run and /var are found
	RunDir     string       // state that ends with the boot
	StateDir   string       // state that survives a reboot
	Bitstreams string       // <bitstreams>/<interface id>/<function>.gbs
	Root       *hostfs.Root // the tree at HostRoot, open until Main returns

	derived []derivedPath
}

// derivedPath is a flag whose default lies below the value of another.
type derivedPath struct {
	name, base, below string
	value             *string
}

// Add gives cmd and its sub-commands the common flags and returns where their values will be. http is the default of
// --http. Call it once, on the root command, before adding the command's own path flags.
func Add(cmd *cobra.Command, http string) *Common {
	c := &Common{}
	c.addFlags(cmd, http)
	c.flags.StringVar(&c.HostRoot, "host-root", "/", "folder in which the host's /sys, /dev, /srv, /run and /var are found")
	c.Path(&c.RunDir, "run-dir", "/run/inlay", "folder of state that ends with the boot")
	c.Path(&c.StateDir, "state-dir", "/var/lib/inlay", "folder of state that survives a reboot")
	c.Path(&c.Bitstreams, "bitstreams", "/srv/intel.com/fpga", "bitstream store: <interface id>/<function>.gbs or .aocx")
	return c
}

// Path adds a flag for a path below the host root. Its default is the host root and hostPath.
func (c *Common) Path(value *string, name, hostPath, usage string) {
	c.PathBelow(value, name, "host-root", strings.TrimPrefix(hostPath, "/"), usage)
}

// PathBelow adds a flag for a path whose default lies below the value of another path flag.
func (c *Common) PathBelow(value *string, name, base, below, usage string) {
	c.flags.StringVar(value, name, "", usage)
	c.flags.Lookup(name).DefValue = "<" + base + ">/" + below // what --help shows
	c.derived = append(c.derived, derivedPath{name, base, below, value})
}

// HostPath turns the value of a path flag into the host's own path. A path outside the host root is an error that
// names the flag: it would mean nothing to the runtime or the kubelet.
func (c *Common) HostPath(flag, path string) (string, error) {
	hostPath, err := c.Root.HostPath(path)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	return hostPath, nil
}

// resolve fills the defaults that depend on other flags, sets up the log and opens the host root. fs are the flags of
// the command that runs, the root's among them.
func (c *Common) resolve(fs *pflag.FlagSet) error {
	c.flags = fs
	if err := c.Configured(); err != nil {
		return usageError{err}
	}
	root, err := hostfs.New(c.HostRoot)
	if err != nil {
		return fmt.Errorf("--host-root: %w", err)
	}
	c.Root = root
	return nil
}

// Configured derives again what depends on other flags: the paths that nobody gave, and the log. A command that reads
// a configuration file calls it after setting flags from it; --host-root cannot change any more by then.
func (c *Common) Configured() error {
	if c.HostRoot == "" {
		return errors.New("--host-root is empty")
	}
	root, err := filepath.Abs(c.HostRoot) // the paths below it are compared with others and handed to other processes
	if err != nil {
		return fmt.Errorf("--host-root: %w", err)
	}
	c.HostRoot = root
	for _, d := range c.derived { // a base comes before what lies below it
		if c.flags.Changed(d.name) {
			continue
		}
		if base := c.flags.Lookup(d.base).Value.String(); base == "" {
			*d.value = "" // what lies below a path that was turned off is off too
		} else {
			*d.value = path.Join(base, d.below)
		}
	}
	for _, required := range []struct{ name, value string }{
		{"run-dir", c.RunDir}, {"state-dir", c.StateDir}, {"bitstreams", c.Bitstreams},
	} {
		if required.value == "" {
			return fmt.Errorf("--%s is empty", required.name)
		}
	}
	return c.setUpLog()
}

// close gives back what resolve opened.
func (c *Common) close() {
	if c.Root != nil {
		_ = c.Root.Close() // a descriptor opened with O_PATH has nothing to lose
		c.Root = nil
	}
}
