package idxd

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/topology"
)

// The words of the attributes mode and type.
const (
	modeShared    = "shared"
	modeDedicated = "dedicated"
	typeUser      = "user"
)

// Inventory is what a host has of one kind, and what a change of it looks like.
type Inventory struct {
	Devices plugin.Inventory
	Skipped []plugin.Skipped
	// Notes are oddities that take nothing away, such as a NUMA node that cannot be read.
	Notes []plugin.Skipped
	// Values are the files whose content changes without an event, as host paths.
	Values []string
	// findings are what is skipped with the commands that would help.
	findings []plugin.Finding
	// majors are the device numbers by which companion links are called.
	majors map[uint32]bool
}

func (inv *Inventory) skip(path string, err error) {
	inv.Skipped = append(inv.Skipped, plugin.Skipped{Path: path, Reason: err.Error()})
	inv.findings = append(inv.findings, vfio.Finding(path, err, subsystem))
}

// noteTopology: a device whose NUMA node cannot be told is offered without a hint.
func (inv *Inventory) noteTopology(path string, err error) {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // the path stands beside it
	}
	inv.Notes = append(inv.Notes, plugin.Skipped{Path: path, Reason: "its NUMA node is not known: " + err.Error()})
}

// Discover looks at a host tree once. It writes nothing and needs no rights but to read.
func Discover(root *hostfs.Root, kind Kind, o Options) Inventory {
	inv := Inventory{Devices: plugin.Inventory{}, majors: map[uint32]bool{}}
	if o.Driver == DriverVFIO {
		inv.functions(root, kind)
	} else {
		inv.queues(root, kind, o.SharedDevNum)
	}
	return inv
}

// queues takes the work queues that user space may have.
func (inv *Inventory) queues(root *hostfs.Root, kind Kind, shares int) {
	devices, err := readBus(root, kind)
	if err != nil {
		inv.skip(busFolder, err)
	}
	if len(devices) == 0 { // else its names change whenever a queue is opened
		inv.Values = append(inv.Values, busFolder)
	}
	for _, d := range devices {
		if d.err != nil {
			inv.skip(d.dir, d.err)
			continue
		}
		inv.Values = append(inv.Values, d.dir+"/state")
		var offered []queue
		var nodes [][]plugin.Node
		for _, q := range d.queues {
			inv.Values = append(inv.Values, q.dir+"/state")
			if err := q.unfit(); err != nil {
				inv.skip(q.dir, err)
				continue
			}
			if q.state != stateEnabled || q.kind != typeUser {
				continue
			}
			n, major, err := queueNodes(root, kind, d, q)
			if major != 0 {
				inv.majors[major] = true
			}
			if err != nil {
				inv.skip(q.dir, err)
				continue
			}
			offered, nodes = append(offered, q), append(nodes, n)
		}
		if len(offered) == 0 {
			continue
		}
		numa, err := topology.Of(root, d.dir, nodes[0][0].HostPath) // once a device: its queues are where it is
		if err != nil {
			inv.noteTopology(d.dir, err)
			numa = nil
		}
		for i, q := range offered {
			inv.offer(kind, d, q, shares, plugin.Device{NUMA: numa, Grant: plugin.Grant{Nodes: nodes[i]}})
		}
	}
}

// unfit tells what keeps an enabled queue from being offered that is neither its type nor its state: something could not
// be read, or was read in the middle of a change.
func (q queue) unfit() error {
	switch {
	case q.err != nil:
		return q.err
	case q.state != stateEnabled:
		return nil
	case q.mode != modeShared && q.mode != modeDedicated:
		return fmt.Errorf("it is enabled, and its mode %.40q is neither shared nor dedicated", q.mode)
	case q.kind == "" || q.kind == "none":
		return errors.New("it is enabled and has no type")
	}
	return nil
}

// offer adds a queue as often as it may be given out. All shares are one value: same nodes, same NUMA nodes.
func (inv *Inventory) offer(kind Kind, d device, q queue, shares int, unit plugin.Device) {
	if d.state == stateHalted || d.state == stateDisabled {
		unit.Health, unit.Reason = plugin.Unhealthy, "device "+d.name+" is "+d.state
	}
	if q.mode == modeDedicated {
		shares = 1
	}
	name := "wq-" + q.kind + "-" + q.mode
	resource := kind.resource(name)
	for i := range shares {
		unit.ID = name + "-" + q.name + "-" + strconv.Itoa(i)
		inv.Devices[resource] = append(inv.Devices[resource], unit)
	}
}
