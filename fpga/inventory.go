package fpga

import "github.com/inlay-project/inlay/internal/hostfs"

// PCI is a card's PCI function. Values are those of sysfs, white space taken off; a file that is not there is "".
type PCI struct {
	Address                          string // "0000:3b:00.0"; the domain may have more digits
	Vendor, Device                   string // "0x8086"
	SubsystemVendor, SubsystemDevice string
	Class                            string // "0x120000"
	NUMANode, LocalCPUs              string
	SRIOVNumVFs, SRIOVTotalVFs       string
	SysPath                          string // host path of its folder
	PhysFn                           string // address of the physical function, of a virtual one only
}

// FME is a card's management engine: the thing that programs the ports that belong to it.
type FME struct {
	Driver  string // "dfl" or "opae"
	Name    string // "dfl-fme.0"
	Node    string // host path of its device node
	Dev     hostfs.Dev
	SysPath string
	PCI     PCI // the physical function

	Interface      InterfaceID
	InterfaceErr   error    // why Interface is empty
	InterfaceFiles []string // where it was read: one file a region

	PortsNum, SocketID             string
	BitstreamID, BitstreamMetadata string
	Ports                          []Port // by ID
}

// Port is a slot that holds one AFU. It may live on a virtual function of its FME's card.
type Port struct {
	Driver  string
	Name    string // "dfl-port.0"
	Node    string
	Dev     hostfs.Dev
	SysPath string
	PCI     PCI    // where the port lives: the physical function or a virtual one
	ID      uint32 // its number on the FME, which the PR call takes
	AFU     AFUID
	AFUErr  error // why AFU is empty: EBUSY while it is being programmed
}

// Port finds a port by name.
func (f *FME) Port(name string) (*Port, bool) {
	for i := range f.Ports {
		if f.Ports[i].Name == name {
			return &f.Ports[i], true
		}
	}
	return nil, false
}
