package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/nodestate"
	"github.com/inlay-project/inlay/oci-hook/bundle"
)

// pollPause is the time between two looks at ports that are in use.
const pollPause = 100 * time.Millisecond

// unrecorded is for a container without allocation record: Podman's, or a runtime that keeps annotations to itself. It
// goes by linux.devices alone.
func (g given) unrecorded(ctx context.Context) (string, []pair, error) {
	asks := region.Asks(g.env)
	var fmes []*fpga.FME // of who asks for functions, ports alone matter: a privileged container has the FMEs of sick cards too
	if !asks {
		var err error
		if fmes, err = g.ownFMEs(); err != nil {
			return "", nil, err
		}
	}
	s, err := nodestate.Read(g.p.RunDir)
	if err == nil && s.Mode == modeAF && !asks {
		return modeAF, nil, nil // what the ports are to hold is in no place that we can see
	}
	mode, err := g.mode(len(fmes) > 0)
	if err != nil {
		return "", nil, err
	}
	if mode == modeRegiondevel {
		pairs := make([]pair, len(fmes))
		for i, fme := range fmes {
			if pairs[i], err = foreign(fme); err != nil {
				return "", nil, err
			}
		}
		return mode, pairs, nil
	}
	wishes, err := region.Wishes(g.env)
	if err != nil {
		return "", nil, err
	}
	pairs, err := g.chosen(ctx, wishes)
	return mode, pairs, err
}

// ownFMEs gives the FMEs whose nodes the container was given.
func (g given) ownFMEs() ([]*fpga.FME, error) {
	var fmes []*fpga.FME
	seen := map[string]bool{}
	for _, d := range g.devices {
		name := path.Base(d.Path)
		if _, known := card.DriverOf(name); !known || card.IsPort(name) || seen[name] {
			continue
		}
		seen[name] = true
		fme, err := card.FindFME(g.p.Root, name)
		if err != nil {
			return nil, fmt.Errorf("%s%w", g.wanted(""), err)
		}
		if g.hasFME(fme) {
			fmes = append(fmes, fme)
		}
	}
	return fmes, nil
}

// chosen pairs functions and free ports, and waits for ports that are in use if it needs them.
func (g given) chosen(ctx context.Context, wishes []region.Wish) ([]pair, error) {
	for {
		var free free
		var pairs []pair
		err := g.choosing(ctx, func() error {
			var err error
			if free, err = g.free(wishes); err != nil {
				return err
			}
			if _, isShort := free.short(wishes); isShort {
				return nil
			}
			choices, err := region.PairSome(wishes, free.slots)
			if err != nil {
				return err
			}
			pairs = pairsOf(choices, free.cards)
			return g.claim(pairs, free.cards)
		})
		if err != nil || pairs != nil {
			return pairs, err
		}
		short, _ := free.short(wishes)
		if len(free.busy) == 0 {
			return nil, free.tooFew(wishes, short)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", free.tooFew(wishes, short), context.Cause(ctx))
		case <-time.After(pollPause):
		}
	}
}

// free are the ports of a container that nobody counted: each is a slot of its own.
type free struct {
	slots []region.Slot
	cards map[string]*fpga.FME // by port
	busy  []busy               // those of the interfaces asked for that somebody has open or has chosen
	unfit []string             // why other ports do not count
}

// busy is a port that another process has open, or that a container has chosen.
type busy struct {
	*fpga.Port
	iface  fpga.InterfaceID
	chosen claimant // zero: somebody has it open
}

// holder names who has it, for messages.
func (b busy) holder() string {
	if b.chosen != (claimant{}) {
		return fmt.Sprintf("the container of process %d", b.chosen.PID)
	}
	return region.Holder(b.Node, b.Dev)
}

