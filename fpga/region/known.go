package region

import (
	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Known reads what the ports of FMEs are known to hold, for Pair. It takes no lock and opens no device: what it says
// may be old by the time of Ensure, which then programs.
type Known struct {
	Root   *hostfs.Root
	RunDir string
	Store  string // host path
}

// Candidates gives the ports of an FME for the functions that are asked for.
func (k Known) Candidates(fme *fpga.FME, ports []fpga.Port, wishes []Wish) []Candidate {
	boot, bootErr := BootID(k.Root)
	list := make([]Candidate, 0, len(ports))
	for _, port := range ports {
		c := Candidate{Port: port.Name}
		record, err := ReadRecord(k.RunDir, fme, port.ID)
		if err == nil && bootErr == nil {
			c.Loaded = k.loaded(port.AFU, record, boot, fme.Interface, wishes)
		}
		list = append(list, c)
	}
	return list
}

func (k Known) loaded(afu fpga.AFUID, record *Record, boot string, iface fpga.InterfaceID, wishes []Wish) fpga.FunctionID {
	for _, w := range wishes {
		if w.Interface != iface {
			continue
		}
		file, _, err := bitstream.Stat(k.Root, k.Store, iface, w.Function)
		if err != nil {
			file = bitstream.Identity{}
		}
		if Holds(afu, record, boot, w.Function, file) {
			return w.Function
		}
	}
	return ""
}
