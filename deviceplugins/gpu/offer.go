package gpu

import (
	"fmt"

	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/gpu/health"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

const (
	// Domain begins the names of this family's resources.
	Domain = "gpu.intel.com/"
	// Kind is that of the family's CDI devices, one for each card.
	Kind = "intel.cdi.k8s.io/gpu"

	monitoring  = "monitoring"
	engines     = "mei" // the kernel's subsystem of management engines
	allCards    = "all" // the observer's device id
	unreachable = "its health cannot be asked for: it has no PCI address"
)

// offer turns cards into the kubelet's devices. verdict is nil where nobody is asked for health. byCDI has containers get
// the cards by CDI name.
func offer(found Inventory, o Options, verdict func(address string) health.Verdict, byCDI bool) plugin.Inventory {
	inv := plugin.Inventory{}
	for i := range found.Cards {
		c := &found.Cards[i]
		if c.VFs > 0 {
			continue
		}
		d := plugin.Device{Health: plugin.Healthy, NUMA: c.NUMA, Grant: c.grant(found, o, byCDI)}
		if verdict != nil {
			d.Health, d.Reason = judged(c, verdict)
		}
		inv[Domain+c.Driver] = share(inv[Domain+c.Driver], d, c.Name, o.SharedDevNum)
	}
	if o.EnableMonitoring {
		observe(inv, found, o)
	}
	return inv
}

// share adds a device once for each container that may have it; the shares have all but the id in common.
func share(devices []plugin.Device, d plugin.Device, name string, shares int) []plugin.Device {
	for i := range shares {
		d.ID = fmt.Sprintf("%s-%d", name, i)
		devices = append(devices, d)
	}
	return devices
}

func judged(c *Card, verdict func(address string) health.Verdict) (state, reason string) {
	v := health.Verdict{Reason: unreachable}
	if c.Address != "" {
		v = verdict(c.Address)
	}
	if v.Healthy {
		return plugin.Healthy, ""
	}
	return plugin.Unhealthy, v.Reason
}

// observe adds the observer's devices: all cards in one, those with virtual functions too, and their management engines.
// It has no topology, because it is of all of them, and is always healthy, because it is there to look at the sick.
func observe(inv plugin.Inventory, found Inventory, o Options) {
	grants := map[string]plugin.Grant{}
	for i := range found.Cards {
		c := &found.Cards[i]
		resource := Domain + monitoring
		if o.MonitoringMode == MonitoringSplit {
			resource = Domain + c.Driver + "_" + monitoring
		}
		g := grants[resource]
		g.Nodes = append(append(g.Nodes, nodes(c.Nodes)...), nodes(c.MEI)...)
		grants[resource] = g
	}
	for resource, g := range grants {
		inv[resource] = []plugin.Device{{ID: allCards, Health: plugin.Healthy, Grant: g}}
	}
}

// unobserved are the management engines that observers do not get, where there are observers.
func unobserved(found Inventory, o Options) (list []plugin.Skipped) {
	for i := range found.Cards {
		if o.EnableMonitoring {
			list = append(list, found.Cards[i].NoMEI...)
		}
	}
	return list
}

func nodes(paths []string) []plugin.Node {
	list := make([]plugin.Node, 0, len(paths))
	for _, p := range paths {
		list = append(list, plugin.Node{HostPath: p, ContainerPath: p, Permissions: "rw"})
	}
	return list
}

// grant is what a container gets with a card.
func (c *Card) grant(found Inventory, o Options, byCDI bool) plugin.Grant {
	g := plugin.Grant{Nodes: nodes(c.Nodes)}
	switch o.ByPath {
	case ByPathSingle:
		for _, link := range c.ByPath {
			g.Mounts = append(g.Mounts, readOnly(byPathDir+"/"+link.Name))
		}
	case ByPathAll:
		if found.ByPath {
			g.Mounts = []plugin.Mount{readOnly(byPathDir)}
		}
	}
	if byCDI {
		g.CDI = []string{cdi.Name(Kind, c.Name)}
	}
	return g
}

func readOnly(path string) plugin.Mount {
	return plugin.Mount{HostPath: path, ContainerPath: path, ReadOnly: true}
}

// specsOf are the CDI devices of the cards that are offered: the same nodes and mounts.
func specsOf(found Inventory, o Options) []specs.Device {
	var list []specs.Device
	for i := range found.Cards {
		c := &found.Cards[i]
		if c.VFs > 0 {
			continue
		}
		d := specs.Device{Name: c.Name}
		g := c.grant(found, o, false)
		for _, n := range g.Nodes {
			d.ContainerEdits.DeviceNodes = append(d.ContainerEdits.DeviceNodes,
				&specs.DeviceNode{Path: n.ContainerPath, HostPath: n.HostPath, Permissions: n.Permissions})
		}
		for _, m := range g.Mounts {
			d.ContainerEdits.Mounts = append(d.ContainerEdits.Mounts,
				&specs.Mount{HostPath: m.HostPath, ContainerPath: m.ContainerPath, Type: "none", Options: []string{"bind", "ro"}})
		}
		list = append(list, d)
	}
	return list
}
