package gpu

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// Two sockets. On the first a switch with card0 and card1 and another root port with card2; on the second card3 and
// card10 behind one switch, card4 behind another of the same root port. card5 says its NUMA node only.
var places = map[string]place{
	"card0":  {sysPath: "/sys/devices/pci0000:10/0000:10:00.0/0000:11:00.0/0000:12:00.0", numa: []int{0}},
	"card1":  {sysPath: "/sys/devices/pci0000:10/0000:10:00.0/0000:11:00.0/0000:13:00.0", numa: []int{0}},
	"card2":  {sysPath: "/sys/devices/pci0000:20/0000:20:00.0/0000:21:00.0", numa: []int{0}},
	"card3":  {sysPath: "/sys/devices/pci0000:80/0000:80:00.0/0000:81:00.0/0000:82:00.0/0000:84:00.0", numa: []int{1}},
	"card10": {sysPath: "/sys/devices/pci0000:80/0000:80:00.0/0000:81:00.0/0000:82:00.0/0000:85:00.0", numa: []int{1}},
	"card4":  {sysPath: "/sys/devices/pci0000:80/0000:80:00.0/0000:81:00.0/0000:83:00.0/0000:86:00.0", numa: []int{1}},
	"card5":  {numa: []int{1}},
}

// available reads "card0*3 card2 card1-4" as card0-0, card0-1, card0-2, card2-0, card1-4.
func available(t testing.TB, text string) (devices []plugin.Device) {
	t.Helper()
	for _, field := range strings.Fields(text) {
		card, n := field, 1
		if at := strings.IndexByte(field, '*'); at > 0 {
			card = field[:at]
			if _, err := fmt.Sscan(field[at+1:], &n); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(card, "-") {
			devices = append(devices, plugin.Device{ID: card})
			continue
		}
		devices = share(devices, plugin.Device{}, card, n)
	}
	return devices
}

// shuffled are 4 cards with 5 shares each, in an order as the kubelet's.
const shuffled = "card0-4 card0-2 card1-1 card2-3 card2-4 card2-1 card1-0 card1-4 card3-4 card1-2 card0-1 card2-0 card2-2 card1-3 card3-0 card3-3 card0-3 card0-0 card3-1 card3-2"

func TestPreference(t *testing.T) {
	for name, c := range map[string]struct {
		policy, available, must string
		size                    int
		want                    string
	}{
		"none: a card for each":                    {"none", "card0*2 card1*2 card2*2", "", 3, "card0-0 card1-0 card2-0"},
		"none: then the rest in order":             {"none", "card0*3 card2*2", "", 4, "card0-0 card2-0 card0-1 card0-2"},
		"none: as they come":                       {"none", "card10 card2 card1", "", 2, "card10-0 card2-0"},
		"none: the first of each as they come":     {"none", shuffled, "", 4, "card0-4 card1-1 card2-3 card3-4"},
		"none: the rest as they come":              {"none", shuffled, "", 6, "card0-4 card1-1 card2-3 card3-4 card0-2 card2-4"},
		"none: fewer cards than devices":           {"none", "card0-1 card0-2 card0-3 card1-1", "", 3, "card0-1 card1-1 card0-2"},
		"none: the rest beside a certain one":      {"none", shuffled, "card2-4", 5, "card2-4 card0-4 card1-1 card3-4 card0-2"},
		"none: a certain one has its card":         {"none", "card0*2 card1*2", "card0-1", 2, "card0-1 card1-0"},
		"none: near what is certain":               {"none", "card0 card2 card3 card4 card10", "card10-0", 3, "card10-0 card3-0 card4-0"},
		"none: near nothing, as they come":         {"none", "card2 card3*2 card4 card10", "", 3, "card2-0 card3-0 card4-0"},
		"none: the same NUMA node":                 {"none", "card0 card3 card5", "card5-0", 2, "card5-0 card3-0"},
		"none: unknown places as they come":        {"none", "card10 card20 card21 card3", "card21-0", 3, "card21-0 card10-0 card3-0"},
		"none: only certain ones":                  {"none", "card0*2 card1*2", "card1-1 card0-1", 2, "card1-1 card0-1"},
		"balanced: the most free":                  {"balanced", "card0*1 card1*3 card2*2", "", 3, "card1-0 card1-1 card2-0"},
		"balanced: of equals another one":          {"balanced", "card3*2 card4*3", "card4-0", 2, "card4-0 card3-0"},
		"balanced: near nothing, natural order":    {"balanced", "card0*2 card10*2 card3*3", "", 2, "card3-0 card0-0"},
		"balanced: ties in natural order":          {"balanced", "card10*2 card2*2", "", 2, "card2-0 card10-0"},
		"balanced: what is certain is not free":    {"balanced", "card0*3 card1*3", "card0-0", 2, "card0-0 card1-0"},
		"balanced: all":                            {"balanced", "card0*2 card1", "", 3, "card0-0 card0-1 card1-0"},
		"balanced: of equals the same switch":      {"balanced", "card0*2 card10*2 card3*2 card4*2", "card10-1", 3, "card10-1 card3-0 card4-0"},
		"balanced: of equals the same NUMA node":   {"balanced", "card0*2 card3*2 card5*2", "card5-1", 2, "card5-1 card3-0"},
		"balanced: the most free, not the nearest": {"balanced", "card0*3 card10*2 card3*2", "card10-1", 2, "card10-1 card0-0"},
		"packed: one card, the fullest that does":  {"packed", "card0*4 card1*2 card2*3", "", 2, "card1-0 card1-1"},
		"balanced: by number, not as they come":    {"balanced", shuffled, "", 4, "card0-0 card1-0 card2-0 card3-0"},
		"packed: by number, not as they come":      {"packed", shuffled, "", 4, "card0-0 card0-1 card0-2 card0-3"},
		"packed: natural order":                    {"packed", "card10 card2", "", 1, "card2-0"},
		"packed: the same switch":                  {"packed", "card0 card2 card10 card3 card4", "", 2, "card3-0 card10-0"},
		"packed: the same root port":               {"packed", "card0 card2 card10 card3 card4", "", 3, "card3-0 card10-0 card4-0"},
		"packed: then the same NUMA node":          {"packed", "card0 card3 card4 card5", "", 3, "card3-0 card4-0 card5-0"},
		"packed: a switch that fits exactly":       {"packed", "card0*2 card1*2 card3*3 card10*3", "", 4, "card0-0 card0-1 card1-0 card1-1"},
		"packed: the roomiest card first":          {"packed", "card3*1 card10*2 card4*1", "", 3, "card10-0 card10-1 card3-0"},
		"packed: at what is certain":               {"packed", "card0*4 card1 card10*2 card3*2", "card10-1", 4, "card10-1 card10-0 card3-0 card3-1"},
		"packed: near what is certain":             {"packed", "card0*4 card2 card1*4 card4", "card0-0 card0-1 card0-2 card0-3", 5, "card0-0 card0-1 card0-2 card0-3 card1-0"},
		"packed: over everything":                  {"packed", "card0 card2 card3", "", 3, "card0-0 card2-0 card3-0"},
		"packed: cards of unknown places":          {"packed", "card20 card21 card3 card10", "", 2, "card3-0 card10-0"},
		"the observer's":                           {"packed", "", "", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := family(t, empty(t), parse(t, "--gpu-allocation-policy="+c.policy))
			f.places = places
			before := available(t, c.available)
			given := slices.Clone(before)
			got, err := f.Prefer("gpu.intel.com/xe", given, strings.Fields(c.must), c.size)
			if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("%v, %v; want %s", got, err, c.want)
			}
			if diff := cmp.Diff(before, given); diff != "" {
				t.Errorf("the engine's list was changed:\n%s", diff)
			}
			if c.policy == "none" {
				return
			}
			slices.Reverse(given)
			if again, err := f.Prefer("gpu.intel.com/xe", given, strings.Fields(c.must), c.size); err != nil || !slices.Equal(got, again) {
				t.Errorf("of another order of the same: %v, %v", again, err)
			}
		})
	}
}

