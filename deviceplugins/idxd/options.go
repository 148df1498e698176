package idxd

import (
	"fmt"

	"github.com/spf13/pflag"
)

// Driver is the kernel driver whose devices are offered.
type Driver string

const (
	DriverIDXD Driver = "idxd"     // work queues
	DriverVFIO Driver = "vfio-pci" // whole PCI functions, for drivers in user space
)

// maxShares keeps the list of a node with all of its queues shared below what the kubelet takes in one message.
const maxShares = 1000

// Options are what a user can set of one kind; the zero value is not valid, DefaultOptions is.
type Options struct {
	// SharedDevNum is how many containers may have one shared queue: 1 to 1000. It means nothing to vfio-pci.
	SharedDevNum int `json:"sharedDevNum"`
	// Driver is idxd or vfio-pci.
	Driver Driver `json:"driver"`
}

// DefaultOptions offers each work queue to one container.
func DefaultOptions() Options { return Options{SharedDevNum: 1, Driver: DriverIDXD} }

// AddFlags defines the flags of one kind, such as --dsa-driver. What o holds are the defaults, and what is parsed goes to o.
func (o *Options) AddFlags(f *pflag.FlagSet, kind Kind) {
	f.IntVar(&o.SharedDevNum, string(kind)+"-shared-dev-num", o.SharedDevNum,
		"how many containers may have the same shared work queue; not for vfio-pci")
	f.StringVar((*string)(&o.Driver), string(kind)+"-driver", string(o.Driver),
		"what is offered: idxd = work queues, vfio-pci = whole devices that are bound to vfio-pci")
}

// Validate tells by an error which flag of the kind holds what it must not.
func (o Options) Validate(kind Kind) error {
	switch {
	case o.SharedDevNum < 1 || o.SharedDevNum > maxShares:
		return fmt.Errorf("%s-shared-dev-num: %d is not 1 to %d", kind, o.SharedDevNum, maxShares)
	case o.Driver != DriverIDXD && o.Driver != DriverVFIO:
		return fmt.Errorf("%s-driver: %.40q is neither %s nor %s", kind, string(o.Driver), DriverIDXD, DriverVFIO)
	}
	return nil
}
