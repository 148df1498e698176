package fpga_test

import (
	"fmt"
	"testing"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
)

func TestTheInterfaceIDsOfTheCardsAreThoseOfTheLastScan(t *testing.T) {
	const other = "bfac4d851ee856fe8c95865ce1bbaa2d"
	for name, c := range map[string]struct {
		cards  []string
		second string // the second card's id
		want   string
	}{
		"no card":          {nil, "", "false []"},
		"one":              {[]string{"dfl"}, "", "true [" + iface + "]"},
		"two of one kind":  {[]string{"dfl", "dfl"}, iface, "true [" + iface + "]"},
		"two kinds":        {[]string{"dfl", "dfl"}, other, "true [" + iface + " " + other + "]"},
		"one of them sick": {[]string{"dfl", "dfl"}, ones, "true [" + iface + "]"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, c.cards...)
			if len(c.cards) > 1 {
				h.setInterface("dfl-fme.1", c.second)
			}
			if cards, ids := h.Interfaces(); cards || len(ids) > 0 {
				t.Errorf("before any scan: %v %v", cards, ids)
			}
			h.scan()
			cards, ids := h.Interfaces()
			if got := fmt.Sprint(cards, ids); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	h.setInterface("dfl-fme.0", ones)
	h.scan()
	if cards, ids := h.Interfaces(); !cards || len(ids) > 0 {
		t.Errorf("a sick card alone: %v %v", cards, ids)
	}
}
