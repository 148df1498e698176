package card

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/hostfs"
)

var errNoInterface = errors.New("no interface id")

// interfaceID reads every file that holds the id; they must agree.
func (s *scan) interfaceID(files []string) (fpga.InterfaceID, error) {
	var id fpga.InterfaceID
	err := errNoInterface
	for _, file := range files {
		text, readErr := s.root.ReadAttr(file)
		if readErr != nil {
			if id == "" && !hostfs.Absent(readErr) {
				err = readErr
			}
			continue
		}
		next, parseErr := fpga.ParseInterfaceID(text)
		if parseErr != nil {
			return "", fmt.Errorf("%s: %w", file, parseErr)
		}
		if id != "" && next != id {
			return "", fmt.Errorf("regions of one FME differ: %s and %s", id, next)
		}
		id, err = next, nil
	}
	return id, err
}

// glob expands the elements of a pattern that end in "*"; what is not there is left out.
func (s *scan) glob(pattern string) []string {
	paths := []string{"/"}
	for _, element := range strings.Split(strings.Trim(pattern, "/"), "/") {
		prefix, wild := strings.CutSuffix(element, "*")
		var next []string
		for _, p := range paths {
			if !wild {
				next = append(next, path.Join(p, element))
				continue
			}
			names, err := s.root.ReadDir(p)
			if err != nil {
				continue
			}
			for _, name := range names {
				if strings.HasPrefix(name, prefix) {
					next = append(next, path.Join(p, name))
				}
			}
		}
		paths = next
	}
	return paths
}

func (s *scan) attr(dir, name string) string {
	text, err := s.root.ReadAttr(path.Join(dir, name))
	if err != nil {
		return ""
	}
	return text
}

// detail is attr for what only describes a card.
func (s *scan) detail(dir, name string) string {
	if s.brief {
		return ""
	}
	return s.attr(dir, name)
}

func (s *scan) pci(dir string) fpga.PCI {
	if known, ok := s.functions[dir]; ok {
		return known
	}
	pci := fpga.PCI{
		Address:         path.Base(dir),
		SysPath:         dir,
		Vendor:          s.detail(dir, "vendor"),
		Device:          s.detail(dir, "device"),
		SubsystemVendor: s.detail(dir, "subsystem_vendor"),
		SubsystemDevice: s.detail(dir, "subsystem_device"),
		Class:           s.detail(dir, "class"),
		NUMANode:        s.detail(dir, "numa_node"),
		LocalCPUs:       s.detail(dir, "local_cpulist"),
		SRIOVNumVFs:     s.detail(dir, "sriov_numvfs"),
		SRIOVTotalVFs:   s.detail(dir, "sriov_totalvfs"),
	}
	pci.PhysFn = s.physFn(dir)
	if s.functions == nil {
		s.functions = map[string]fpga.PCI{}
	}
	s.functions[dir] = pci
	return pci
}

// physFn gives the physical function of a virtual one, "" of a physical one.
func (s *scan) physFn(dir string) string {
	address, known := s.physical[dir]
	if known {
		return address
	}
	if pf, err := s.root.Resolve(path.Join(dir, "physfn")); err == nil {
		address = path.Base(pf)
	}
	if s.physical == nil {
		s.physical = map[string]string{}
	}
	s.physical[dir] = address
	return address
}
