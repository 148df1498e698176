package fpga

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"
	cdi "tags.cncf.io/container-device-interface/specs-go"

	"github.com/inlay-project/inlay/internal/atomicfile"
	"github.com/inlay-project/inlay/internal/hostfs"
)

const (
	cdiKind    = "intel.cdi.k8s.io/fpga"
	gateDevice = "gate"
	hookDevice = "hook"
	// cdiVersion is the lowest that knows all that we use, for runtimes with old libraries.
	cdiVersion = "0.5.0"
	// gateTimeout in seconds: the gate reads one file.
	gateTimeout = 10

	modeAnnotation = "com.intel.fpga.mode"
)

// Hook is inlay-hook as the host sees it. Options that have their default are empty.
type Hook struct {
	Root    *hostfs.Root // the tree in which Path is found
	Path    string
	Timeout time.Duration
	Args    []string
}

// check tells why a runtime could not run the hook.
func (h Hook) check() error {
	file, err := h.Root.Open(h.Path, unix.O_PATH)
	if err != nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err == nil && (!st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0) {
		err = fmt.Errorf("%s is no program", h.Path)
	}
	return err
}

// device is the CDI device that Allocate gives: the gate where inlay-nri does the work, else the hook that does it.
func (c Config) device() string {
	if c.Grant == GrantAllocate {
		return hookDevice
	}
	return gateDevice
}

func (c Config) cdiFile() string { return "intel.cdi.k8s.io-fpga-" + c.device() + ".yaml" }

func (c Config) spec() ([]byte, error) {
	hook := &cdi.Hook{HookName: "createRuntime", Path: c.Hook.Path, Args: []string{"inlay-hook", "gate"}}
	timeout := gateTimeout
	if c.Grant == GrantAllocate {
		own := max(c.Hook.Timeout-2*time.Second, c.Hook.Timeout/2)
		hook.Args = append([]string{"inlay-hook", "--timeout", own.String()}, c.Hook.Args...)
		timeout = int(max(c.Hook.Timeout/time.Second, 1))
	}
	hook.Timeout = &timeout
	return yaml.Marshal(cdi.Spec{
		Version: cdiVersion,
		Kind:    cdiKind,
		Devices: []cdi.Device{{
			Name:           c.device(),
			ContainerEdits: cdi.ContainerEdits{Hooks: []*cdi.Hook{hook}},
		}},
	})
}

// ensureCDI has the CDI file in place before a device is offered: the folder is empty after a reboot, and a container
// without the gate would be one without a guard. The file is written by rename, and only if it differs.
func (c Config) ensureCDI() error {
	want, err := c.spec()
	if err != nil {
		return fmt.Errorf("CDI file: %w", err)
	}
	file := filepath.Join(c.CDIDir, c.cdiFile())
	have, err := os.ReadFile(file)
	if err == nil && bytes.Equal(have, want) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("CDI file: %w", err)
	}
	if err := os.MkdirAll(c.CDIDir, 0o755); err != nil {
		return fmt.Errorf("CDI file: %w", err)
	}
	if err := atomicfile.Write(file, want, 0o644); err != nil {
		return fmt.Errorf("CDI file: %w", err)
	}
	return nil
}
