package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
)

// maxRegions is more regions than any port has; a driver that claims more is not followed.
const maxRegions = 64

// deviceColumn is the longest label of a device. The lines of every device look alike, whatever is left out.
const deviceColumn = len("SR-IOV maximum Virtual Functions")

// deviceReport is what is known of an FME or a port. What a quiet call does not show is not asked for either.
type deviceReport struct {
	Kind           string  `json:"kind"` // "fme" or "port"
	Driver         string  `json:"driver"`
	Name           string  `json:"name"`
	Node           string  `json:"node"`
	SysPath        string  `json:"sysPath"`
	PCI            pci     `json:"pci"`
	FME            string  `json:"fme,omitempty"` // of a port
	PortID         *uint32 `json:"portId,omitempty"`
	Interface      string  `json:"interface"`
	InterfaceError string  `json:"interfaceError,omitempty"`
	AFU            string  `json:"afu,omitempty"`
	AFUError       string  `json:"afuError,omitempty"`

	APIVersion        *int     `json:"apiVersion,omitempty"`
	PortsNum          string   `json:"portsNum,omitempty"`
	SocketID          string   `json:"socketId,omitempty"`
	BitstreamID       string   `json:"bitstreamId,omitempty"`
	BitstreamMetadata string   `json:"bitstreamMetadata,omitempty"`
	Regions           []window `json:"regions,omitempty"`
}

type pci struct {
	Address          string `json:"address"`
	PhysicalFunction string `json:"physicalFunction,omitempty"`
	Vendor           string `json:"vendor"`
	Device           string `json:"device"`
	Class            string `json:"class"`
	LocalCPUs        string `json:"localCpus"`
	NUMANode         string `json:"numaNode"`
	NumVFs           string `json:"sriovNumVfs,omitempty"`
	TotalVFs         string `json:"sriovTotalVfs,omitempty"`
}

// window is a part of a port that can be mapped, in bytes.
type window struct {
	Index  uint32 `json:"index"`
	Size   uint64 `json:"size"`
	Offset uint64 `json:"offset"`
}

// device is fpgainfo, fmeinfo and portinfo: what is known from sysfs is shown even where the node does not answer; the
// error comes after it.
func (t *tool) device(context.Context) error {
	name, err := t.deviceName()
	if err != nil {
		return err
	}
	var r deviceReport
	var asked error
	if card.IsPort(name) {
		fme, err := card.Describe(t.root, name)
		if err != nil {
			return err
		}
		port, ok := fme.Port(name)
		if !ok {
			return fmt.Errorf("%s: %w", name, fpga.ErrNoDevice)
		}
		r = reportPort(fme, port)
		asked = t.askNode(&r, port.Node, func() (*os.File, error) { return t.openNode(port.Node, port.Dev) })
	} else {
		fme, err := card.Describe(t.root, name)
		if err != nil {
			return err
		}
		r = reportFME(fme)
		asked = t.askNode(&r, fme.Node, func() (*os.File, error) { return t.openNode(fme.Node, fme.Dev) })
	}
	if t.options.json() {
		err = t.printJSON(r)
	} else {
		err = t.printDevice(r)
	}
	return errors.Join(err, asked)
}

// askNode adds what only the driver knows. Opening a port resets it when nobody else has it open, so a quiet call,
// which shows none of this, leaves it alone.
func (t *tool) askNode(r *deviceReport, node string, open func() (*os.File, error)) error {
	if t.options.quiet {
		return nil
	}
	f, err := open()
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s: somebody has it alone, what only the driver knows is left out: %w", node, err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	driver, _ := t.driverOf(r.Name)
	v, err := driver.APIVersion(f)
	if err != nil {
		return fmt.Errorf("API version: %w", err)
	}
	r.APIVersion = &v
	if r.Kind != "port" {
		return nil
	}
	info, err := driver.PortInfo(f)
	if err != nil {
		return fmt.Errorf("port info: %w", err)
	}
	for i := range min(info.Regions, maxRegions) {
		region, err := driver.RegionInfo(f, i)
		if err != nil {
			return fmt.Errorf("region %d: %w", i, err)
		}
		r.Regions = append(r.Regions, window{Index: region.Index, Size: region.Size, Offset: region.Offset})
	}
	return nil
}

