package gpu

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// Prefer implements plugin.Preferrer: what has to be included comes first, the rest as the allocation policy says. Among
// cards that are the same to it the one nearest to what has to be included comes next, and of several the first in natural
// order; without a policy the first in the kubelet's order, which is random, so that containers spread over the cards.
func (f *Family) Prefer(_ string, available []plugin.Device, must []string, size int) ([]string, error) {
	f.mu.Lock()
	policy, places := f.o.AllocationPolicy, f.places
	f.mu.Unlock()
	if size > len(available) || len(must) > size {
		return nil, fmt.Errorf("%d of %d devices are wanted, %d of them certain ones", size, len(available), len(must))
	}
	if len(must) == 0 && policy != PolicyPacked {
		places = nil // nothing to be near to
	}
	if policy == PolicyNone {
		ids := given(available)
		s := newSelection(ids, must, size)
		s.spread(newNeighbourhood(s.stacks, places), ids)
		return s.picked, nil
	}
	s := newSelection(inOrder(available), must, size)
	if policy == PolicyBalanced {
		s.balance(newNeighbourhood(s.stacks, places))
	} else {
		s.pack(newNeighbourhood(s.stacks, places))
	}
	return s.picked, nil
}

// stack is what is free of one card, in the selection's order.
type stack struct {
	card  string
	free  []string
	used  int  // how many of its devices are picked
	first bool // one of them has to be included
}

// selection is a preference in the making.
type selection struct {
	stacks []*stack // in the order of their first devices
	picked []string
	size   int
}

func newSelection(ids, must []string, size int) *selection {
	certain := make(map[string]bool, len(must))
	for _, id := range must {
		certain[id] = true
	}
	s := &selection{size: size, picked: slices.Clone(must)}
	cards := map[string]*stack{}
	for _, id := range ids {
		card := cardOf(id)
		at := cards[card]
		if at == nil {
			at = &stack{card: card}
			cards[card], s.stacks = at, append(s.stacks, at)
		}
		if certain[id] {
			at.used, at.first = at.used+1, true
		} else {
			at.free = append(at.free, id)
		}
	}
	return s
}

// given are the ids of devices as they come.
func given(devices []plugin.Device) []string {
	ids := make([]string, len(devices))
	for i := range devices {
		ids[i] = devices[i].ID
	}
	return ids
}

// inOrder gives the ids of devices in natural order. Ours are compared by their numbers, read once: there may be thousands.
func inOrder(devices []plugin.Device) []string {
	type key struct {
		id          string
		card, share int
		ours        bool
	}
	keys := make([]key, len(devices))
	for i := range devices {
		k := key{id: devices[i].ID}
		card, share, _ := strings.Cut(k.id, "-")
		n, ok := cardNumber(card)
		m, err := strconv.Atoi(share)
		k.card, k.share, k.ours = n, m, ok && err == nil
		keys[i] = k
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.ours && b.ours && (a.card != b.card || a.share != b.share) {
			return cmp.Or(cmp.Compare(a.card, b.card), cmp.Compare(a.share, b.share))
		}
		return natural(a.id, b.id)
	})
	ids := make([]string, len(keys))
	for i := range keys {
		ids[i] = keys[i].id
	}
	return ids
}

func (s *selection) left() int { return s.size - len(s.picked) }

// take picks the next free devices of a card, n at most.
func (s *selection) take(from *stack, n int) {
	n = min(n, len(from.free), s.left())
	s.picked = append(s.picked, from.free[:n]...)
	from.free = from.free[n:]
	from.used += n
}

// begin makes the cards of what has to be included those that the others are near to. It tells whether there are any.
func (s *selection) begin(near *neighbourhood) (certain bool) {
	for i, st := range s.stacks {
		if st.first {
			near.joined(i)
			certain = true
		}
	}
	return certain
}

// spread takes a device of each card that has none yet, each time of the nearest to those before, then the other ids as
// they come.
func (s *selection) spread(near *neighbourhood, ids []string) {
	s.begin(near)
	for i := near.next(); i >= 0 && s.left() > 0; i = near.next() {
		s.take(s.stacks[i], 1)
		near.joined(i)
	}
	picked := make(map[string]bool, s.size)
	for _, id := range s.picked {
		picked[id] = true
	}
	for _, id := range ids {
		if s.left() > 0 && !picked[id] {
			s.picked = append(s.picked, id)
		}
	}
}

// balance takes from the card with the most free shares, again and again, and of several from the nearest to those before.
func (s *selection) balance(near *neighbourhood) {
	s.begin(near)
	for s.left() > 0 {
		most := 0
		for i, st := range s.stacks {
			if c := cmp.Compare(len(st.free), len(s.stacks[most].free)); c > 0 || c == 0 && near.to[i] > near.to[most] {
				most = i
			}
		}
		s.take(s.stacks[most], 1)
		near.joined(most)
	}
}

