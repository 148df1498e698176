package racktest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// kernelVF is the kernel's own driver of QAT's virtual functions.
const kernelVF = "4xxxvf"

// QATAddress is the PCI address of the i-th virtual function of QAT.
func QATAddress(i int) string { return virtualAddress(qatBus(i), i%16) }

// QATStatus is the file in the host tree with the heartbeat of that function's card: "0" while it is well, "-1" when not.
func QATStatus(i int) string {
	return fmt.Sprintf("sys/kernel/debug/qat_4xxx_0000:%s:00.0/heartbeat/status", qatBus(i))
}

// GiveToKernel binds the i-th virtual function of QAT, which is there, to the kernel's own driver: its VFIO nodes go.
func (r Rack) GiveToKernel(i int) error {
	for _, name := range []string{fmt.Sprintf("dev/vfio/%d", group(i)), fmt.Sprintf("sys/class/vfio/%d/dev", group(i))} {
		if err := os.Remove(filepath.Join(r.Dir, name)); err != nil {
			return err
		}
	}
	if err := r.rebind(i, "vfio-pci", kernelVF); err != nil {
		return err
	}
	return r.write(files{
		"sys/devices/pci0000:" + qatBus(i) + "/" + QATAddress(i) + "/driver_override": "(null)",
		"sys/bus/pci/drivers/" + kernelVF + "/bind":                                   "", "sys/bus/pci/drivers/" + kernelVF + "/unbind": "",
	})
}

// ErrNotAsked is that nobody has asked for a function to be bound.
var ErrNotAsked = errors.New("nobody asked for it to be bound to vfio-pci")

// Bind does what the kernel does for who has written the three files by which the i-th virtual function of QAT comes from
// its own driver to vfio-pci: its VFIO nodes come. Without all of them it is ErrNotAsked.
func (r Rack) Bind(i int) error {
	for file, want := range map[string]string{
		"sys/devices/pci0000:" + qatBus(i) + "/" + QATAddress(i) + "/driver_override": "vfio-pci",
		"sys/bus/pci/drivers/" + kernelVF + "/unbind":                                 QATAddress(i),
		"sys/bus/pci/drivers/vfio-pci/bind":                                           QATAddress(i),
	} {
		text, err := os.ReadFile(filepath.Join(r.Dir, file))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(text)) != want {
			return fmt.Errorf("%s has %q: %w", file, text, ErrNotAsked)
		}
	}
	if err := r.rebind(i, kernelVF, "vfio-pci"); err != nil {
		return err
	}
	return r.Plug("qat", i)
}

// rebind changes the links that say which driver has the i-th virtual function of QAT.
func (r Rack) rebind(i int, from, to string) error {
	address := QATAddress(i)
	device := "devices/pci0000:" + qatBus(i) + "/" + address
	for _, name := range []string{"sys/" + device + "/driver", "sys/bus/pci/drivers/" + from + "/" + address} {
		if err := os.Remove(filepath.Join(r.Dir, name)); err != nil {
			return err
		}
	}
	return r.write(files{
		"sys/" + device + "/driver":                 "-> ../../../bus/pci/drivers/" + to,
		"sys/bus/pci/drivers/" + to + "/" + address: "-> ../../../../" + device,
	})
}
