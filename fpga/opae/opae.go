// Package opae is Intel's out-of-tree FPGA driver (intel-fpga-*): its sysfs layout and its ioctls as intel-fpga.h
// defines them. They are DFL's older brothers: other numbers, some structures larger.
package opae

import (
	"os"
	"runtime"
	"unsafe"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/ioctl"
)

// Request numbers: magic 0xB5, base 0x00 common, 0x40 port, 0x80 FME; none carries a size.
const (
	GetAPIVersion     = 0xb500
	PortReset         = 0xb540
	PortGetInfo       = 0xb541
	PortGetRegionInfo = 0xb542
	FMEPortPR         = 0xb580
	FMEPortRelease    = 0xb581
	FMEPortAssign     = 0xb582
)

type portInfo struct{ argsz, flags, capability, regions, umsgs, irqs uint32 }

type regionInfo struct {
	argsz, flags, index, _ uint32
	size, offset           uint64
}

type portPR struct {
	argsz, flags, portID, bufferSize uint32
	bufferAddress, status            uint64
}

type portChange struct{ argsz, flags, portID uint32 }

// statusBits names the bits 0 to 6 of the status that a failed PR leaves.
var statusBits = [...]string{
	"operation error", "CRC error", "incompatible bitstream", "IP protocol error", "FIFO overflow", "timeout",
	"secure load error",
}

// Driver implements fpga.Driver.
type Driver struct{}

// Layout gives the driver's place in sysfs.
func (Driver) Layout() fpga.Layout {
	return fpga.Layout{
		Driver:     "opae",
		Class:      "/sys/class/fpga",
		Device:     "intel-fpga-dev.",
		FME:        "intel-fpga-fme.",
		Port:       "intel-fpga-port.",
		Interface:  "pr/interface_id",
		PCIRegions: "fpga",
	}
}

// APIVersion implements fpga.Driver.
func (Driver) APIVersion(node *os.File) (int, error) { return ioctl.Plain(node, GetAPIVersion) }

// Program implements fpga.Driver.
func (Driver) Program(fme *os.File, port uint32, payload unsafe.Pointer, size uint32) error {
	arg := portPR{portID: port, bufferSize: size, bufferAddress: uint64(uintptr(payload))}
	arg.argsz = uint32(unsafe.Sizeof(arg))
	_, err := ioctl.Call(fme, FMEPortPR, &arg)
	runtime.KeepAlive(payload)
	if err != nil {
		return &fpga.PRError{Err: err, Status: statusText(arg.status)}
	}
	return nil
}

func statusText(status uint64) []string {
	var text []string
	for bit, name := range statusBits {
		if status&(1<<bit) != 0 {
			text = append(text, name)
		}
	}
	return text
}

// Release implements fpga.Driver.
func (Driver) Release(fme *os.File, port uint32) error { return change(fme, FMEPortRelease, port) }

// Assign implements fpga.Driver.
func (Driver) Assign(fme *os.File, port uint32) error { return change(fme, FMEPortAssign, port) }

func change(fme *os.File, request uintptr, port uint32) error {
	arg := portChange{portID: port}
	arg.argsz = uint32(unsafe.Sizeof(arg))
	_, err := ioctl.Call(fme, request, &arg)
	return err
}

// Reset implements fpga.Driver.
func (Driver) Reset(port *os.File) error {
	_, err := ioctl.Plain(port, PortReset)
	return err
}

// PortInfo implements fpga.Driver.
func (Driver) PortInfo(port *os.File) (fpga.PortInfo, error) {
	var arg portInfo
	arg.argsz = uint32(unsafe.Sizeof(arg))
	_, err := ioctl.Call(port, PortGetInfo, &arg)
	return fpga.PortInfo{Flags: arg.flags, Regions: arg.regions, UMsgs: arg.umsgs}, err
}

// RegionInfo implements fpga.Driver.
func (Driver) RegionInfo(port *os.File, index uint32) (fpga.RegionInfo, error) {
	arg := regionInfo{index: index}
	arg.argsz = uint32(unsafe.Sizeof(arg))
	_, err := ioctl.Call(port, PortGetRegionInfo, &arg)
	return fpga.RegionInfo{Index: arg.index, Flags: arg.flags, Size: arg.size, Offset: arg.offset}, err
}