// pack fills one card, and then the cards nearest to those that it has. It begins at the cards of what has to be
// included; else at the fullest card that has room for all, so that a card which is free stays free; else in the nearest
// neighbourhood that has, at the card with the most room.
func (s *selection) pack(near *neighbourhood) {
	certain := s.begin(near)
	for _, st := range s.stacks {
		if st.first {
			s.take(st, s.left())
		}
	}
	if !certain && s.left() > 0 {
		i := s.start(near)
		s.take(s.stacks[i], s.left())
		near.joined(i)
	}
	for s.left() > 0 {
		i := near.next()
		s.take(s.stacks[i], s.left())
		near.joined(i)
	}
}

// start is the card to begin with.
func (s *selection) start(near *neighbourhood) int {
	members := near.smallest(s.left())
	best := members[0]
	for _, i := range members[1:] {
		a, b := len(s.stacks[i].free), len(s.stacks[best].free)
		fitsA, fitsB := a >= s.left(), b >= s.left()
		switch {
		case fitsA != fitsB:
			if fitsA {
				best = i
			}
		case fitsA && a < b, !fitsA && a > b:
			best = i
		}
	}
	return best
}

// neighbourhood knows how near the cards are to one another and to those that were picked. Two cards are the nearer the
// longer the part of the PCI tree that they have in common (a switch, a root port, a root complex); after that comes the
// same NUMA node.
type neighbourhood struct {
	stacks []*stack
	path   [][]int // of each card, from the root complex down to its parent, as numbers
	numa   []int   // of each card, as a number; 0 where it is not known
	done   []bool
	to     []int // closeness to what was picked
}

func newNeighbourhood(stacks []*stack, places map[string]place) *neighbourhood {
	n := &neighbourhood{
		stacks: stacks, path: make([][]int, len(stacks)), numa: make([]int, len(stacks)),
		done: make([]bool, len(stacks)), to: make([]int, len(stacks)),
	}
	names, nodes := map[string]int{}, map[string]int{}
	for i, st := range stacks {
		p := places[st.card]
		for _, folder := range ancestors(p.sysPath) {
			n.path[i] = append(n.path[i], number(names, folder))
		}
		if len(p.numa) > 0 {
			n.numa[i] = number(nodes, fmt.Sprint(p.numa))
		}
	}
	return n
}

// number gives each text a number, from 1.
func number(known map[string]int, text string) int {
	if known[text] == 0 {
		known[text] = len(known) + 1
	}
	return known[text]
}

// ancestors are the folders above a device in the PCI tree, the topmost first.
func ancestors(sysPath string) (folders []string) {
	const above = len("/sys/devices/")
	for i := above; i < len(sysPath); i++ {
		if sysPath[i] == '/' {
			folders = append(folders, sysPath[:i])
		}
	}
	return folders
}

// closeness of two cards: 0 is none, 1 the same NUMA node, more the number of folders in common.
func (n *neighbourhood) closeness(a, b int) int {
	common := 0
	for common < min(len(n.path[a]), len(n.path[b])) && n.path[a][common] == n.path[b][common] {
		common++
	}
	switch {
	case common > 0:
		return 1 + common
	case n.numa[a] != 0 && n.numa[a] == n.numa[b]:
		return 1
	}
	return 0
}

// joined makes a card one of those that the others are near to. It is near to none itself: of equals another one is
// better.
func (n *neighbourhood) joined(card int) {
	if n.done[card] {
		return
	}
	n.done[card], n.to[card] = true, 0
	for i := range n.stacks {
		if !n.done[i] {
			n.to[i] = max(n.to[i], n.closeness(card, i))
		}
	}
}

// next is the nearest of the other cards that have anything free, -1 where none has.
func (n *neighbourhood) next() int {
	best := -1
	for i, st := range n.stacks {
		if !n.done[i] && len(st.free) > 0 && (best < 0 || n.to[i] > n.to[best]) {
			best = i
		}
	}
	return best
}

// smallest gives the cards of the closest neighbourhood with so many free devices: a single card, a folder of the PCI
// tree, a NUMA node, else all. Of several of a kind it is the one with the fewest free, so that the others stay whole.
func (n *neighbourhood) smallest(size int) []int {
	const (
		all = iota
		sameNUMA
		samePCI
		single
	)
	type group struct{ kind, name int }
	members, free := map[group][]int{}, map[group]int{}
	add := func(g group, i int) {
		members[g] = append(members[g], i)
		free[g] += len(n.stacks[i].free)
	}
	for i := range n.stacks {
		add(group{single, i}, i)
		for _, folder := range n.path[i] {
			add(group{samePCI, folder}, i)
		}
		if n.numa[i] != 0 {
			add(group{sameNUMA, n.numa[i]}, i)
		}
		add(group{kind: all}, i)
	}
	var best group
	for g, has := range free {
		if has >= size && cmp.Or(cmp.Compare(g.kind, best.kind), cmp.Compare(free[best], has), cmp.Compare(members[best][0], members[g][0])) > 0 {
			best = g
		}
	}
	return members[best]
}
