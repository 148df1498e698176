// Package racktest makes a host tree with devices of every family but FPGA (whose cards the emulator makes), for tests and
// benchmarks of all families together.
package racktest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// Families are those that a rack can have devices of, with the resource that each device is offered as.
var Families = map[string]string{ //nolint:gochecknoglobals // a table that nobody changes
	"gpu": "gpu.intel.com/xe",
	"npu": "npu.intel.com/accel",
	"qat": "qat.intel.com/cy",
	"dsa": "dsa.intel.com/wq-user-dedicated",
	"iaa": "iaa.intel.com/wq-user-dedicated",
	"dlb": "dlb.intel.com/pf",
}

// Rack is a host tree.
type Rack struct {
	Dir string
	// PlainNodes makes nodes ordinary files, for a tree that no runtime gives to containers.
	PlainNodes bool
}

// Fill plugs in devices 0 to n-1 of every family, and SGX.
func (r Rack) Fill(n int) error {
	for _, family := range slices.Sorted(maps.Keys(Families)) {
		for i := range n {
			if err := r.Plug(family, i); err != nil {
				return err
			}
		}
	}
	return r.write(files{"dev/sgx_enclave": "c 10:125", "dev/sgx_provision": "c 10:126"})
}

// Plug adds the i-th device of a family: what sysfs says of it first, its nodes last, as a driver and udev do.
func (r Rack) Plug(family string, i int) error {
	all := device(family, i)
	if all == nil {
		return fmt.Errorf("no family %s", family)
	}
	sys, dev := files{}, files{}
	for name, text := range all {
		if strings.HasPrefix(name, "dev/") {
			dev[name] = text
		} else {
			sys[name] = text
		}
	}
	if err := r.write(sys); err != nil {
		return err
	}
	return r.write(dev)
}

// Unplug takes the i-th device of a family away again, its nodes first.
func (r Rack) Unplug(family string, i int) error {
	keep := others(family, i)
	for _, name := range slices.Sorted(maps.Keys(device(family, i))) { // dev/ sorts before sys/
		if keep[name] {
			continue
		}
		if err := os.Remove(filepath.Join(r.Dir, name)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// Break makes the i-th device of a family, or of a variant by VFIO, one that cannot be offered, in the way that each breaks.
func (r Rack) Break(family string, i int) error {
	victim := map[string]string{
		"gpu": fmt.Sprintf("sys/devices/pci0000:a0/%s/vendor", pci("a0", i)),
		"npu": fmt.Sprintf("dev/accel/accel%d", i),
		"qat": fmt.Sprintf("dev/vfio/%d", group(i)),
		"dsa": fmt.Sprintf("dev/dsa/wq%d.%d", i/8, i%8),
		"iaa": fmt.Sprintf("dev/iax/wq%d.%d", iaxNumber(i), i%8),
		"dlb": fmt.Sprintf("sys/class/dlb2/dlb%d/device/sriov_numvfs", i),

		"qat-dc":   fmt.Sprintf("dev/vfio/%d", dcGroups+i),
		"dsa-vfio": fmt.Sprintf("dev/vfio/%d", dsaGroups+i),
		"iaa-vfio": fmt.Sprintf("dev/vfio/%d", iaaGroups+i),
	}[family]
	if victim == "" {
		return fmt.Errorf("no family %s", family)
	}
	path := filepath.Join(r.Dir, victim)
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Mkdir(path, 0o755) // reads as an error, even for root
}

// files are host paths without the leading slash, with a golden tree's text.
type files map[string]string

func (r Rack) write(f files) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if _, err := os.Lstat(filepath.Join(r.Dir, name)); err == nil {
			continue // what several devices have together
		}
		fmt.Fprintf(&b, "-- %s --\n%s\n", name, f[name])
	}
	var opts []hostfstest.Option
	if r.PlainNodes {
		opts = append(opts, hostfstest.PlainNodes())
	}
	return hostfstest.Extract(r.Dir, []byte(b.String()), opts...)
}