// G4: what had to be included was not, and card10 came before card2. Whatever the question, the answer is one that the
// kubelet takes, or an error.
func TestEveryPreferenceIsValid_G4(t *testing.T) {
	cards := []string{"card0", "card1", "card2", "card3", "card10", "card4", "card5", "card77"}
	for _, policy := range []string{"none", "balanced", "packed"} {
		f := family(t, empty(t), parse(t, "--gpu-allocation-policy="+policy))
		f.places = places
		for seed := range 300 {
			var text []string
			for i, card := range cards {
				if n := (seed*7 + i*i*3) % 5; n > 0 {
					text = append(text, fmt.Sprintf("%s*%d", card, n))
				}
			}
			devices := available(t, strings.Join(text, " "))
			must := []string{}
			for i := seed % 4; i > 0 && i*3 < len(devices); i-- {
				must = append(must, devices[i*3].ID)
			}
			for size := len(must); size <= len(devices); size++ {
				got, err := f.Prefer("gpu.intel.com/xe", devices, must, size)
				sorted := slices.Sorted(slices.Values(got))
				if err != nil || len(got) != size || len(slices.Compact(sorted)) != size || !cmp.Equal(got[:len(must)], must) {
					t.Fatalf("%s of %v with %v, %d: %v, %v", policy, text, must, size, got, err)
				}
			}
			for _, wrong := range []int{len(devices) + 1, len(must) - 1} {
				if _, err := f.Prefer("gpu.intel.com/xe", devices, must, wrong); err == nil {
					t.Fatalf("%d of %d, %d certain: no error", wrong, len(devices), len(must))
				}
			}
		}
	}
}

func TestNaturalOrder(t *testing.T) {
	want := []string{"", "all", "card", "card2", "card2-0", "card2-2", "card2-10", "card02", "card10-1", "cards", "x1y2", "x1y10"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, natural)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The promise is 64 of 1,024 in 5 ms: of 64 cards with 16 shares each, and of 1,024 cards.
func BenchmarkPrefer(b *testing.B) {
	for _, c := range []struct{ cards, shares int }{{64, 16}, {1024, 1}} {
		var text []string
		at := map[string]place{}
		for i := range c.cards {
			card := fmt.Sprintf("card%d", i)
			text = append(text, fmt.Sprintf("%s*%d", card, c.shares))
			at[card] = place{numa: []int{i % 2}, sysPath: fmt.Sprintf("/sys/devices/pci0000:%02x/0000:00:0%d.0/0000:%02x:00.0/0000:%04x:00.0", i%8, i/8%4, i/32, i)}
		}
		devices := available(b, strings.Join(text, " "))
		for _, policy := range []string{"none", "balanced", "packed"} {
			b.Run(fmt.Sprintf("%dx%d/%s", c.cards, c.shares, policy), func(b *testing.B) {
				f := family(b, empty(b), parse(b, "--gpu-allocation-policy="+policy))
				f.places = at
				for b.Loop() {
					if _, err := f.Prefer("gpu.intel.com/xe", devices, []string{"card7-0"}, 64); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
