package fpga

import (
	"fmt"
	"slices"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// Prefer implements plugin.Preferrer: what must be in is in; the rest is near it, on the same NUMA node, and in af mode
// on the same card. Where there is a choice the smallest group that suffices is taken, so that larger ones stay whole.
func (f *Family) Prefer(_ string, available []plugin.Device, must []string, size int) ([]string, error) {
	f.mu.Lock()
	cards := f.cards
	f.mu.Unlock()
	byID := map[string]plugin.Device{}
	for _, d := range available {
		byID[d.ID] = d
	}
	var chosen, free []plugin.Device
	for _, id := range must {
		d, ok := byID[id]
		if !ok {
			return nil, fmt.Errorf("device %s must be in and is not available", id)
		}
		chosen = append(chosen, d)
		delete(byID, id)
	}
	for _, d := range available {
		if _, ok := byID[d.ID]; ok {
			free = append(free, d)
		}
	}
	if len(chosen) > size || len(chosen)+len(free) < size {
		return nil, fmt.Errorf("%d devices asked for, %d of %d must be in", size, len(chosen), len(available))
	}
	numa := func(d plugin.Device) string { return fmt.Sprint(d.NUMA) }
	fme := func(d plugin.Device) string { return cards[d.ID].address }
	chosen = fill(chosen, free, size, numa, fme)
	ids := make([]string, len(chosen))
	for i, d := range chosen {
		ids[i] = d.ID
	}
	return ids, nil
}

// fill adds devices until there are size, group by group: near the chosen ones first, else from the smallest group that
// suffices, else from the largest. Within a group the next criterion orders.
func fill(chosen, free []plugin.Device, size int, by ...func(plugin.Device) string) []plugin.Device {
	if len(by) == 0 {
		return append(chosen, free[:min(size-len(chosen), len(free))]...)
	}
	groups := group(free, by[0])
	for len(chosen) < size && len(groups) > 0 {
		i := nearest(groups, chosen, size-len(chosen), by[0])
		chosen = fill(chosen, groups[i], min(size, len(chosen)+len(groups[i])), by[1:]...)
		groups = slices.Delete(groups, i, i+1)
	}
	return chosen
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

// nearest picks the group to take from next.
func nearest(groups [][]plugin.Device, chosen []plugin.Device, want int, key func(plugin.Device) string) int {
	best := 0
	for i, g := range groups {
		for _, c := range chosen {
			if key(c) == key(g[0]) {
				return i
			}
		}
		if better(len(g), len(groups[best]), want) {
			best = i
		}
	}
	return best
}

// better tells whether a group of a devices suits a want better than one of b.
func better(a, b, want int) bool {
	if (a >= want) != (b >= want) {
		return a >= want
	}
	if a >= want {
		return a < b
	}
	return a > b
}
