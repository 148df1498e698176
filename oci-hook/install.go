package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/oci-hook/hooksd"
)

// grace is what the runtime gives the hook beyond its own timeout, to say what it waited for.
const grace = 2 * time.Second

// install puts the hook on the host for runtimes that read hooks.d; uninstall takes it away.
func install(command string, args []string) error {
	o := options{}
	flags := o.flags(command)
	var in hooksd.Installation
	flags.StringVar(&in.HooksDir, "hooks-dir", "", "folder of the runtime's hooks.d JSON")
	flags.StringVar(&in.BinDir, "bin-dir", "", "folder for the program")
	if err := o.parse(flags, args); err != nil {
		return err
	}
	if in.HooksDir == "" || in.BinDir == "" {
		return fmt.Errorf("%s: --hooks-dir and --bin-dir are needed", command)
	}
	if command == "uninstall" {
		return in.Uninstall()
	}
	root, err := hostfs.New(o.hostRoot)
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	in.HostPath = root.HostPath
	if in.Self, err = os.Executable(); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	in.Timeout = o.timeout + grace
	if in.Args, err = o.forHost(root); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	return in.Install()
}

// forHost gives the arguments by which a hook that runs on the host itself has these options. What is the default
// there is left out.
func (o *options) forHost(root *hostfs.Root) ([]string, error) {
	var args []string
	for _, p := range []struct{ flag, value, standard string }{
		{"--bitstreams", o.store, defaultStore},
		{"--run-dir", o.runDir, "/run/inlay"},
	} {
		if p.value == "" {
			continue
		}
		hostPath, err := root.HostPath(p.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.flag, err)
		}
		if hostPath != p.standard {
			args = append(args, p.flag, hostPath)
		}
	}
	if o.maxBitstream != defaultMaxBitstream {
		args = append(args, "--max-bitstream", strconv.FormatInt(o.maxBitstream, 10))
	}
	if o.timeout != defaultTimeout {
		args = append(args, "--timeout", o.timeout.String())
	}
	return args, nil
}