// free gives the ports of linux.devices, in its order, that are what they claim to be and that nobody has open. A
// privileged container lists every port of the node: one that cannot be read is an error only if those before it are too
// few.
func (g given) free(wishes []region.Wish) (free, error) {
	f := free{cards: map[string]*fpga.FME{}}
	seen := map[string]bool{}
	for _, d := range g.devices {
		name := path.Base(d.Path)
		if !card.IsPort(name) || seen[name] {
			continue
		}
		seen[name] = true
		fme, port, err := card.FindPort(g.p.Root, name)
		switch {
		case err != nil && f.met(wishes):
			f.unfit = append(f.unfit, err.Error())
			continue
		case err != nil:
			return f, fmt.Errorf("%s%w", g.wanted(""), err)
		}
		chosen, isChosen := g.claimed(fme, name)
		switch {
		case !g.hasPort(*port) && !isChar(d):
			f.unfit = append(f.unfit, fmt.Sprintf("%s is %s in linux.devices, not a character device", name, kindOf(d)))
		case !g.hasPort(*port):
			f.unfit = append(f.unfit, fmt.Sprintf("%s is %s on this host, not %d:%d", name, port.Dev, d.Major, d.Minor))
		case fme.InterfaceErr != nil:
			f.unfit = append(f.unfit, fmt.Sprintf("%s: interface id of %s: %v", name, fme.Name, fme.InterfaceErr))
		case fme.Interface.AllOnes():
			f.unfit = append(f.unfit, fmt.Sprintf("%s: %s reads as all ones: the card does not answer", name, fme.Name))
		case !wished(wishes, fme.Interface):
			f.unfit = append(f.unfit, fmt.Sprintf("%s has interface %s", name, fme.Interface))
		case isChosen:
			f.busy = append(f.busy, busy{port, fme.Interface, chosen})
		case g.inUse(port):
			f.busy = append(f.busy, busy{Port: port, iface: fme.Interface})
		default:
			f.cards[name] = fme
			f.slots = append(f.slots, region.Slot{
				Device: name, Interface: fme.Interface, Ports: g.known().Candidates(fme, []fpga.Port{*port}, wishes),
			})
		}
	}
	return f, nil
}

// kindOf names the type of a device that is no character device.
func kindOf(d bundle.Device) string {
	switch d.Type {
	case "b":
		return "a block device"
	case "p":
		return "a FIFO"
	}
	return fmt.Sprintf("of type %.8q", d.Type)
}

// short gives the first wish for whose interface there are fewer free ports than functions asked for.
func (f free) short(wishes []region.Wish) (region.Wish, bool) {
	for _, w := range wishes {
		asked, have := f.count(wishes, w.Interface)
		if have < asked {
			return w, true
		}
	}
	return region.Wish{}, false
}

// met tells whether there are ports for all wishes, those counted that are in use now.
func (f free) met(wishes []region.Wish) bool {
	return !slices.ContainsFunc(wishes, func(w region.Wish) bool {
		asked, have := f.count(wishes, w.Interface)
		for _, b := range f.busy {
			if b.iface == w.Interface {
				have++
			}
		}
		return have < asked
	})
}

func (f free) count(wishes []region.Wish, i fpga.InterfaceID) (asked, have int) {
	for _, w := range wishes {
		if w.Interface == i {
			asked++
		}
	}
	for _, s := range f.slots {
		if s.Interface == i {
			have++
		}
	}
	return asked, have
}

func (f free) tooFew(wishes []region.Wish, short region.Wish) error {
	asked, have := f.count(wishes, short.Interface)
	return fmt.Errorf("function %s: %d free ports with interface %s are in linux.devices, %d functions are asked for%s",
		short.Function, have, short.Interface, asked, f.why())
}

// why tells what is wrong with the ports that do not count, of the first few.
func (f free) why() string {
	const few = 4
	var reasons []string
	for _, b := range f.busy {
		reasons = append(reasons, fmt.Sprintf("%s is in use by %s", b.Name, b.holder()))
	}
	reasons = append(reasons, f.unfit...)
	if len(reasons) == 0 {
		return ""
	}
	if more := len(reasons) - few; more > 0 {
		reasons = append(reasons[:few], fmt.Sprintf("%d more", more))
	}
	return " (" + strings.Join(reasons, "; ") + ")"
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
