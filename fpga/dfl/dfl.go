// Package dfl is the kernel's own FPGA driver (Device Feature List, since Linux 4.19): its sysfs layout and its
// ioctls as linux/fpga-dfl.h defines them.
package dfl

import (
	"os"
	"runtime"
	"unsafe"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/ioctl"
)

// Request numbers: magic 0xB6, base 0x00 common, 0x40 port, 0x80 FME; most carry no size.
const (
	GetAPIVersion     = 0xb600
	PortReset         = 0xb640
	PortGetInfo       = 0xb641
	PortGetRegionInfo = 0xb642
	FMEPortPR         = 0xb680
	FMEPortRelease    = 0x4004b681
	FMEPortAssign     = 0x4004b682
)

type portInfo struct{ argsz, flags, regions, umsgs uint32 }

type regionInfo struct {
	argsz, flags, index, _ uint32
	size, offset           uint64
}

type portPR struct {
	argsz, flags, portID, bufferSize uint32
	bufferAddress                    uint64
}

// Driver implements fpga.Driver.
type Driver struct{}

// Layout gives the driver's place in sysfs. The FME makes one region a port, so that an FME with two ports has two
// equal compat_id files.
func (Driver) Layout() fpga.Layout {
	return fpga.Layout{
		Driver:     "dfl",
		Class:      "/sys/class/fpga_region",
		Device:     "region",
		FME:        "dfl-fme.",
		Port:       "dfl-port.",
		Interface:  "dfl-fme-region.*/fpga_region/region*/compat_id",
		Manager:    "dfl-fme-mgr.*/fpga_manager/fpga*/status",
		PCIRegions: "fpga_region",
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
		return &fpga.PRError{Err: err}
	}
	return nil
}

// Release implements fpga.Driver: the argument is a bare port number.
func (Driver) Release(fme *os.File, port uint32) error {
	_, err := ioctl.Call(fme, FMEPortRelease, &port)
	return err
}

// Assign implements fpga.Driver: the argument is a bare port number.
func (Driver) Assign(fme *os.File, port uint32) error {
	_, err := ioctl.Call(fme, FMEPortAssign, &port)
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
