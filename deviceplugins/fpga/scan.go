package fpga

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/podresources"
	"github.com/inlay-project/inlay/internal/topology"
)

// memory is what this process knows of hardware from earlier scans: the resource that each piece was offered as while
// it was well. Keys are names that survive a change of the ids, "0000:3b:00.0/dfl-fme.0".
type memory map[string]offered

// offered is a name, and whether the kubelet was asked about it: a second name is one for the same hardware.
type offered struct {
	resource string
	certain  bool
}

// scan is one look at the node.
type scan struct {
	c        Config
	mode     Mode
	memory   memory
	holdings holdings
	answered map[string]answer // by device id: what Allocate said just before
	shared   bool              // another plugin gives the same hardware out, under names of its own

	inv     plugin.Inventory
	skipped []plugin.Skipped
	offered memory // hardware that is gone is forgotten, hardware that is sick is not
	// unsettled says that something waits for what no event announces: the kubelet's word, a folder that can be written.
	unsettled bool
}

func (s *scan) skip(path, format string, args ...any) {
	s.skipped = append(s.skipped, plugin.Skipped{Path: path, Reason: fmt.Sprintf(format, args...)})
}

// unit is a piece of hardware that becomes one device.
type unit struct {
	id       string
	key      string   // in memory
	path     string   // for messages
	overlaps []string // device ids that name the same hardware, its own among them
	resource string   // "" if the ids do not give one now
	sick     string   // why it cannot be given out, "" if it can
	nodes    []string
	dirs     []string // of the nodes, in sysfs
	address  string   // PCI address of the FME
}

// units are the devices of an FME in this mode.
func (s *scan) units(fme *fpga.FME) []unit {
	if len(fme.Ports) == 0 {
		s.skip(fme.SysPath, "it has no port")
		return nil
	}
	if s.mode == ModeAF {
		var units []unit
		for i := range fme.Ports {
			units = append(units, portUnit(fme, &fme.Ports[i]))
		}
		return units
	}
	if s.mode == ModeRegion && s.c.Grant == GrantAllocate && len(fme.Ports) > 1 {
		s.skip(fme.SysPath, "it has %d ports, and without NRI a container would get them all: not offered in region mode with --fpga-grant allocate", len(fme.Ports))
		return nil
	}
	return []unit{s.fmeUnit(fme)}
}

func (s *scan) fmeUnit(fme *fpga.FME) unit {
	u := unit{
		id: fme.Name, key: fme.PCI.Address + "/" + fme.Name, path: fme.SysPath, address: fme.PCI.Address,
		overlaps: []string{fme.Name},
	}
	for _, port := range fme.Ports {
		u.nodes, u.dirs = append(u.nodes, port.Node), append(u.dirs, port.SysPath)
		u.overlaps = append(u.overlaps, port.Name)
	}
	if s.mode == ModeRegiondevel {
		u.nodes, u.dirs = append(u.nodes, fme.Node), append(u.dirs, fme.SysPath)
	}
	if u.sick = interfaceSick(fme); u.sick == "" {
		u.resource = Domain + fpga.RegionResource(fme.Interface)
	}
	return u
}

func portUnit(fme *fpga.FME, port *fpga.Port) unit {
	u := unit{
		id: port.Name, key: fme.PCI.Address + "/" + port.Name, path: port.SysPath, address: fme.PCI.Address,
		overlaps: []string{port.Name, fme.Name}, nodes: []string{port.Node}, dirs: []string{port.SysPath},
	}
	switch {
	case errors.Is(port.AFUErr, unix.EBUSY):
		u.sick = "it is being programmed"
	case port.AFUErr != nil:
		u.sick = fmt.Sprintf("its afu_id cannot be read: %v", port.AFUErr)
	case port.AFU.AllOnes():
		u.sick = "its afu_id reads as all ones: the card does not answer"
	default:
		u.sick = interfaceSick(fme)
	}
	if u.sick != "" {
		return u
	}
	name, err := fpga.AFResource(fme.Interface, port.AFU)
	if err != nil {
		u.sick = err.Error()
		return u
	}
	u.resource = Domain + name
	return u
}

func interfaceSick(fme *fpga.FME) string {
	switch {
	case fme.InterfaceErr != nil:
		return fmt.Sprintf("its interface id cannot be read: %v", fme.InterfaceErr)
	case fme.Interface.AllOnes():
		return "its interface id reads as all ones: the card does not answer"
	}
	return ""
}

