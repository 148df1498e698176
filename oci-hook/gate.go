package main

import (
	"errors"
	"io"
	"path/filepath"
	"strings"

	"github.com/inlay-project/inlay/oci-hook/bundle"
)

// errNotSeen is what a pod shows whose container slipped past the NRI plugin.
var errNotSeen = errors.New("inlay-nri did not see this container: it was created while the plugin was stopped or not connected; it is created again once the plugin is back")

// gate lets a container start only if inlay-nri adjusted it: its hooks name the program hook, which no pod can write.
func gate(stdin io.Reader) error {
	state, err := bundle.ReadState(stdin)
	if err != nil {
		return err
	}
	config, err := state.Config()
	if err != nil {
		return err
	}
	for _, h := range config.Hooks.CreateRuntime {
		if isProgramHook(h) {
			return nil
		}
	}
	return errNotSeen
}

// isProgramHook knows the hook by its file name, which may carry a version, and its command.
func isProgramHook(h bundle.Hook) bool {
	return strings.HasPrefix(filepath.Base(h.Path), name) && len(h.Args) >= 2 && h.Args[1] == "program"
}
