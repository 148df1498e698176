package qat

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/deviceplugins/vfio"
)

// Drivers by which a VF goes to user space.
const (
	DriverVFIO = vfio.DriverPCI
	DriverUIO  = "igb_uio"
)

// Policy is which VFs go together when a container asks for several.
type Policy string

const (
	PolicyNone     Policy = "none"     // the first that are free
	PolicyBalanced Policy = "balanced" // the same function number on many cards
	PolicyPacked   Policy = "packed"   // one card after the other
)

// Options are what a user can set. The zero value is not valid, DefaultOptions is.
type Options struct {
	// DPDKDriver is the driver that VFs are given out with: DriverVFIO or DriverUIO.
	DPDKDriver string `json:"dpdkDriver"`
	// KernelVFDrivers are the kinds of VFs that are offered, by the name of their kernel driver: "4xxxvf".
	KernelVFDrivers []string `json:"kernelVfDrivers"`
	// MaxNumDevices is the most that this node offers.
	MaxNumDevices int `json:"maxNumDevices"`
	// AllocationPolicy says which VFs go together.
	AllocationPolicy Policy `json:"allocationPolicy"`
	// Bind says whether VFs that their kernel driver has, or none, are bound to DPDKDriver.
	Bind bool `json:"bind"`
}

// DefaultOptions are those of a node that sets nothing.
func DefaultOptions() Options {
	return Options{
		DPDKDriver: DriverVFIO, KernelVFDrivers: []string{"4xxxvf", "420xxvf"}, MaxNumDevices: 64,
		AllocationPolicy: PolicyNone, Bind: true,
	}
}

// AddFlags defines the family's flags. What o holds is their default, and what is parsed is written to o.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.DPDKDriver, "qat-dpdk-driver", o.DPDKDriver, "driver that QAT VFs are given out with: vfio-pci or igb_uio")
	f.StringSliceVar(&o.KernelVFDrivers, "qat-kernel-vf-drivers", o.KernelVFDrivers,
		"kinds of QAT VFs to offer, by their kernel driver, comma list of "+strings.Join(vfDrivers(), ", "))
	f.IntVar(&o.MaxNumDevices, "qat-max-num-devices", o.MaxNumDevices, "most QAT VFs that this node offers; more are logged and left out")
	f.StringVar((*string)(&o.AllocationPolicy), "qat-allocation-policy", string(o.AllocationPolicy),
		"which QAT VFs go together: none, balanced (over the cards) or packed (card by card)")
	f.BoolVar(&o.Bind, "qat-bind", o.Bind, "bind QAT VFs that their kernel driver has to the driver of --qat-dpdk-driver")
}

// Validate gives an error that names the flag and what is allowed.
func (o Options) Validate() error {
	if o.DPDKDriver != DriverVFIO && o.DPDKDriver != DriverUIO {
		return fmt.Errorf("qat-dpdk-driver: %.40q is neither %s nor %s", o.DPDKDriver, DriverVFIO, DriverUIO)
	}
	if len(o.KernelVFDrivers) == 0 {
		return fmt.Errorf("qat-kernel-vf-drivers: empty; name some of %s", strings.Join(vfDrivers(), ", "))
	}
	for _, name := range o.KernelVFDrivers {
		if !slices.Contains(vfDrivers(), strings.TrimSpace(name)) {
			return fmt.Errorf("qat-kernel-vf-drivers: %.40q is none of %s", name, strings.Join(vfDrivers(), ", "))
		}
	}
	if o.MaxNumDevices < 1 {
		return fmt.Errorf("qat-max-num-devices: %d is less than 1", o.MaxNumDevices)
	}
	if !slices.Contains([]Policy{PolicyNone, PolicyBalanced, PolicyPacked}, o.AllocationPolicy) {
		return fmt.Errorf("qat-allocation-policy: %.40q is none of none, balanced, packed", string(o.AllocationPolicy))
	}
	return nil
}

// equal reports whether two Options are the same.
func (o Options) equal(other Options) bool {
	return o.DPDKDriver == other.DPDKDriver && slices.Equal(o.KernelVFDrivers, other.KernelVFDrivers) &&
		o.MaxNumDevices == other.MaxNumDevices && o.AllocationPolicy == other.AllocationPolicy && o.Bind == other.Bind
}
