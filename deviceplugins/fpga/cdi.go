package fpga

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/fpga/earlier"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/internal/atomicfile"
	"github.com/inlay-project/inlay/internal/hookfile"
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

const (
	cdiPrefix = "intel.cdi.k8s.io-fpga-"
	cdiSuffix = ".yaml"
)

func cdiFile(device string) string { return cdiPrefix + device + cdiSuffix }

func (c Config) cdiFile() string { return cdiFile(c.device()) }

// isCDIFile tells whether a file is ours: that of the device which Allocate gives, or that of an FME. The latter have
// the names that the device plugin before Inlay gave its CDI devices, see earlierSpec.
func (c Config) isCDIFile(name string) bool {
	if name == c.cdiFile() {
		return true
	}
	_, ok := fmeOfCDIFile(name)
	return ok
}

// fmeOfCDIFile gives the FME by which an earlier plugin's CDI file is called.
func fmeOfCDIFile(name string) (fme string, ok bool) {
	fme, ok = strings.CutPrefix(name, cdiPrefix)
	if !ok {
		return "", false
	}
	if fme, ok = strings.CutSuffix(fme, cdiSuffix); !ok {
		return "", false
	}
	_, ok = card.DriverOf(fme)
	return fme, ok && !card.IsPort(fme)
}

func (c Config) spec() ([]byte, error) {
	if c.Grant != GrantAllocate {
		return c.gate(gateDevice)
	}
	own := max(c.Hook.Timeout-2*time.Second, c.Hook.Timeout/2)
	args := append([]string{"--timeout", own.String()}, c.Hook.Args...)
	return c.cdiSpec(hookDevice, int(max(c.Hook.Timeout/time.Second, 1)), args...)
}

// earlierSpec is what the CDI device of an FME is now. The kubelet repeats an earlier plugin's answer, with the device
// intel.cdi.k8s.io/fpga=<FME>, for as long as its pod lives. That device had a hook which programs by what the pod says,
// outside our locks and without a policy. Now it has the gate, which says what has to be done, and passes nobody.
func (c Config) earlierSpec(fme string) ([]byte, error) { return c.gate(fme, "--earlier", fme) }

func (c Config) gate(device string, args ...string) ([]byte, error) {
	return c.cdiSpec(device, gateTimeout, append([]string{"gate"}, args...)...)
}

// cdiSpec is a file with one device that has one hook; timeout is in seconds.
func (c Config) cdiSpec(device string, timeout int, args ...string) ([]byte, error) {
	hook := &specs.Hook{HookName: "createRuntime", Path: c.Hook.Path, Args: append([]string{hookfile.Name}, args...), Timeout: &timeout}
	return c.texts.Of(cdiFile(device), specs.Spec{
		Version: cdiVersion,
		Kind:    cdiKind,
		Devices: []specs.Device{{Name: device, ContainerEdits: specs.ContainerEdits{Hooks: []*specs.Hook{hook}}}},
	})
}

// ensureCDI has the CDI files in place before a device is offered: the folder is empty after a reboot, and a container
// without the gate would be one without a guard. It gives the files that had the earlier system's hook in them.
func (c Config) ensureCDI(cards card.Inventory) (replaced []string, err error) {
	want, err := c.spec()
	if err != nil {
		return nil, fmt.Errorf("CDI file: %w", err)
	}
	if _, err := c.ensureCDIFile(c.cdiFile(), want); err != nil {
		return nil, fmt.Errorf("CDI file: %w", err)
	}
	for _, fme := range c.earlierFMEs(cards) {
		name := cdiFile(fme)
		if want, err = c.earlierSpec(fme); err != nil {
			return replaced, fmt.Errorf("CDI file: %w", err)
		}
		had, err := c.ensureCDIFile(name, want)
		if err != nil {
			return replaced, fmt.Errorf("CDI file: %w", err)
		}
		if earlier.NamesHook(had) {
			replaced = append(replaced, name)
		}
	}
	return replaced, nil
}

// earlierFMEs are the FMEs that an earlier plugin may have named in an answer: those that there are, and those that have
// a file still, whatever their number is now. Of others there is no file, and a runtime refuses a CDI device without one.
func (c Config) earlierFMEs(cards card.Inventory) []string {
	var names []string
	for _, fme := range cards.FMEs {
		names = append(names, fme.Name)
	}
	files, _ := os.ReadDir(c.CDIDir) // it was there a moment ago; the next scan sees what this one missed
	for _, f := range files {
		if fme, ok := fmeOfCDIFile(f.Name()); ok {
			names = append(names, fme)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ensureCDIFile writes a file by rename, and only if it differs; had is what it replaced.
func (c Config) ensureCDIFile(name string, want []byte) (had []byte, err error) {
	file := filepath.Join(c.CDIDir, name)
	have, err := cdi.Read(file)
	if err == nil && bytes.Equal(have, want) {
		return nil, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(c.CDIDir, 0o755); err != nil {
		return nil, err
	}
	return have, atomicfile.Write(file, want, 0o644)
}
