// Package card finds the FPGA cards of a host tree, whichever kernel driver shows them.
//
// Discovery is a pure function of the tree. It reads sysfs only and opens no device. What cannot be read is reported
// with its reason and skipped; it takes no other card down. It does not depend on links that udev makes, on the width
// of a PCI domain or on where below /sys/devices a card sits.
package card

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/dfl"
	"github.com/inlay-project/inlay/fpga/opae"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Drivers are the kernel drivers that Inlay knows. Both may be loaded at once.
func Drivers() []fpga.Driver { return []fpga.Driver{opae.Driver{}, dfl.Driver{}} }

// DriverOf gives the driver of a device by its name ("dfl-port.0").
func DriverOf(name string) (fpga.Driver, bool) {
	for _, d := range Drivers() {
		l := d.Layout()
		if numbered(name, l.FME) || numbered(name, l.Port) {
			return d, true
		}
	}
	return nil, false
}

// IsPort tells whether a device node's base name is that of a port.
func IsPort(name string) bool {
	d, ok := DriverOf(name)
	return ok && numbered(name, d.Layout().Port)
}

// Inventory is what a host tree holds.
type Inventory struct {
	FMEs    []fpga.FME // by PCI address
	Skipped []Skipped
}

// Skipped is a device that is there and cannot be used.
type Skipped struct{ Path, Reason string }

// Discover reads all cards of a tree, without what only describes them (see DescribeAll): it is called at every change of
// the tree. A tree without FPGA driver gives an empty inventory.
func Discover(root *hostfs.Root) Inventory { return discover(scan{root: root, brief: true}) }

// DescribeAll is Discover with everything that is known of the cards.
func DescribeAll(root *hostfs.Root) Inventory { return discover(scan{root: root}) }

func discover(s scan) Inventory {
	for _, d := range Drivers() {
		s.driver(d.Layout(), s.places(d.Layout()))
	}
	sort.SliceStable(s.inv.FMEs, func(i, j int) bool {
		return less(s.inv.FMEs[i].PCI.Address, s.inv.FMEs[j].PCI.Address)
	})
	return s.inv
}

// less orders PCI addresses, also those of domains with more than four digits.
func less(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// FindPort reads the one FME that a port belongs to, without what only describes it (see Describe): it is called at
// every start of a container. An error wraps fpga.ErrNoDevice if there is no such port.
func FindPort(root *hostfs.Root, name string) (*fpga.FME, *fpga.Port, error) {
	fme, err := find(&scan{root: root, brief: true}, name)
	if err != nil {
		return nil, nil, err
	}
	port, ok := fme.Port(name)
	if !ok {
		return nil, nil, fmt.Errorf("port %s: %w", name, fpga.ErrNoDevice)
	}
	return fme, port, nil
}

// FindFME reads one FME with its ports by the name of any of them, without what only describes it. An error wraps
// fpga.ErrNoDevice if there is none of that name.
func FindFME(root *hostfs.Root, name string) (*fpga.FME, error) {
	return find(&scan{root: root, brief: true}, name)
}

// Describe is FindFME with everything that is known of the card: PCI ids, CPUs, the static part's bitstream.
func Describe(root *hostfs.Root, name string) (*fpga.FME, error) {
	return find(&scan{root: root}, name)
}

func find(s *scan, name string) (*fpga.FME, error) {
	d, ok := DriverOf(name)
	if !ok {
		return nil, fmt.Errorf("%.80q is not the name of an FPGA device", name)
	}
	places := s.places(d.Layout())
	i := slices.IndexFunc(places, func(p place) bool { return p.name == name })
	if i >= 0 {
		card := places[i].card
		s.driver(d.Layout(), slices.DeleteFunc(places, func(p place) bool { return p.card != card }))
	}
	for i := range s.inv.FMEs {
		fme := &s.inv.FMEs[i]
		if _, isPort := fme.Port(name); isPort || fme.Name == name {
			return fme, nil
		}
	}
	for _, skipped := range s.inv.Skipped {
		if path.Base(skipped.Path) == name {
			return nil, fmt.Errorf("%s: %s: %w", name, skipped.Reason, fpga.ErrNoDevice)
		}
	}
	return nil, fmt.Errorf("%s: %w", name, fpga.ErrNoDevice)
}

// numbered tells whether name is prefix and a decimal number as the kernel writes it.
func numbered(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return false
	}
	n, err := strconv.ParseUint(rest, 10, 32)
	return err == nil && strconv.FormatUint(n, 10) == rest
}

// NoIDError says that what a port shows is no id: it holds nothing that has a name.
type NoIDError struct{ error }

func (e NoIDError) Unwrap() error { return e.error }

// ReadAFU reads the id of the function that a port holds; the error wraps EBUSY while the port is being programmed, and is
// a NoIDError if what can be read is none.
func ReadAFU(root *hostfs.Root, portDir string) (fpga.AFUID, error) {
	text, err := root.ReadAttr(path.Join(portDir, "afu_id"))
	if err != nil {
		return "", err
	}
	afu, err := fpga.ParseAFUID(text)
	if err != nil {
		return "", NoIDError{err}
	}
	return afu, nil
}

// ManagerStatus reads what the FPGA manager of an FME says of its last job; "" if it says nothing.
func ManagerStatus(root *hostfs.Root, fme *fpga.FME) string {
	d, ok := DriverOf(fme.Name)
	if !ok || d.Layout().Manager == "" {
		return ""
	}
	s := scan{root: root}
	for _, file := range s.glob(path.Join(fme.SysPath, d.Layout().Manager)) {
		if text, err := root.ReadAttr(file); err == nil && text != "" {
			return strings.Join(strings.Fields(text), " ")
		}
	}
	return ""
}
