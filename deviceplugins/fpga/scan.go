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
type memory map[string]string

// scan is one look at the node.
type scan struct {
	c        Config
	mode     Mode
	memory   memory
	holdings holdings

	inv     plugin.Inventory
	skipped []plugin.Skipped
	offered memory // hardware that is gone is forgotten, hardware that is sick is not
	places  map[string]place
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
	address  string
}

func (s *scan) fme(fme *fpga.FME) {
	if len(fme.Ports) == 0 {
		s.skip(fme.SysPath, "it has no port")
		return
	}
	if s.mode == ModeAF {
		for i := range fme.Ports {
			s.offer(s.portUnit(fme, &fme.Ports[i]))
		}
		return
	}
	if s.mode == ModeRegion && s.c.Grant == GrantAllocate && len(fme.Ports) > 1 {
		s.skip(fme.SysPath, "it has %d ports, and without NRI a container would get them all: not offered in region mode with --fpga-grant allocate", len(fme.Ports))
		return
	}
	s.offer(s.fmeUnit(fme))
}

func (s *scan) fmeUnit(fme *fpga.FME) unit {
	u := unit{
		id: fme.Name, key: fme.PCI.Address + "/" + fme.Name, path: fme.SysPath, address: fme.PCI.Address,
		overlaps: []string{fme.Name},
	}
	for _, port := range fme.Ports {
		u.nodes = append(u.nodes, port.Node)
		u.overlaps = append(u.overlaps, port.Name)
	}
	if s.mode == ModeRegiondevel {
		u.nodes = append(u.nodes, fme.Node)
	}
	if u.sick = interfaceSick(fme); u.sick == "" {
		u.resource = Domain + fpga.RegionResource(fme.Interface)
	}
	return u
}

func (s *scan) portUnit(fme *fpga.FME, port *fpga.Port) unit {
	u := unit{
		id: port.Name, key: fme.PCI.Address + "/" + port.Name, path: port.SysPath, address: fme.PCI.Address,
		overlaps: []string{port.Name, fme.Name}, nodes: []string{port.Node},
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
	resource := u.resource
	if resource == "" {
		resource = s.memory[u.key]
		if resource == "" && held.by != "" && held.resource != "" && s.ownKind(held.resource) {
			resource = held.resource
		}
		if resource == "" {
			s.skip(u.path, "%s", u.sick)
			return
		}
	}
	d := plugin.Device{ID: u.id, Health: plugin.Healthy}
	switch {
	case u.sick != "":
		d.Health, d.Reason = plugin.Unhealthy, u.sick
	case held.by != "" && held.resource != resource:
		d.Health, d.Reason = plugin.Unhealthy, fmt.Sprintf("held by %s as %s", held.by, held.resource)
		s.unsettled = true
	case held.err != nil:
		d.Health, d.Reason = plugin.Unhealthy, fmt.Sprintf("who holds it is not known: %v", held.err)
		s.unsettled = true
	}
	d.NUMA = s.numa(u)
	d.Grant = s.grant(u)
	s.inv[resource] = append(s.inv[resource], d)
	s.places[u.id] = place{address: u.address}
	if d.Health == plugin.Healthy && !held.unasked || u.sick != "" {
		s.offered[u.key] = resource
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
	nodes := make([]string, len(u.nodes))
	copy(nodes, u.nodes)
	numa, err := topology.OfNodes(s.c.Root, nodes...)
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
			devices[i].Health, devices[i].Reason = plugin.Unhealthy, reason
		}
	}
}

// hold is who has a unit, and as what.
type hold struct {
	by, resource string
	err          error
	unasked      bool // there was no kubelet to ask: ask again later
}

// heldAs finds out whether a container holds a unit. A unit that goes on under the name that it had needs no asking:
// only a new name can be a second one.
func (s *scan) heldAs(u unit) hold {
	if s.c.Kubelet == nil || u.resource != "" && s.memory[u.key] == u.resource {
		return hold{}
	}
	if u.resource == "" && s.memory[u.key] != "" {
		return hold{}
	}
	if s.c.Kubelet.Absent() {
		return hold{unasked: true}
	}
	l, err := s.holdings.list()
	if err != nil {
		return hold{err: err}
	}
	found := hold{}
	for _, h := range l.Holdings {
		if !strings.HasPrefix(h.Resource, Domain) || !overlap(h.Devices, u.overlaps) {
			continue
		}
		found = hold{by: h.Namespace + "/" + h.Pod, resource: h.Resource}
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
