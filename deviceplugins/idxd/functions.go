package idxd

import (
	"fmt"
	"slices"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/topology"
)

const (
	// vfioResource is what a resource of whole functions is called, after the domain.
	vfioResource = "vfio"
	// vfioVariable begins the variables that name a container's functions.
	vfioVariable = "VFIO_BDF"
)

// functions takes the PCI functions that a VFIO driver has. What is wrong with one is that one's.
func (inv *Inventory) functions(root *hostfs.Root, kind Kind) {
	inv.Values = append(inv.Values, vfio.Drivers+"/"+vfio.DriverPCI) // the names in it are what is bound
	found, unknown := findFunctions(root, kind)
	inv.Notes = append(inv.Notes, unknown...)
	for _, f := range found {
		path := vfio.Devices + "/" + f.Address
		device, err := vfio.Look(root, f.Address)
		if err != nil {
			inv.skip(path, unreadable("it", err))
			continue
		}
		if err := unbound(root, kind, device); err != nil {
			inv.skip(path, err)
			continue
		}
		nodes, err := device.Nodes(root)
		if err != nil {
			inv.skip(path, err)
			continue
		}
		numa, err := topology.Of(root, device.SysPath, nodes[0].HostPath)
		if err != nil {
			inv.noteTopology(path, err)
			numa = nil
		}
		resource := kind.resource(vfioResource)
		inv.Devices[resource] = append(inv.Devices[resource], plugin.Device{
			ID: f.Address, NUMA: numa,
			Grant: plugin.Grant{Nodes: nodes, Env: vfio.Variables(vfioVariable, []string{f.Address})},
		})
	}
}

// findFunctions finds a kind's PCI functions, whatever driver they have. One of Intel's that does not show its id may be
// of any kind, so it is no more than a note.
func findFunctions(root *hostfs.Root, kind Kind) (found []vfio.Function, unknown []plugin.Skipped) {
	ids := kind.facts().ids
	return vfio.Functions(root, vfio.Intel, func(id string) bool { return slices.Contains(ids, id) })
}

// unbound tells why a function is nothing for user space, nil if it is something.
func unbound(root *hostfs.Root, kind Kind, d vfio.Device) error {
	if vfio.IsDriver(d.Driver) {
		return nil
	}
	o := &vfio.Obstacle{Reason: "it has no driver, where " + vfio.DriverPCI + " is wanted", Remedy: bindCommand(d, vfio.DriverPCI)}
	if d.Driver != "" {
		o.Reason = fmt.Sprintf("its driver is %s, not %s", d.Driver, vfio.DriverPCI)
	}
	switch allowed, _ := root.ReadAttr(denylistSwitch); {
	case slices.Contains(kind.facts().denied, d.ID) && allowed != "Y":
		o.Reason += "; that refuses this model (an erratum) unless its denylist is off"
		o.Remedy = "modprobe -r vfio-pci; modprobe vfio-pci disable_denylist=1 && " + o.Remedy
	case !root.Exists(vfio.Drivers + "/" + vfio.DriverPCI):
		o.Remedy = "modprobe vfio-pci && " + o.Remedy
	}
	return o
}

// denylistSwitch is "Y" where vfio-pci takes models that it would refuse.
const denylistSwitch = "/sys/module/vfio_pci/parameters/disable_denylist"

// bindCommand is what a person types to give a function another driver. It is not done here: somebody may use the device.
func bindCommand(d vfio.Device, driver string) string {
	dir := vfio.Devices + "/" + d.Address
	command := fmt.Sprintf("echo %s > %s/driver_override && ", driver, dir)
	if d.Driver != "" {
		command += fmt.Sprintf("echo %s > %s/driver/unbind && ", d.Address, dir)
	}
	return command + fmt.Sprintf("echo %s > /sys/bus/pci/drivers_probe", d.Address)
}