// offer publishes a unit under one resource name, or says why not.
func (s *scan) offer(u unit) {
	held := s.heldAs(u)
	if held.err != nil || held.by != "" && held.resource != u.resource {
		s.unsettled = true // no event tells that a pod has ended
	}
	resource := u.resource
	if resource == "" {
		resource = s.memory[u.key].resource
	}
	if resource == "" && s.ownKind(held.resource) {
		resource = held.resource
	}
	if resource == "" {
		s.skip(u.path, "%s", u.sick)
		return
	}
	d := plugin.Device{ID: u.id, Health: plugin.Healthy, NUMA: s.numa(u), Grant: s.grant(u)}
	switch {
	case u.sick != "":
		d.Health, d.Reason = plugin.Unhealthy, u.sick
	case held.err != nil:
		d.Health, d.Reason = plugin.Unhealthy, fmt.Sprintf("who holds it is not known: %v", held.err)
	case held.by != "" && held.resource != resource:
		d.Health, d.Reason = plugin.Unhealthy, fmt.Sprintf("held by %s as %s", held.by, held.resource)
	}
	s.inv[resource] = append(s.inv[resource], d)
	// What is not certain is asked about again. A sick unit keeps the name that it had, and what was known of it.
	switch {
	case u.sick != "":
		s.offered[u.key] = offered{resource, s.memory[u.key].certain}
	case d.Health == plugin.Healthy:
		s.offered[u.key] = offered{resource, !held.uncertain}
	}
}

// ownKind tells whether a resource is one of the kind that this mode offers.
func (s *scan) ownKind(resource string) bool {
	kind := strings.TrimPrefix(resource, Domain)
	if s.mode == ModeAF {
		_, _, err := fpga.ParseAFResource(kind)
		return err == nil
	}
	_, err := fpga.ParseRegionResource(kind)
	return err == nil
}

func (s *scan) numa(u unit) []int {
	numa, err := topology.OfDevices(s.c.Root, u.dirs...)
	if err != nil {
		s.c.Log.WithError(err).WithField("device", u.id).Debug("no NUMA hint")
		return nil
	}
	return numa
}

// grant is what the reference lists for a device; what a container is really answered is Allocate's affair.
func (s *scan) grant(u unit) plugin.Grant {
	g := plugin.Grant{}
	for _, node := range u.nodes {
		g.Nodes = append(g.Nodes, plugin.Node{HostPath: node, ContainerPath: node, Permissions: "rw"})
	}
	if s.c.Grant == GrantAllocate {
		g.CDI = []string{cdiKind + "=" + hookDevice}
		if s.mode == ModeRegion {
			g.Annotations = map[string]string{modeAnnotation: Domain + "region"}
		}
	}
	return g
}

func (s *scan) allUnhealthy(reason string) {
	for _, devices := range s.inv {
		for i := range devices {
			if devices[i].Health == plugin.Healthy {
				devices[i].Health, devices[i].Reason = plugin.Unhealthy, reason
			}
		}
	}
}

// hold is who has a unit, and as what.
type hold struct {
	by, resource string
	err          error
	uncertain    bool // there is no kubelet to ask, or it is too young to know
}

// heldAs finds out whether a container holds a unit. A unit that goes on under the name that it had needs no asking:
// only a new name can be a second one, unless somebody else gives names too.
func (s *scan) heldAs(u unit) hold {
	if s.c.Kubelet == nil || !s.shared && u.resource != "" && s.memory[u.key] == (offered{u.resource, true}) {
		return hold{}
	}
	if u.resource == "" && s.memory[u.key].resource != "" {
		return hold{}
	}
	for _, id := range u.overlaps {
		if a, ok := s.answered[id]; ok && a.resource != u.resource {
			return hold{by: "a pod that is being admitted", resource: a.resource}
		}
	}
	age, there := s.c.Kubelet.Age()
	if !there {
		return hold{uncertain: true}
	}
	l, err := s.holdings.list()
	if err != nil {
		return hold{err: err}
	}
	found := hold{}
	if age >= 0 && age < fresh {
		found.uncertain, s.unsettled = true, true
	}
	for _, h := range l.Holdings {
		if !strings.HasPrefix(h.Resource, Domain) || !overlap(h.Devices, u.overlaps) {
			continue
		}
		found.by, found.resource = h.Namespace+"/"+h.Pod, h.Resource
		if h.Resource != u.resource {
			return found
		}
	}
	return found
}

func overlap(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}

// holdings asks the kubelet once a scan, if at all.
type holdings struct {
	ctx     context.Context
	kubelet Kubelet
	asked   bool
	answer  *podresources.Listing
	err     error
}

func (h *holdings) list() (*podresources.Listing, error) {
	if !h.asked {
		h.asked = true
		h.answer, h.err = h.kubelet.List(h.ctx)
	}
	return h.answer, h.err
}
