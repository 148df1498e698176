// Command afu-read is a workload: it opens an FPGA port as any user program does and
// prints the id of the accelerator that answers there, 32 hex digits and a newline.
//
//	afu-read /dev/dfl-port.0
//
// It is the tests' independent witness of what a container got. Therefore it shares no
// code with Inlay and reads the device itself (the AFU's feature header in mapped
// region 0) rather than sysfs, which a driver could report wrongly.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: afu-read DEVICE")
		os.Exit(2)
	}
	id, err := readAFU(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "afu-read:", err)
		os.Exit(1)
	}
	fmt.Println(id)
}

// regionInfo is struct dfl_fpga_port_region_info of linux/fpga-dfl.h; the OPAE driver's
// structure has the same layout.
type regionInfo struct {
	argsz, flags, index, padding uint32
	size, offset                 uint64
}

const (
	dflGetRegionInfo  = 0xb642
	opaeGetRegionInfo = 0xb542

	regionAFU  = 0 // index of the AFU's register space
	regionMMap = 1 << 2

	// The device feature header is 8 bytes; the GUID follows, low half first.
	headerBytes = 8 + 16
)

func readAFU(dev string) (string, error) {
	request, err := requestFor(dev)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info := regionInfo{argsz: uint32(unsafe.Sizeof(regionInfo{})), index: regionAFU}
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&info)))
	runtime.KeepAlive(&info)
	switch {
	case errno != 0:
		return "", fmt.Errorf("%s: PORT_GET_REGION_INFO: %w", dev, errno)
	case info.flags&regionMMap == 0:
		return "", fmt.Errorf("%s: region 0 cannot be mapped (flags %#x)", dev, info.flags)
	case info.size < headerBytes:
		return "", fmt.Errorf("%s: region 0 has %d bytes", dev, info.size)
	}
	page := os.Getpagesize()
	mem, err := syscall.Mmap(int(f.Fd()), int64(info.offset), page, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return "", fmt.Errorf("%s: mmap region 0: %w", dev, err)
	}
	id := afuID(mem)
	return id, syscall.Munmap(mem)
}

// afuID formats the GUID as the kernel's afu_id attribute does.
func afuID(header []byte) string {
	low := binary.LittleEndian.Uint64(header[8:])
	high := binary.LittleEndian.Uint64(header[16:])
	return fmt.Sprintf("%016x%016x", high, low)
}

// requestFor picks the driver's ioctl number by the node's name, as OPAE does.
func requestFor(dev string) (uintptr, error) {
	switch name := filepath.Base(dev); {
	case strings.HasPrefix(name, "dfl-port."):
		return dflGetRegionInfo, nil
	case strings.HasPrefix(name, "intel-fpga-port."):
		return opaeGetRegionInfo, nil
	default:
		return 0, fmt.Errorf("%s: not the name of an FPGA port", dev)
	}
}
