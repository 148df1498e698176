package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/record"
	"github.com/inlay-project/inlay/oci-hook/bundle"
)

// standalone is the hook of a runtime without NRI: it finds out by itself what the container was given and what it
// asks for. What that is worth, compared with inlay-nri's word, is told in docs/security.md.
func standalone(ctx context.Context, stdin io.Reader, args []string) error {
	o := options{}
	if err := o.parse(o.flags("hook"), args); err != nil {
		return err
	}
	state, err := bundle.ReadState(stdin)
	if err != nil {
		return err
	}
	config, err := state.Config()
	if err != nil {
		return err
	}
	p, err := o.programmer()
	if err != nil {
		return err
	}
	g := given{p: p, env: config.Process.Env, devices: config.Linux.Devices, annotations: config.Annotations}
	if len(g.annotations) == 0 {
		g.annotations = state.Annotations
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("%s are over", o.timeout))
	defer cancel()
	jobs, err := g.jobs()
	if err != nil {
		return err
	}
	for mode, pairs := range jobs {
		do, err := o.job(mode)
		if err != nil {
			return err
		}
		err = forAll(ctx, pairs, func(ctx context.Context, pr pair) error {
			return o.journaled(mode, state.ID, pr, func() (region.Result, error) { return do(ctx, pr) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// given is what the container's configuration says: every part of it but the devices may be a pod's own words.
type given struct {
	p           *region.Programmer
	env         []string
	devices     []bundle.Device
	annotations map[string]string
}

// jobs says which ports are to be looked after, by mode.
func (g given) jobs() (map[string][]pair, error) {
	if len(g.env) == 0 {
		return nil, errors.New("config.json: process.env is empty")
	}
	if len(g.devices) == 0 {
		return nil, errors.New("config.json: linux.devices is empty")
	}
	if record.Present(g.annotations) {
		return g.recorded()
	}
	wishes, err := region.Wishes(g.env)
	if err != nil {
		return nil, err
	}
	slots, cards, err := g.uncounted(wishes)
	if err != nil {
		return nil, err
	}
	choices, err := region.PairSome(wishes, slots)
	if err != nil {
		return nil, err
	}
	return map[string][]pair{"region": pairs(choices, cards)}, nil
}

// recorded goes by the allocation record, and by linux.devices for what the record may not invent: a runtime that
// merges pod annotations into a container's lets a pod write one.
func (g given) recorded() (map[string][]pair, error) {
	allocations, err := record.Parse(g.annotations)
	if err != nil {
		return nil, err
	}
	jobs := map[string][]pair{}
	var slots []region.Slot
	cards := map[string]*fpga.FME{}
	var wishes []region.Wish
	if region.Asks(g.env) {
		if wishes, err = region.Wishes(g.env); err != nil {
			return nil, err
		}
	}
	for _, a := range allocations {
		for _, d := range a.Devices {
			fme, err := g.allocated(d)
			if err != nil {
				return nil, err
			}
			mode, err := g.mode(a.Resource, d, fme)
			if err != nil {
				return nil, err
			}
			if mode != "region" {
				jobs[mode] = append(jobs[mode], g.fixed(mode, d, fme, a.Resource)...)
				continue
			}
			slot, err := g.slot(fme, wishes)
			if err != nil {
				return nil, err
			}
			slots = append(slots, slot)
			for _, port := range fme.Ports {
				cards[port.Name] = fme
			}
		}
	}
	if len(slots) == 0 && len(wishes) == 0 {
		return jobs, nil
	}
	choices, err := region.Pair(wishes, slots)
	if err != nil {
		return nil, err
	}
	jobs["region"] = pairs(choices, cards)
	return jobs, nil
}

// allocated finds a device of the record on this node, as it was when it was allocated.
func (g given) allocated(d record.Device) (*fpga.FME, error) {
	fme, err := card.FindFME(g.p.Root, d.ID)
	if err != nil {
		return nil, fmt.Errorf("allocated device: %w", err)
	}
	if fme.PCI.Address != d.Address {
		return nil, fmt.Errorf("allocated device %s was at %s, is at %s: delete the pod", d.ID, d.Address, fme.PCI.Address)
	}
	return fme, nil
}

// mode tells a resource's mode: an af resource by its name; a region's FME node is in a regiondevel container only.
func (g given) mode(resource string, d record.Device, fme *fpga.FME) (string, error) {
	if i, _, err := fpga.ParseAFResource(resource); err == nil {
		return "af", region.CheckIdentity(fme, d.Address, i)
	}
	i, err := fpga.ParseRegionResource(resource)
	if err != nil {
		return "", fmt.Errorf("allocation record: %w", err)
	}
	if err := region.CheckIdentity(fme, d.Address, i); err != nil {
		return "", err
	}
	if g.hasDevice(fme.Node, fme.Dev.Major, fme.Dev.Minor) {
		return "regiondevel", nil
	}
	return "region", nil
}

// fixed gives the jobs of a device whose function nobody chooses.
func (g given) fixed(mode string, d record.Device, fme *fpga.FME, resource string) []pair {
	if mode == "af" {
		i, afu, _ := fpga.ParseAFResource(resource)
		return []pair{{port: d.ID, address: d.Address, iface: i, function: fpga.FunctionID(afu)}}
	}
	if len(fme.Ports) == 0 {
		return nil
	}
	return []pair{{port: fme.Ports[0].Name, address: d.Address, iface: fme.Interface}}
}

// slot gives the ports of an allocated FME that the container was given too.
func (g given) slot(fme *fpga.FME, wishes []region.Wish) (region.Slot, error) {
	var ports []fpga.Port
	for _, port := range fme.Ports {
		if g.hasDevice(port.Node, port.Dev.Major, port.Dev.Minor) {
			ports = append(ports, port)
		}
	}
	if len(ports) == 0 {
		return region.Slot{}, fmt.Errorf("no port of the allocated device %s is in linux.devices with its own numbers", fme.Name)
	}
	known := region.Known{Root: g.p.Root, RunDir: g.p.RunDir, Store: g.p.Store}
	return region.Slot{Device: fme.Name, Interface: fme.Interface, Ports: known.Candidates(fme, ports, wishes)}, nil
}

func (g given) hasDevice(node string, major, minor uint32) bool {
	for _, d := range g.devices {
		if path.Base(d.Path) == path.Base(node) && d.Major == int64(major) && d.Minor == int64(minor) {
			return true
		}
	}
	return false
}

// uncounted gives the ports of a container that has no record: all of linux.devices, in its order, that are what they
// claim to be and that nobody has open. A privileged container lists every port of the node.
func (g given) uncounted(wishes []region.Wish) ([]region.Slot, map[string]*fpga.FME, error) {
	known := region.Known{Root: g.p.Root, RunDir: g.p.RunDir, Store: g.p.Store}
	var slots []region.Slot
	cards := map[string]*fpga.FME{}
	var busy []string
	for _, d := range g.devices {
		name := path.Base(d.Path)
		if !card.IsPort(name) || cards[name] != nil {
			continue
		}
		fme, port, err := card.FindPort(g.p.Root, name)
		if err != nil {
			return nil, nil, err
		}
		if d.Major != int64(port.Dev.Major) || d.Minor != int64(port.Dev.Minor) || !wished(wishes, fme.Interface) {
			continue
		}
		if g.inUse(port) {
			busy = append(busy, name)
			continue
		}
		cards[name] = fme
		slots = append(slots, region.Slot{
			Device: name, Interface: fme.Interface, Ports: known.Candidates(fme, []fpga.Port{*port}, wishes),
		})
	}
	for _, w := range wishes {
		if !offered(slots, w.Interface) {
			if len(busy) > 0 {
				return nil, nil, fmt.Errorf("no free port with interface %s is in linux.devices (in use: %v)", w.Interface, busy)
			}
			return nil, nil, fmt.Errorf("no port with interface %s is in linux.devices", w.Interface)
		}
	}
	return slots, cards, nil
}

// inUse asks the driver by opening the port alone.
func (g given) inUse(port *fpga.Port) bool {
	f, err := os.OpenFile(g.p.Root.Join(port.Node), os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return errors.Is(err, unix.EBUSY)
	}
	f.Close()
	return false
}

func wished(wishes []region.Wish, i fpga.InterfaceID) bool {
	for _, w := range wishes {
		if w.Interface == i {
			return true
		}
	}
	return false
}

func offered(slots []region.Slot, i fpga.InterfaceID) bool {
	for _, s := range slots {
		if s.Interface == i {
			return true
		}
	}
	return false
}

func pairs(choices []region.Choice, cards map[string]*fpga.FME) []pair {
	list := make([]pair, len(choices))
	for i, c := range choices {
		list[i] = pair{port: c.Port, address: cards[c.Port].PCI.Address, iface: c.Interface, function: c.Function}
	}
	return list
}
