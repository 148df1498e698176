package region

import (
	"fmt"

	"github.com/inlay-project/inlay/fpga"
)

// Wish is one function that a container asks for, on an FME of one interface.
type Wish struct {
	Interface fpga.InterfaceID
	Function  fpga.FunctionID
}

// Slot is one device that a container was given: it can take one function, in any one of its ports.
type Slot struct {
	Device    string // for messages: "dfl-fme.0"
	Interface fpga.InterfaceID
	Ports     []Candidate // by port number
}

// Candidate is a port and the function that it is known to hold, "" if that is not known.
type Candidate struct {
	Port   string
	Loaded fpga.FunctionID
}

// Choice says which port is to hold a wish's function.
type Choice struct {
	Wish
	Device, Port string
}

// Pair gives every wish a slot of its interface and a port in it, so that as many as possible hold their function
// already; the rest go in order, to the lowest port. The result is in the order of wishes and depends on nothing but
// the arguments. It fails if the number of wishes for an interface is not the number of its slots.
func Pair(wishes []Wish, slots []Slot) ([]Choice, error) {
	if err := numbers(wishes, slots, func(asked, given int) bool { return asked == given }); err != nil {
		return nil, err
	}
	return assign(wishes, slots)
}

// PairSome is Pair for a container that may have more slots than wishes: one whose devices nobody counted.
func PairSome(wishes []Wish, slots []Slot) ([]Choice, error) {
	if err := numbers(wishes, slots, func(asked, given int) bool { return asked <= given }); err != nil {
		return nil, err
	}
	return assign(wishes, slots)
}

func assign(wishes []Wish, slots []Slot) ([]Choice, error) {
	m := matching{wishes: wishes, slots: slots, wishOf: make([]int, len(slots))}
	for s := range m.wishOf {
		m.wishOf[s] = none
	}
	for w := range wishes {
		m.place(w, make([]bool, len(slots)))
	}
	choices := make([]Choice, len(wishes))
	placed := make([]bool, len(wishes))
	for s, w := range m.wishOf {
		if w != none {
			port, _ := loadedPort(slots[s], wishes[w].Function)
			choices[w], placed[w] = Choice{Wish: wishes[w], Device: slots[s].Device, Port: port}, true
		}
	}
	for w, wish := range wishes {
		if placed[w] {
			continue
		}
		s, err := m.free(wish.Interface)
		if err != nil {
			return nil, err
		}
		m.wishOf[s] = w
		choices[w] = Choice{Wish: wish, Device: slots[s].Device, Port: slots[s].Ports[0].Port}
	}
	return choices, nil
}

// numbers holds the wishes against the slots, interface by interface, in the order of their first mention.
func numbers(wishes []Wish, slots []Slot, fits func(asked, given int) bool) error {
	var order []fpga.InterfaceID
	asked, given := map[fpga.InterfaceID]int{}, map[fpga.InterfaceID]int{}
	note := func(i fpga.InterfaceID) {
		if asked[i] == 0 && given[i] == 0 {
			order = append(order, i)
		}
	}
	for _, w := range wishes {
		note(w.Interface)
		asked[w.Interface]++
	}
	for _, s := range slots {
		note(s.Interface)
		given[s.Interface]++
		if len(s.Ports) == 0 {
			return fmt.Errorf("device %s has no port that can be used", s.Device)
		}
	}
	for _, i := range order {
		if !fits(asked[i], given[i]) {
			return fmt.Errorf("interface %s: %d functions asked for, %d devices allocated", i, asked[i], given[i])
		}
	}
	return nil
}

const none = -1

// matching assigns wishes to slots that hold their function already: a maximum bipartite matching by augmenting paths.
type matching struct {
	wishes []Wish
	slots  []Slot
	wishOf []int // slot → wish or none
}

// place finds a slot for wish w, moving earlier wishes to other slots that suit them as well.
func (m *matching) place(w int, seen []bool) bool {
	for s, slot := range m.slots {
		if seen[s] || slot.Interface != m.wishes[w].Interface {
			continue
		}
		if _, ok := loadedPort(slot, m.wishes[w].Function); !ok {
			continue
		}
		seen[s] = true
		if m.wishOf[s] == none || m.place(m.wishOf[s], seen) {
			m.wishOf[s] = w
			return true
		}
	}
	return false
}

// free gives the first slot of an interface that no wish has.
func (m *matching) free(i fpga.InterfaceID) (int, error) {
	for s, w := range m.wishOf {
		if w == none && m.slots[s].Interface == i {
			return s, nil
		}
	}
	return 0, fmt.Errorf("interface %s: no device is left", i) // numbers has ruled it out
}

func loadedPort(s Slot, fn fpga.FunctionID) (string, bool) {
	for _, c := range s.Ports {
		if c.Loaded == fn {
			return c.Port, true
		}
	}
	return "", false
}
