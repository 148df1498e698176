package fpga

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/nri/pkg/api"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// pair is one port of a grant and what the hook is to find or make there.
type pair struct {
	port, address string
	iface         fpga.InterfaceID
	function      fpga.FunctionID
}

func (p pair) String() string {
	return fmt.Sprintf("%s@%s=%s/%s", p.port, p.address, p.iface, p.function)
}

// node is a device node that the container gets.
type node struct {
	path string
	dev  hostfs.Dev
}

type grant struct {
	nodes []node
	pairs []pair
}

// grant says which nodes the container gets, and what the hook is to do with them.
func (a *Adjuster) grant(r *request) (grant, error) {
	switch r.mode {
	case modeAF:
		return a.grantAF(r)
	case modeRegiondevel:
		return a.grantRegiondevel(r)
	}
	return a.grantRegion(r)
}

func (a *Adjuster) grantAF(r *request) (grant, error) {
	var g grant
	for _, d := range r.devices {
		port, ok := d.fme.Port(d.ID)
		if !ok {
			return g, fmt.Errorf("allocated device %s: %w", d.ID, fpga.ErrNoDevice)
		}
		if err := holds(port, d.af); err != nil {
			return g, fmt.Errorf("allocated device %s: function %s: %w", d.ID, d.af, err)
		}
		loads := region.Programmer{Root: a.c.Root, RunDir: a.c.RunDir}
		if err := loads.Believable(d.fme, port); err != nil {
			return g, fmt.Errorf("allocated device %s: function %s: %w", d.ID, d.af, err)
		}
		g.nodes = append(g.nodes, node{port.Node, port.Dev})
		g.pairs = append(g.pairs, pair{port.Name, d.Address, d.fme.Interface, d.af})
	}
	return g, nil
}

// holds says no early where a port plainly holds something else. The hook looks again, and waits out what makes the id
// unreadable for a while: a reconfiguration.
func holds(port *fpga.Port, want fpga.FunctionID) error {
	switch {
	case hostfs.Absent(port.AFUErr):
		return fmt.Errorf("afu_id: %w", port.AFUErr)
	case port.AFU.AllOnes():
		return errNoAnswer
	case port.AFUErr == nil && fpga.FunctionID(port.AFU) != want:
		return fmt.Errorf("it holds %s now", port.AFU)
	}
	return nil
}

var errNoAnswer = errors.New("afu_id reads as all ones: the card does not answer")

// grantRegiondevel gives all ports of each FME, the FME last, as the old system did.
func (a *Adjuster) grantRegiondevel(r *request) (grant, error) {
	var g grant
	for _, d := range r.devices {
		if len(d.fme.Ports) == 0 {
			return g, fmt.Errorf("allocated device %s: it has no port", d.ID)
		}
		for _, port := range d.fme.Ports {
			g.nodes = append(g.nodes, node{port.Node, port.Dev})
		}
		g.nodes = append(g.nodes, node{d.fme.Node, d.fme.Dev})
		g.pairs = append(g.pairs, pair{port: d.fme.Ports[0].Name, address: d.Address, iface: d.fme.Interface})
	}
	return g, nil
}

// grantRegion pairs functions and FMEs, and gives of each FME only the port that is programmed.
func (a *Adjuster) grantRegion(r *request) (grant, error) {
	known := region.Known{Root: a.c.Root, RunDir: a.c.RunDir, Store: a.c.Store}
	fmes := map[string]device{}
	var slots []region.Slot
	for _, d := range r.devices {
		ports, err := usable(d.fme)
		if err != nil {
			return grant{}, fmt.Errorf("allocated device %s: %w", d.ID, err)
		}
		fmes[d.ID] = d
		slots = append(slots, region.Slot{
			Device: d.ID, Interface: d.fme.Interface, Ports: known.Candidates(d.fme, ports, r.wishes),
		})
	}
	choices, err := region.Pair(r.wishes, slots)
	if err != nil {
		return grant{}, err
	}
	var g grant
	for _, c := range choices {
		if err := a.checkBitstream(c); err != nil {
			return grant{}, err
		}
		d := fmes[c.Device]
		port, _ := d.fme.Port(c.Port)
		g.nodes = append(g.nodes, node{port.Node, port.Dev})
		g.pairs = append(g.pairs, pair{port.Name, d.Address, c.Interface, c.Function})
	}
	return g, nil
}

