package qat

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
)

// Prefer implements plugin.Preferrer. What must be in is in, and the policy orders the rest:
//
//   - none: as they come.
//   - packed: in address order, which is card by card; cards that give a VF already go first, then VFs of their NUMA nodes.
//   - balanced: by function number, then by bus: the first function of each card before the second of any.
func (f *Family) Prefer(_ string, available []plugin.Device, must []string, size int) ([]string, error) {
	f.mu.Lock()
	policy, places := f.options.AllocationPolicy, f.places
	f.mu.Unlock()
	if len(must) > size || len(available) < size {
		return nil, fmt.Errorf("%d devices asked for, %d available of which %d must be in", size, len(available), len(must))
	}
	musts := make(map[string]bool, len(must))
	for _, id := range must {
		musts[id] = true
	}
	rest := make([]candidate, 0, len(available))
	cards, nodes := map[string]bool{}, map[string]bool{}
	for _, d := range available {
		if !musts[d.ID] {
			rest = append(rest, candidate{d: d})
			continue
		}
		cards[places[d.ID].card(d.ID)] = true
		nodes[fmt.Sprint(d.NUMA)] = true
	}
	switch policy {
	case PolicyPacked:
		for i := range rest {
			switch c := &rest[i]; {
			case len(must) == 0 || cards[places[c.d.ID].card(c.d.ID)]:
			case nodes[fmt.Sprint(c.d.NUMA)]:
				c.far = 1
			default:
				c.far = 2
			}
		}
		slices.SortFunc(rest, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(a.far, b.far), vfio.CompareAddresses(a.d.ID, b.d.ID))
		})
	case PolicyBalanced:
		slices.SortFunc(rest, func(a, b candidate) int { return compareFunctions(a.d.ID, b.d.ID) })
	case PolicyNone:
	}
	ids := slices.Clone(must)
	for _, c := range rest[:size-len(must)] {
		ids = append(ids, c.d.ID)
	}
	return ids, nil
}

// candidate is a VF that may be taken, and how far it is from those that are.
type candidate struct {
	d   plugin.Device
	far int
}

// card tells the VFs of one card from those of another: by their PF, in a virtual machine by their bus.
func (p place) card(address string) string {
	if p.pf != "" {
		return p.pf
	}
	return address[:max(0, strings.LastIndexByte(address, ':'))]
}

// compareFunctions orders addresses by device and function first, then by bus, then by domain.
func compareFunctions(a, b string) int {
	i, j := strings.LastIndexByte(a, ':'), strings.LastIndexByte(b, ':')
	if i < 2 || j < 2 {
		return strings.Compare(a, b)
	}
	return cmp.Or(strings.Compare(a[i:], b[j:]), strings.Compare(a[i-2:i], b[j-2:j]), vfio.CompareAddresses(a, b))
}
