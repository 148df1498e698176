package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// platformDevices is where both drivers register their FMEs and ports.
const platformDevices = "/sys/bus/platform/devices"

// listReport names the devices of a host; a list that was not asked for is left out.
type listReport struct {
	FMEs  []string `json:"fmes,omitzero"`
	Ports []string `json:"ports,omitzero"`
}

func (t *tool) listAll(context.Context) error   { return t.list(true, true) }
func (t *tool) listFMEs(context.Context) error  { return t.list(true, false) }
func (t *tool) listPorts(context.Context) error { return t.list(false, true) }

func (t *tool) list(fmes, ports bool) error {
	names, err := t.deviceNames()
	if err != nil {
		return err
	}
	var r listReport
	if fmes {
		r.FMEs = pick(names, func(name string) bool { return !card.IsPort(name) })
	}
	if ports {
		r.Ports = pick(names, card.IsPort)
	}
	if t.options.json() {
		return t.printJSON(r)
	}
	if fmes {
		err = t.printList("Detected FPGA FMEs", r.FMEs)
	}
	if ports && err == nil {
		err = t.printList("Detected FPGA Ports", r.Ports)
	}
	return err
}

func (t *tool) printList(title string, names []string) error {
	if !t.options.quiet {
		if _, err := fmt.Fprintf(t.stdout, "%s: %d\n", title, len(names)); err != nil {
			return err
		}
	}
	for _, name := range names {
		if _, err := fmt.Fprintln(t.stdout, name); err != nil {
			return err
		}
	}
	return nil
}

// deviceNames are the FMEs and ports of the platform bus and of the drivers' class folders, also those that could not
// be used for anything.
func (t *tool) deviceNames() ([]string, error) {
	names, err := t.root.ReadDir(platformDevices)
	if err != nil && !hostfs.Absent(err) {
		return nil, err
	}
	inventory := card.Discover(t.root)
	for _, fme := range inventory.FMEs {
		names = append(names, fme.Name)
		for _, port := range fme.Ports {
			names = append(names, port.Name)
		}
	}
	for _, skipped := range inventory.Skipped {
		names = append(names, path.Base(skipped.Path))
	}
	names = pick(names, func(name string) bool { _, ok := card.DriverOf(name); return ok })
	slices.SortFunc(names, byNumber)
	return slices.Compact(names), nil
}

// pick is never nil: an empty list is one in JSON too.
func pick(names []string, want func(string) bool) []string {
	picked := []string{}
	for _, name := range names {
		if want(name) {
			picked = append(picked, name)
		}
	}
	return picked
}

// byNumber orders dfl-port.2 before dfl-port.10.
func byNumber(a, b string) int {
	kindA, numberA := cutNumber(a)
	kindB, numberB := cutNumber(b)
	if kindA != kindB {
		return strings.Compare(kindA, kindB)
	}
	switch {
	case numberA < numberB:
		return -1
	case numberA > numberB:
		return 1
	}
	return strings.Compare(a, b)
}

func cutNumber(name string) (string, uint64) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return name, 0
	}
	n, err := strconv.ParseUint(name[i+1:], 10, 64)
	if err != nil {
		return name, 0
	}
	return name[:i], n
}
