package fpga

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"
)

// Layout is where a kernel driver shows its devices in sysfs. Names that end in a number are given without it.
type Layout struct {
	Driver     string // "dfl"
	Class      string // host path of the class folder, one link a card or virtual function
	Device     string // a card in the class folder: "region"
	FME        string // a management engine below the card: "dfl-fme."
	Port       string // a port below the card: "dfl-port."
	Interface  string // the interface id below the FME; one "*" a path element stands for any name
	Manager    string // the status of the FPGA manager below the FME, "" if the driver has none
	PCIRegions string // folder between the PCI function and the cards: "fpga_region"
}

// Driver is the kernel's side of a card: where it shows things and what its ioctls are.
type Driver interface {
	Layout() Layout
	// APIVersion asks a port or an FME for the version of the interface; 0 is the only one there is.
	APIVersion(node *os.File) (int, error)
	// Program writes a bitstream's payload into a port's region: the partial reconfiguration. The memory is read by
	// the kernel only and must stay mapped until the call returns, which it does in its own time: seconds, and up to
	// 32 s if the card hangs. Errors are *PRError.
	Program(fme *os.File, port uint32, payload unsafe.Pointer, size uint32) error
	// Release takes a port away from the physical function, Assign gives it back.
	Release(fme *os.File, port uint32) error
	Assign(fme *os.File, port uint32) error
	// Reset resets the AFU of a port.
	Reset(port *os.File) error
	PortInfo(port *os.File) (PortInfo, error)
	RegionInfo(port *os.File, index uint32) (RegionInfo, error)
}

// PortInfo is what a port says of itself.
type PortInfo struct{ Flags, Regions, UMsgs uint32 }

// RegionInfo is a part of a port that can be mapped: sizes and offsets in bytes.
type RegionInfo struct {
	Index, Flags uint32
	Size, Offset uint64
}

// PRError is a partial reconfiguration that the kernel or the card refused.
type PRError struct {
	Err     error    // the errno
	Status  []string // OPAE: the status bits of the call
	Manager string   // DFL: the FPGA manager's status
}

func (e *PRError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "partial reconfiguration: %v", e.Err)
	if len(e.Status) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(e.Status, ", "))
	}
	if e.Manager != "" {
		fmt.Fprintf(&b, " (FPGA manager: %s)", e.Manager)
	}
	return b.String()
}

func (e *PRError) Unwrap() error { return e.Err }

// ErrNoDevice says that a named port or FME is not in the host tree.
var ErrNoDevice = errors.New("no such FPGA device")
