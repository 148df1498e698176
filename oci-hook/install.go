package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/oci-hook/hooksd"
)

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
	root, err := hostfs.New(o.hostRoot)
	if err != nil {
		return err
	}
	in.HostPath = root.HostPath
	if command == "uninstall" {
		return in.Uninstall()
	}
	if in.Self, err = os.Executable(); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if o.store != "" {
		store, err := root.HostPath(o.store)
		if err != nil {
			return fmt.Errorf("--bitstreams: %w", err)
		}
		in.Args = append(in.Args, "--bitstreams", store)
	}
	return in.Install()
}

var errHelp = errors.New("help")
