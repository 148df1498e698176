package main

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/inlay-project/inlay/oci-hook/bundle"
)

// errNotSeen is what a pod shows whose container slipped past the NRI plugin.
var errNotSeen = errors.New("inlay-nri did not see this container: it was created while the plugin was stopped or not connected; it is created again once the plugin is back")

// gate lets a container start only if inlay-nri adjusted it: its hooks name the program hook, which no pod can write.
func gate(stdin io.Reader, args []string) error {
	o := options{} // the flags of every command; the gate needs none of them
	if err := o.parse(o.flags("gate"), args); err != nil {
		return err
	}
	state, err := bundle.ReadState(stdin)
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	config, err := state.Config()
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	for _, h := range config.Hooks.CreateRuntime {
		if isProgramHook(h) {
			return nil
		}
	}
	return errNotSeen
}

// isProgramHook knows the hook by its file name, which may carry a version ("inlay-hook-1.2.3"), and its command.
func isProgramHook(h bundle.Hook) bool {
	version, ours := strings.CutPrefix(path.Base(h.Path), name)
	return ours && (version == "" || strings.ContainsAny(version[:1], "-_.")) && len(h.Args) >= 2 && h.Args[1] == "program"
}
