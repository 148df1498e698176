package gpu

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/internal/pciaddr"
)

func FuzzIDs(f *testing.F) {
	for _, seed := range []string{"", "0x56c0", "0x56c0,0x4905", " 0x56c0 ,0x0000", "0x56C0", "0x56c", ",", "0x56c0,", "0X56c0", "0x-56c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got, err := parseIDs(list)
		if err != nil {
			if len(got) > 0 {
				t.Errorf("%q: an error and %q", list, got)
			}
			return
		}
		for _, id := range got {
			if n, err := strconv.ParseUint(strings.TrimPrefix(id, "0x"), 16, 16); err != nil || len(id) != 6 || strings.ToLower(id) != id || !strings.Contains(list, id) {
				t.Errorf("%q holds the id %q, %d", list, id, n)
			}
		}
		if want := strings.Count(list, ",") + 1; list != "" && len(got) != want {
			t.Errorf("%q: %d ids of %d", list, len(got), want)
		}
		if again, err := parseIDs(strings.Join(got, ",")); err != nil || !slices.Equal(got, again) {
			t.Errorf("%q: %q is read as %q, %v", list, got, again, err)
		}
	})
}

func FuzzNamesOfDRMDevices(f *testing.F) {
	for _, seed := range []string{"card0", "card10", "card", "card-1", "card0-DP-1", "card1 ", "renderD128", "controlD64", "controlD", "version", "card99999999999999999999", "card٣"} {
		f.Add(seed, "pci-0000:00:02.0-card")
	}
	f.Add("card0", "pci-0000:00:02.0")
	f.Add("0000:00:00.0//drm/card0", "")
	f.Add("0000:00:00.0", "0")
	f.Add("/sys/devices/pci0000:00/0000:00:02.0/drm/card0", "pci-10000:00:02.0-render")
	f.Fuzz(func(t *testing.T, name, link string) {
		if n, ok := cardNumber(name); ok && (n < 0 || strings.TrimLeft(name, "card0") != strings.TrimLeft(strconv.Itoa(n), "0")) {
			t.Errorf("%q is card %d", name, n)
		}
		if _, ok := cardNumber(name); ok && (isControl(name) || cardOf(name) != name) {
			t.Errorf("%q is a card and something else", name)
		}
		// The path of a card, or of its device.
		if a := addressOf(name, "card0"); a != "" && (!pciaddr.Valid(a) || path.Base(strings.TrimSuffix(path.Clean(name), "/drm/card0")) != a) {
			t.Errorf("%q has the address %q", name, a)
		}
		if belongs(link, "") {
			t.Errorf("%q belongs to a card without address", link)
		}
		const address = "0000:00:02.0"
		if belongs(link, address) && !strings.Contains(link, address) {
			t.Errorf("%q belongs to %s", link, address)
		}
		if a, b := natural(name, link), natural(link, name); a != -b {
			t.Errorf("natural order of %q and %q: %d, %d", name, link, a, b)
		}
		if isFolderOfLinks(name) && strings.ContainsAny(name, "/") && !strings.Contains(name, "~") {
			t.Errorf("%q would be removed", name)
		}
	})
}