func reportFME(fme *fpga.FME) deviceReport {
	return deviceReport{
		Kind: "fme", Driver: fme.Driver, Name: fme.Name, Node: fme.Node, SysPath: fme.SysPath, PCI: reportPCI(fme.PCI),
		Interface: string(fme.Interface), InterfaceError: text(fme.InterfaceErr),
		PortsNum: fme.PortsNum, SocketID: fme.SocketID,
		BitstreamID: fme.BitstreamID, BitstreamMetadata: fme.BitstreamMetadata,
	}
}

func reportPort(fme *fpga.FME, port *fpga.Port) deviceReport {
	return deviceReport{
		Kind: "port", Driver: port.Driver, Name: port.Name, Node: port.Node, SysPath: port.SysPath,
		PCI: reportPCI(port.PCI), FME: fme.Name, PortID: &port.ID,
		Interface: string(fme.Interface), InterfaceError: text(fme.InterfaceErr),
		AFU: string(port.AFU), AFUError: text(port.AFUErr),
	}
}

func reportPCI(p fpga.PCI) pci {
	return pci{
		Address: p.Address, PhysicalFunction: p.PhysFn, Vendor: p.Vendor, Device: p.Device, Class: p.Class,
		LocalCPUs: p.LocalCPUs, NUMANode: p.NUMANode, NumVFs: p.SRIOVNumVFs, TotalVFs: p.SRIOVTotalVFs,
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return oneLine(err.Error())
}

func (t *tool) printDevice(r deviceReport) error {
	quiet := t.options.quiet
	fields := []field{
		{"Name", r.Name}, {"Device Node", r.Node}, {"SysFS Path", r.SysPath}, {"PCIe s:b:d:f", r.PCI.Address},
	}
	if !quiet {
		fields = append(fields, ifAny("Physical Function PCIe s:b:d:f", r.PCI.PhysicalFunction)...)
	}
	fields = append(fields, field{"Device Id", r.PCI.Vendor + ":" + r.PCI.Device})
	if !quiet {
		fields = append(fields, field{"Device Class", r.PCI.Class}, field{"Local CPUs", r.PCI.LocalCPUs},
			field{"NUMA", r.PCI.NUMANode})
		fields = append(fields, ifAny("SR-IOV Virtual Functions", r.PCI.NumVFs)...)
		fields = append(fields, ifAny("SR-IOV maximum Virtual Functions", r.PCI.TotalVFs)...)
	}
	if r.Kind == "port" {
		fields = append(fields, field{"FME Name", r.FME}, field{"Port Id", fmt.Sprint(*r.PortID)})
	}
	fields = append(fields, field{"Interface UUID", either(r.Interface, r.InterfaceError)})
	if r.Kind == "port" {
		fields = append(fields, field{"Accelerator UUID", either(r.AFU, r.AFUError)})
	}
	if !quiet {
		fields = append(fields, driverFields(r)...)
	}
	header := "FPGA " + strings.ToUpper(r.Kind)
	if r.Kind == "port" {
		header = "FPGA Port"
	}
	if _, err := fmt.Fprintf(t.stdout, "%s\n", header); err != nil {
		return err
	}
	return table(t.stdout, "", deviceColumn, fields)
}

// driverFields are what a quiet call leaves out: the answers of the driver and, of an FME, what is of no use to most.
func driverFields(r deviceReport) []field {
	var fields []field
	if r.APIVersion != nil {
		fields = append(fields, field{"Kernel API Version", strconv.Itoa(*r.APIVersion)})
	}
	if r.Kind == "fme" {
		fields = append(append(fields, field{"Ports Num", r.PortsNum}), ifAny("Socket Id", r.SocketID)...)
		return append(fields, field{"Bitstream Id", r.BitstreamID}, field{"Bitstream Metadata", r.BitstreamMetadata})
	}
	if r.APIVersion != nil {
		fields = append(fields, field{"Port Regions", strconv.Itoa(len(r.Regions))})
	}
	for _, w := range r.Regions {
		fields = append(fields, field{"Port Region (Index/Size/Offset)", fmt.Sprintf("%d / %d / %d", w.Index, w.Size, w.Offset)})
	}
	return fields
}

// ifAny is a line that only some devices have: of a virtual function, of a physical one.
func ifAny(label, value string) []field {
	if value == "" {
		return nil
	}
	return []field{{label, value}}
}

// either shows an id, or in brackets why there is none.
func either(id, why string) string {
	if id == "" && why != "" {
		return "(" + why + ")"
	}
	return id
}
