package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/nodestate"
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
	ctx, cancel := o.deadline(ctx)
	defer cancel()
	g := given{p: p, env: config.Process.Env, devices: config.Linux.Devices}
	if g.annotations, err = recordOf(config.Annotations, state.Annotations); err != nil {
		return err
	}
	g.self, _ = claimantOf(state.PID)
	mode, pairs, err := g.plan(ctx)
	if err != nil {
		return err
	}
	w := worker{p: p, mode: mode, container: fmt.Sprintf("%.128s", state.ID)}
	if err := w.all(ctx, pairs); err != nil || mode != modeRegion {
		return err
	}
	return g.distrust(ctx, pairs)
}

// recordOf gives the annotations that hold the allocation record. Runtimes show annotations in config.json, in the state,
// or in both, and then the same: two records that differ leave no telling which is the kubelet's.
func recordOf(config, state map[string]string) (map[string]string, error) {
	if !record.Present(config) {
		return state, nil
	}
	if !record.Present(state) {
		return config, nil
	}
	for _, key := range append(record.Keys(config), record.Keys(state)...) {
		if a, b := config[key], state[key]; a != b {
			return nil, fmt.Errorf("allocation record %.120s: config.json has %.120q, the OCI state has %.120q", key, a, b)
		}
	}
	return config, nil
}

// distrust marks the cards of a container that has their FMEs too, a privileged one: it can program them behind our back.
func (g given) distrust(ctx context.Context, pairs []pair) error {
	for _, pr := range pairs {
		fme, err := card.FindFME(g.p.Root, pr.port)
		if err != nil {
			return err
		}
		if !g.hasFME(fme) {
			continue
		}
		if err := g.p.MarkForeign(ctx, pr.request()); err != nil {
			return err
		}
	}
	return nil
}

// given is what the container's configuration says: every part of it but the devices may be a pod's own words.
type given struct {
	p           *region.Programmer
	self        claimant // the container itself
	env         []string
	devices     []bundle.Device
	annotations map[string]string
}

// plan says which ports are to be readied, and how. It waits as long as ctx allows for ports that are in use.
func (g given) plan(ctx context.Context) (mode string, pairs []pair, err error) {
	if len(g.env) == 0 {
		return "", nil, errors.New("config.json: process.env is empty")
	}
	if len(g.devices) == 0 {
		return "", nil, errors.New("config.json: linux.devices is empty")
	}
	if record.Present(g.annotations) {
		return g.recorded()
	}
	return g.unrecorded(ctx)
}

// mode tells how regions are meant. The node's mode decides where inlay-deviceplugin has told it; else a container that
// asks for no function and has the FME itself is one that programs for itself.
func (g given) mode(hasFME bool) (string, error) {
	asks := region.Asks(g.env)
	s, err := nodestate.Read(g.p.RunDir)
	switch {
	case err == nil && s.Mode == modeRegiondevel && asks:
		return "", errors.New("this node's mode is regiondevel: it programs no functions, and the container asks for one (FPGA_AFU_n)")
	case err == nil && s.Mode == modeRegiondevel:
		return modeRegiondevel, nil
	case asks:
		return modeRegion, nil
	case err == nil:
		return "", fmt.Errorf("this node's mode is %s: a region comes with a function, and the container asks for none (%w)", s.Mode,
			region.ErrNoRegion)
	case hasFME:
		return modeRegiondevel, nil
	}
	return "", region.ErrNoRegion
}

// wanted begins a message about a device that is not there: the function that was to be on it, of an af resource af, else
// the one asked for.
func (g given) wanted(af fpga.AFUID) string {
	if af != "" {
		return fmt.Sprintf("function %s: ", af)
	}
	wishes, err := region.Wishes(g.env)
	switch {
	case err != nil || len(wishes) == 0:
		return ""
	case len(wishes) == 1:
		return fmt.Sprintf("function %s: ", wishes[0].Function)
	}
	return fmt.Sprintf("function %s and %d more: ", wishes[0].Function, len(wishes)-1)
}

// known reads what ports hold.
func (g given) known() region.Known {
	return region.Known{Root: g.p.Root, RunDir: g.p.RunDir, Store: g.p.Store}
}

// hasPort and hasFME tell whether the container was given a node, by its own numbers.
func (g given) hasPort(port fpga.Port) bool {
	return g.hasNode(port.Name, int64(port.Dev.Major), int64(port.Dev.Minor))
}

func (g given) hasFME(fme *fpga.FME) bool {
	return g.hasNode(fme.Name, int64(fme.Dev.Major), int64(fme.Dev.Minor))
}

func (g given) hasNode(name string, major, minor int64) bool {
	for _, d := range g.devices {
		if isChar(d) && path.Base(d.Path) == name && d.Major == major && d.Minor == minor {
			return true
		}
	}
	return false
}

// isChar tells a character device; "u" is an old name for it, and old configurations leave the type out. A block device
// may have the same numbers.
func isChar(d bundle.Device) bool { return d.Type == "c" || d.Type == "u" || d.Type == "" }

// pairsOf turns choices into work; cards says which FME a port belongs to.
func pairsOf(choices []region.Choice, cards map[string]*fpga.FME) []pair {
	list := make([]pair, len(choices))
	for i, c := range choices {
		list[i] = pair{port: c.Port, address: cards[c.Port].PCI.Address, iface: c.Interface, function: c.Function}
	}
	return list
}

// foreign is the work for an FME that a container gets itself: one pair marks all its ports.
func foreign(fme *fpga.FME) (pair, error) {
	if len(fme.Ports) == 0 {
		return pair{}, fmt.Errorf("device %s has no port", fme.Name)
	}
	return pair{port: fme.Ports[0].Name, address: fme.PCI.Address, iface: fme.Interface}, nil
}
