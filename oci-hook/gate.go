package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"github.com/inlay-project/inlay/internal/hookfile"
	"github.com/inlay-project/inlay/internal/record"
	"github.com/inlay-project/inlay/oci-hook/bundle"
)

// errNotSeen is what a pod shows whose container slipped past the NRI plugin.
var errNotSeen = errors.New("inlay-nri did not see this container: it was created while the plugin was stopped or not connected; it is created again once the plugin is back")

// gate lets a container start only if inlay-nri adjusted it: its hooks name the program hook, which no pod can write.
// With --earlier it is the CDI device of an earlier plugin's answer, which Inlay gives to nobody: whatever else the
// container has, it does not start.
func gate(stdin io.Reader, args []string) error {
	o := options{} // the flags of every command; the gate needs none of them
	flags := o.flags("gate")
	earlier := flags.String("earlier", "", "the device that an earlier plugin allocated")
	if err := o.parse(flags, args); err != nil {
		return err
	}
	if *earlier != "" {
		return fmt.Errorf("gate: device %.64s: %s", *earlier, record.Earlier)
	}
	state, err := bundle.ReadState(stdin)
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	config, err := state.Config()
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	return adjusted(config.Hooks.CreateRuntime)
}

// adjusted looks for the program hook, in the folder where the gate itself is: each version of the hook is a file of its
// own there, and nothing else in the container's hooks is worth believing.
func adjusted(hooks []bundle.Hook) error {
	var folders []string
	for _, h := range hooks {
		if called(h, "gate") {
			folders = append(folders, path.Dir(h.Path))
		}
	}
	elsewhere := ""
	for _, h := range hooks {
		switch file := path.Base(h.Path); {
		case !called(h, "program"), file != hookfile.Name && !hookfile.Versioned(file):
		case slices.ContainsFunc(folders, func(own string) bool { return sameFolder(own, path.Dir(h.Path)) }):
			return nil
		default:
			elsewhere = h.Path
		}
	}
	if elsewhere != "" {
		return fmt.Errorf("gate: the program hook %.200s is not in the gate's own folder: inlay-nri and inlay-deviceplugin have different --hook-path", elsewhere)
	}
	return errNotSeen
}

// sameFolder knows a folder by its name or, where it has two, by what it is: a test's host tree, a link on the way.
func sameFolder(a, b string) bool {
	if a == b {
		return true
	}
	st, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(st, other)
}

// called tells whether a hook is inlay-hook with this command, as our daemons write it.
func called(h bundle.Hook, command string) bool {
	return path.IsAbs(h.Path) && path.Clean(h.Path) == h.Path && len(h.Args) >= 2 && h.Args[0] == name && h.Args[1] == command
}
