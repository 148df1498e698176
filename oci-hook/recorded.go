package main

import (
	"errors"
	"fmt"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/record"
)

// allocated is a device of the allocation record as this host has it now.
type allocated struct {
	record.Device
	fme *fpga.FME
	af  fpga.FunctionID // the function that an af resource is named for, "" for a region
}

// recorded goes by the allocation record, and by linux.devices for what the record may not invent: a runtime that
// merges pod annotations into a container's lets a pod write one.
func (g given) recorded() (string, []pair, error) {
	devices, err := g.allocated()
	if err != nil {
		return "", nil, err
	}
	af, hasFME := 0, false
	for _, d := range devices {
		if d.af != "" {
			af++
		} else if g.hasFME(d.fme) {
			hasFME = true
		}
	}
	if af == len(devices) {
		pairs, err := g.loaded(devices)
		return modeAF, pairs, err
	}
	if af > 0 {
		return "", nil, errors.New("the container has af and region resources, which do not go together")
	}
	mode, err := g.mode(hasFME)
	if err != nil {
		return "", nil, fmt.Errorf("device %s: %w", devices[0].ID, err)
	}
	if mode == modeRegiondevel {
		pairs := make([]pair, len(devices))
		for i, d := range devices {
			if !g.hasFME(d.fme) { // a record that somebody added must not mark another container's card
				return "", nil, fmt.Errorf("the allocated device %s is not in linux.devices with its own numbers", d.ID)
			}
			if pairs[i], err = foreign(d.fme); err != nil {
				return "", nil, err
			}
		}
		return mode, pairs, nil
	}
	pairs, err := g.regions(devices)
	return mode, pairs, err
}

// allocated finds the devices of the record on this node, as they were when they were allocated.
func (g given) allocated() ([]allocated, error) {
	allocations, err := record.Parse(g.annotations)
	if err != nil {
		return nil, err
	}
	var devices []allocated
	for _, a := range allocations {
		iface, afu, err := fpga.ParseResource(a.Resource)
		if err != nil {
			return nil, fmt.Errorf("allocation record: %w", err)
		}
		for _, d := range a.Devices {
			if card.IsPort(d.ID) != (afu != "") {
				return nil, fmt.Errorf("allocation record: %s is no device of %s", d.ID, a.Resource)
			}
			fme, err := card.FindFME(g.p.Root, d.ID)
			if err != nil {
				return nil, fmt.Errorf("%sallocated device: %w", g.wanted(afu), err)
			}
			if err := region.CheckIdentity(fme, d.Address, iface); err != nil {
				return nil, fmt.Errorf("allocated device %s: %w", d.ID, err)
			}
			devices = append(devices, allocated{Device: d, fme: fme, af: fpga.FunctionID(afu)})
		}
	}
	return devices, nil
}

// loaded gives the work for ports of af resources: a look at what they hold.
func (g given) loaded(devices []allocated) ([]pair, error) {
	pairs := make([]pair, len(devices))
	for i, d := range devices {
		if port, ok := d.fme.Port(d.ID); !ok || !g.hasPort(*port) {
			return nil, fmt.Errorf("the allocated device %s is not in linux.devices with its own numbers", d.ID)
		}
		pairs[i] = pair{port: d.ID, address: d.Address, iface: d.fme.Interface, function: d.af}
	}
	return pairs, nil
}

// regions pairs the allocated FMEs with the functions asked for, using the ports that the container was given too.
func (g given) regions(devices []allocated) ([]pair, error) {
	wishes, err := region.Wishes(g.env)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", devices[0].ID, err)
	}
	var slots []region.Slot
	cards := map[string]*fpga.FME{}
	for _, d := range devices {
		var ports []fpga.Port
		for _, port := range d.fme.Ports {
			if g.hasPort(port) {
				ports = append(ports, port)
				cards[port.Name] = d.fme
			}
		}
		if len(ports) == 0 {
			return nil, fmt.Errorf("no port of the allocated device %s is in linux.devices with its own numbers", d.ID)
		}
		slots = append(slots, region.Slot{
			Device: d.ID, Interface: d.fme.Interface, Ports: g.known().Candidates(d.fme, ports, wishes),
		})
	}
	choices, err := region.Pair(wishes, slots)
	if err != nil {
		return nil, err
	}
	return pairsOf(choices, cards), nil
}
