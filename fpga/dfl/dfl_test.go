package dfl

import (
	"testing"
	"unsafe"

	"github.com/inlay-project/inlay/fpga"
)

var _ fpga.Driver = Driver{}

// Sizes and offsets of spec section 2.1: the kernel compares argsz with them.
func TestStructuresAreTheKernels(t *testing.T) {
	for name, c := range map[string][2]uintptr{
		"port_info":                  {unsafe.Sizeof(portInfo{}), 16},
		"port_info.num_regions":      {unsafe.Offsetof(portInfo{}.regions), 8},
		"port_region_info":           {unsafe.Sizeof(regionInfo{}), 32},
		"port_region_info.size":      {unsafe.Offsetof(regionInfo{}.size), 16},
		"port_region_info.offset":    {unsafe.Offsetof(regionInfo{}.offset), 24},
		"fme_port_pr":                {unsafe.Sizeof(portPR{}), 24},
		"fme_port_pr.port_id":        {unsafe.Offsetof(portPR{}.portID), 8},
		"fme_port_pr.buffer_size":    {unsafe.Offsetof(portPR{}.bufferSize), 12},
		"fme_port_pr.buffer_address": {unsafe.Offsetof(portPR{}.bufferAddress), 16},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %d, want %d", name, c[0], c[1])
		}
	}
}

func TestRequestNumbers(t *testing.T) {
	const write, magic = 1 << 30, 0xb6 << 8
	for name, c := range map[string][2]uint32{
		"GET_API_VERSION":      {GetAPIVersion, magic},
		"PORT_RESET":           {PortReset, magic | 0x40},
		"PORT_GET_INFO":        {PortGetInfo, magic | 0x41},
		"PORT_GET_REGION_INFO": {PortGetRegionInfo, magic | 0x42},
		"FME_PORT_PR":          {FMEPortPR, magic | 0x80},
		"FME_PORT_RELEASE":     {FMEPortRelease, write | 4<<16 | magic | 0x81},
		"FME_PORT_ASSIGN":      {FMEPortAssign, write | 4<<16 | magic | 0x82},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %#x, want %#x", name, c[0], c[1])
		}
	}
}
