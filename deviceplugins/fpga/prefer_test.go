package fpga_test

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// rack makes a host with cards of the given ports, "numa:ports numa:ports …", and gives its ports as devices.
func rack(t testing.TB, cards string) (h *host, devices []plugin.Device, cardOf map[string]int) {
	t.Helper()
	var list []string
	cardOf = map[string]int{}
	next := 0
	for i, c := range strings.Fields(cards) {
		var numa, ports int
		if _, err := fmt.Sscanf(c, "%d:%d", &numa, &ports); err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("dfl:ports=%d,numa=%d", ports, numa))
		for range ports {
			cardOf[fmt.Sprintf("dfl-port.%d", next)] = i
			next++
		}
	}
	h = newHost(t, fpga.ModeAF, fpga.GrantNRI, list...)
	devices = h.devices(afNLB0)
	if len(devices) != next {
		t.Fatalf("%d devices of %d ports", len(devices), next)
	}
	return h, devices, cardOf
}

func TestPreferredDevicesAreNearEachOther(t *testing.T) {
	for _, c := range []struct {
		name, cards string
		must        string
		busy        string
		size        int
		want        string
	}{
		{"one card where there is a whole one", "0:1 0:2 1:1", "", "", 2, "1 2"},
		{"the smallest card that suffices", "0:3 0:2", "", "", 2, "3 4"},
		{"one card rather than the smaller NUMA node", "0:1 0:1 1:2 1:1", "", "", 2, "2 3"},
		{"one NUMA node where no card suffices", "0:1 1:1 1:1", "", "", 2, "1 2"},
		{"what must be in, and its card", "0:2 1:2", "3", "", 2, "2 3"},
		{"what must be in, and its NUMA node", "0:2 1:1 1:1", "3", "", 2, "2 3"},
		{"all that must be in, however far apart", "0:2 1:2", "0 3", "", 2, "0 3"},
		{"busy ports do not count", "0:2 1:2", "", "1", 2, "2 3"},
		{"the largest first where none suffices", "0:1 1:2 2:3", "", "", 5, "1 2 3 4 5"},
		{"single ones come from the smallest card", "0:3 1:1", "", "", 1, "3"},
		{"no NUMA node known", "-1:1 -1:2", "", "", 2, "1 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, devices, _ := rack(t, c.cards)
			port := func(n string) string { return "dfl-port." + n }
			devices = slices.DeleteFunc(devices, func(d plugin.Device) bool {
				return slices.Contains(strings.Fields(c.busy), strings.TrimPrefix(d.ID, "dfl-port."))
			})
			var must []string
			for _, n := range strings.Fields(c.must) {
				must = append(must, port(n))
			}
			got, err := h.Prefer(afNLB0, devices, must, c.size)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			var want []string
			for _, n := range strings.Fields(c.want) {
				want = append(want, port(n))
			}
			if !slices.Equal(got, want) {
				t.Errorf("preferred %v, want %v", got, want)
			}
			slices.Reverse(devices)
			again, err := h.Prefer(afNLB0, devices, must, c.size)
			if slices.Sort(again); err != nil || !slices.Equal(again, got) {
				t.Errorf("of another order of the same: %v, %v", again, err)
			}
		})
	}
}

func TestAPreferenceThatCannotBeIsAnError(t *testing.T) {
	h, devices, _ := rack(t, "0:2")
	for name, c := range map[string]struct {
		must []string
		size int
	}{
		"more than there are":       {nil, 3},
		"must be in, not available": {[]string{"dfl-port.9"}, 1},
		"must be in twice":          {[]string{"dfl-port.0", "dfl-port.0"}, 2},
		"more must be in than fit":  {[]string{"dfl-port.0", "dfl-port.1"}, 1},
	} {
		if got, err := h.Prefer(afNLB0, devices, c.must, c.size); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Every choice of devices is tried: none that holds what must be in spans fewer NUMA nodes, and where one NUMA node
// beside those of must suffices, none of as few NUMA nodes spans fewer cards.
func TestNoChoiceIsBetterThanThePreferredOne(t *testing.T) {
	h, all, cardOf := rack(t, "0:2 0:1 1:3 1:1 2:2 2:1")
	r := rand.New(rand.NewPCG(1, 2))
	count := func(ids []plugin.Device) (numas, cards int) {
		n, c := map[string]bool{}, map[int]bool{}
		for _, d := range ids {
			n[fmt.Sprint(d.NUMA)] = true
			c[cardOf[d.ID]] = true
		}
		return len(n), len(c)
	}
	for range 300 {
		var available, must []plugin.Device
		var mustIDs []string
		for _, d := range all {
			if r.IntN(4) > 0 {
				available = append(available, d)
				if r.IntN(5) == 0 {
					must, mustIDs = append(must, d), append(mustIDs, d.ID)
				}
			}
		}
		if len(available) == 0 {
			continue
		}
		size := max(len(must), 1+r.IntN(len(available)))
		ids, err := h.Prefer(afNLB0, available, mustIDs, size)
		if err != nil {
			t.Fatal(err)
		}
		var chosen []plugin.Device
		for _, d := range available {
			if slices.Contains(ids, d.ID) {
				chosen = append(chosen, d)
			}
		}
		if len(chosen) != size || len(ids) != size {
			t.Fatalf("%d devices %v of %v where %d are wanted", len(chosen), ids, available, size)
		}
		numas, cards := count(chosen)
		fewestNUMA, fewestCards := best(available, must, size, count)
		mustNUMA, _ := count(must)
		if numas != fewestNUMA || fewestNUMA <= max(mustNUMA, 1) && mustNUMA <= 1 && cards != fewestCards {
			t.Errorf("available %v, must %v: %v spans %d NUMA nodes and %d cards, there is one of %d and %d",
				names(available), mustIDs, ids, numas, cards, fewestNUMA, fewestCards)
		}
	}
}

func names(devices []plugin.Device) (ids []string) {
	for _, d := range devices {
		ids = append(ids, d.ID)
	}
	return ids
}

// best tries all choices.
func best(available, must []plugin.Device, size int, count func([]plugin.Device) (int, int)) (numas, cards int) {
	numas, cards = 99, 99
	for set := range 1 << len(available) {
		if bits.OnesCount(uint(set)) != size {
			continue
		}
		var choice []plugin.Device
		found := 0
		for i, d := range available {
			if set>>i&1 == 0 {
				continue
			}
			choice = append(choice, d)
			if slices.Contains(names(must), d.ID) {
				found++
			}
		}
		if found < len(must) {
			continue
		}
		if n, c := count(choice); n < numas || n == numas && c < cards {
			numas, cards = n, c
		}
	}
	return numas, cards
}
