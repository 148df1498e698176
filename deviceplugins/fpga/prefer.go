package fpga

import (
	"fmt"
	"slices"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// Prefer implements plugin.Preferrer: what must be in is in; the rest comes from as few NUMA nodes as there can be, and in
// af mode from as few cards. Where there is a choice the smallest group that suffices is taken, so that larger ones stay
// whole.
func (f *Family) Prefer(_ string, available []plugin.Device, must []string, size int) ([]string, error) {
	f.mu.Lock()
	places := f.places // replaced as a whole, never changed
	f.mu.Unlock()
	var chosen, free []plugin.Device
	// The kubelet's order is random; the same question has the same answer.
	available = slices.SortedFunc(slices.Values(available), func(a, b plugin.Device) int { return strings.Compare(a.ID, b.ID) })
	for _, d := range available {
		if slices.Contains(must, d.ID) {
			chosen = append(chosen, d)
		} else {
			free = append(free, d)
		}
	}
	if len(chosen) != len(must) {
		return nil, fmt.Errorf("of %v, which must be in, only %d are available", must, len(chosen))
	}
	if len(chosen) > size || len(available) < size {
		return nil, fmt.Errorf("%d devices asked for, %d available of which %d must be in", size, len(available), len(chosen))
	}
	p := preference{
		numa: func(d plugin.Device) string { return fmt.Sprint(d.NUMA) },
		card: func(d plugin.Device) string { return places[d.ID].address },
	}
	ids := make([]string, 0, size)
	for _, d := range p.fill(chosen, free, size) {
		ids = append(ids, d.ID)
	}
	return ids, nil
}

// preference is what devices are told apart by. A card has one NUMA node.
type preference struct{ numa, card func(plugin.Device) string }

// fill adds devices until there are size.
func (p preference) fill(chosen, free []plugin.Device, size int) []plugin.Device {
	near, far := beside(chosen, free, p.numa)
	chosen = p.fromCards(chosen, near, size)
	groups := group(far, p.numa)
	for len(chosen) < size {
		want := size - len(chosen)
		i := least(groups, func(g []plugin.Device) [2]int {
			if len(g) < want {
				return [2]int{len(far), -len(g)} // none of those suffices: the largest leaves the fewest to come
			}
			return [2]int{p.cards(g, want), len(g)}
		})
		chosen = p.fromCards(chosen, groups[i], size)
		groups = slices.Delete(groups, i, i+1)
	}
	return chosen
}

// fromCards adds devices of one or several NUMA nodes until there are size or none is left.
func (p preference) fromCards(chosen, free []plugin.Device, size int) []plugin.Device {
	near, far := beside(chosen, free, p.card)
	chosen = append(chosen, near[:min(size-len(chosen), len(near))]...)
	groups := group(far, p.card)
	for len(chosen) < size && len(groups) > 0 {
		want := size - len(chosen)
		i := least(groups, func(g []plugin.Device) [2]int {
			if len(g) < want {
				return [2]int{1, -len(g)}
			}
			return [2]int{0, len(g)}
		})
		chosen = append(chosen, groups[i][:min(want, len(groups[i]))]...)
		groups = slices.Delete(groups, i, i+1)
	}
	return chosen
}

// cards is how many cards want devices of a group take at least.
func (p preference) cards(g []plugin.Device, want int) int {
	taken := p.fromCards(nil, g, want)
	return len(group(taken, p.card))
}

// beside splits devices into those that share a criterion with a chosen one and the others.
func beside(chosen, free []plugin.Device, key func(plugin.Device) string) (near, far []plugin.Device) {
	keys := map[string]bool{}
	for _, d := range chosen {
		keys[key(d)] = true
	}
	for _, d := range free {
		if keys[key(d)] {
			near = append(near, d)
		} else {
			far = append(far, d)
		}
	}
	return near, far
}

// group splits devices by a criterion; groups and devices keep their order.
func group(devices []plugin.Device, key func(plugin.Device) string) [][]plugin.Device {
	var groups [][]plugin.Device
	at := map[string]int{}
	for _, d := range devices {
		i, ok := at[key(d)]
		if !ok {
			i = len(groups)
			at[key(d)] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], d)
	}
	return groups
}

// least gives the index of the group with the least cost, the first of equals.
func least(groups [][]plugin.Device, cost func([]plugin.Device) [2]int) int {
	best, lowest := 0, cost(groups[0])
	for i, g := range groups[1:] {
		if c := cost(g); slices.Compare(c[:], lowest[:]) < 0 {
			best, lowest = i+1, c
		}
	}
	return best
}