// usable leaves out ports whose reconfiguration could not be verified: those without an afu_id, and those that do not
// answer. An id that cannot be read now may be only busy, which the hook waits out.
func usable(fme *fpga.FME) ([]fpga.Port, error) {
	var ports []fpga.Port
	err := errors.New("it has no port")
	for _, port := range fme.Ports {
		switch {
		case hostfs.Absent(port.AFUErr):
			err = fmt.Errorf("port %s: afu_id: %w", port.Name, port.AFUErr)
		case port.AFU.AllOnes():
			err = fmt.Errorf("port %s: %w", port.Name, errNoAnswer)
		default:
			ports = append(ports, port)
		}
	}
	if len(ports) > 0 {
		return ports, nil
	}
	return nil, err
}

// checkBitstream looks at a file's head: what is wrong with it may be mended before the kubelet tries again.
func (a *Adjuster) checkBitstream(c region.Choice) error {
	opts := bitstream.Options{MaxBytes: a.c.MaxBitstream}
	if _, err := bitstream.CheckHeader(a.c.Root, a.c.Store, c.Interface, c.Function, opts); err != nil {
		return fmt.Errorf("device %s: function %s: %w", c.Device, c.Function, err)
	}
	return nil
}

// adjustment puts a grant into NRI's words.
func (a *Adjuster) adjustment(r *request, g grant) (*api.ContainerAdjustment, error) {
	adjust := &api.ContainerAdjustment{}
	userns := hasUserNamespace(r)
	for _, n := range g.nodes {
		d := &api.LinuxDevice{Path: n.path, Type: "c", Major: int64(n.dev.Major), Minor: int64(n.dev.Minor)}
		if userns {
			if err := a.openToAll(n); err != nil {
				return nil, err
			}
		}
		// The container's own /dev and the device cgroup are the boundary, not the bits: where the runtime does not say
		// who the container runs as, anybody in it may open the node.
		d.FileMode = api.FileMode(os.FileMode(0o666))
		if u := r.ctr.GetUser(); u != nil {
			d.FileMode = api.FileMode(os.FileMode(0o660))
			d.Uid, d.Gid = api.UInt32(u.GetUid()), api.UInt32(u.GetGid())
		}
		adjust.AddDevice(d)
	}
	container := r.pod.GetNamespace() + "/" + r.pod.GetName() + "/" + r.containerName()
	adjust.AddHooks(&api.Hooks{CreateRuntime: []*api.Hook{a.c.Hook.program(r.mode, container, g.pairs)}})
	return adjust, nil
}

func hasUserNamespace(r *request) bool {
	for _, list := range [][]*api.LinuxNamespace{r.ctr.GetLinux().GetNamespaces(), r.pod.GetLinux().GetNamespaces()} {
		for _, ns := range list {
			if ns.GetType() == "user" {
				return true
			}
		}
	}
	return false
}

// openToAll checks that a pod in a user namespace can use a node at all: the runtime binds the host's node then, with
// the host's owner, which is nobody inside.
func (a *Adjuster) openToAll(n node) error {
	o, err := a.c.Root.Owner(n.path)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.path, err)
	}
	if o.Mode&0o006 != 0o006 {
		return fmt.Errorf("the pod has hostUsers: false and sees the host's %s, mode %04o: its users cannot open it; "+
			"set hostUsers: true, or make the node accessible to all on the host", n.path, o.Mode)
	}
	return nil
}
