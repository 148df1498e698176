package region_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/region"
)

// short names for the tables: interfaces x, y; functions a, b, c.
func wishes(text string) []region.Wish {
	var list []region.Wish
	for w := range strings.FieldsSeq(text) {
		i, f, _ := strings.Cut(w, "/")
		list = append(list, region.Wish{Interface: fpga.InterfaceID(i), Function: fpga.FunctionID(f)})
	}
	return list
}

// slots reads "x:a,- y:b": devices d0 with two ports, d1 with one, and what they hold.
func slots(text string) []region.Slot {
	var list []region.Slot
	for d, s := range strings.Fields(text) {
		i, loaded, _ := strings.Cut(s, ":")
		slot := region.Slot{Device: fmt.Sprintf("d%d", d), Interface: fpga.InterfaceID(i)}
		for p, l := range strings.Split(loaded, ",") {
			if l == "" {
				continue
			}
			slot.Ports = append(slot.Ports, region.Candidate{
				Port: fmt.Sprintf("d%dp%d", d, p), Loaded: fpga.FunctionID(strings.Trim(l, "-")),
			})
		}
		list = append(list, slot)
	}
	return list
}

func ports(choices []region.Choice) string {
	var list []string
	for _, c := range choices {
		list = append(list, c.Port)
	}
	return strings.Join(list, " ")
}

func TestPairGivesEveryFunctionAPort(t *testing.T) {
	for name, c := range map[string]struct{ wishes, slots, want, err string }{
		"one cold port":                       {"x/a", "x:-", "d0p0", ""},
		"the lowest of several ports":         {"x/a", "x:-,-,b", "d0p0", ""},
		"the port that holds it":              {"x/a", "x:-,b,a", "d0p2", ""},
		"the first of two that hold it":       {"x/a", "x:a,a", "d0p0", ""},
		"swapped devices cost nothing":        {"x/a x/b", "x:b x:a", "d1p0 d0p0", ""},
		"in order":                            {"x/a x/b", "x:- x:-", "d0p0 d1p0", ""},
		"equal functions":                     {"x/a x/a", "x:- x:a", "d1p0 d0p0", ""},
		"a device carries one function":       {"x/a x/b", "x:a,b x:-", "d0p0 d1p0", ""},
		"an earlier choice makes way":         {"x/a x/b", "x:a,b x:a", "d1p0 d0p1", ""},
		"a chain of them":                     {"x/a x/b x/c", "x:a,b x:b,c x:a", "d2p0 d0p1 d1p1", ""},
		"two interfaces":                      {"y/a x/a", "x:- y:-", "d1p0 d0p0", ""},
		"a function of another interface":     {"x/a y/b", "x:b y:a", "d0p0 d1p0", ""},
		"one pair too many":                   {"x/a x/b", "x:-", "", "interface x: 2 functions asked for, 1 devices allocated"},
		"one pair too few":                    {"x/a", "x:- x:-", "", "interface x: 1 functions asked for, 2 devices allocated"},
		"another interface":                   {"y/a", "x:-", "", "interface y: 1 functions asked for, 0 devices allocated"},
		"a device that nothing was asked for": {"x/a", "x:- y:-", "", "interface y: 0 functions asked for, 1 devices allocated"},
		"a device without ports":              {"x/a", "x:", "", "device d0 has no port that can be used"},
		"nothing at all":                      {"", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := region.Pair(wishes(c.wishes), slots(c.slots))
			if fmt.Sprint(err) != c.err && (err != nil || c.err != "") {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			if ports(got) != c.want {
				t.Errorf("%s, want %s", ports(got), c.want)
			}
		})
	}
}

func TestPairSomeLeavesDevicesOver(t *testing.T) {
	for name, c := range map[string]struct{ wishes, slots, want, err string }{
		"more devices than functions": {"x/b", "x:a x:b x:- y:b", "d1p0", ""},
		"the first free one":          {"x/c x/b", "x:a x:b x:-", "d0p0 d1p0", ""},
		"too few":                     {"x/a x/b", "x:a", "", "interface x: 2 functions asked for, 1 devices allocated"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := region.PairSome(wishes(c.wishes), slots(c.slots))
			if fmt.Sprint(err) != c.err && (err != nil || c.err != "") {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			if ports(got) != c.want {
				t.Errorf("%s, want %s", ports(got), c.want)
			}
		})
	}
}

// kept counts the functions of choices that are loaded already where they go.
func kept(choices []region.Choice, slots []region.Slot) int {
	n := 0
	for _, c := range choices {
		for _, s := range slots {
			for _, p := range s.Ports {
				if p.Port == c.Port && p.Loaded == c.Function {
					n++
				}
			}
		}
	}
	return n
}

// most tries every way to give wishes to slots: the largest number of functions that can stay where they are.
func most(wishes []region.Wish, slots []region.Slot, used []bool) int {
	if len(wishes) == 0 {
		return 0
	}
	best := -1
	for s, slot := range slots {
		if used[s] || slot.Interface != wishes[0].Interface {
			continue
		}
		stays := 0
		for _, p := range slot.Ports {
			if p.Loaded == wishes[0].Function {
				stays = 1
			}
		}
		used[s] = true
		if rest := most(wishes[1:], slots, used); rest >= 0 {
			best = max(best, stays+rest)
		}
		used[s] = false
	}
	return best
}

// checkPair holds a pairing against what Pair promises.
func checkPair(t *testing.T, w []region.Wish, s []region.Slot, some bool) {
	t.Helper()
	pair := region.Pair
	if some {
		pair = region.PairSome
	}
	choices, err := pair(w, s)
	best := most(w, s, make([]bool, len(s)))
	if err != nil {
		if best >= 0 && (some || len(w) == len(s)) {
			t.Fatalf("%v %v: %v, but there is a way", w, s, err)
		}
		return
	}
	if best < 0 {
		t.Fatalf("%v %v: %v, but there is no way", w, s, choices)
	}
	if len(choices) != len(w) {
		t.Fatalf("%d choices for %d wishes", len(choices), len(w))
	}
	device := map[string]bool{}
	for i, c := range choices {
		if c.Wish != w[i] {
			t.Errorf("choice %d is for %v, not %v", i, c.Wish, w[i])
		}
		if device[c.Device] {
			t.Errorf("device %s has two functions", c.Device)
		}
		device[c.Device] = true
		if !has(s, c) {
			t.Errorf("%v is no port of its device, or of another interface", c)
		}
	}
	if got := kept(choices, s); got != best {
		t.Errorf("%v %v: %v keeps %d functions, %d are possible", w, s, choices, got, best)
	}
	if again, _ := pair(w, s); cmp.Diff(choices, again) != "" {
		t.Errorf("not deterministic: %v, then %v", choices, again)
	}
}

func has(slots []region.Slot, c region.Choice) bool {
	for _, s := range slots {
		for _, p := range s.Ports {
			if s.Device == c.Device && s.Interface == c.Interface && p.Port == c.Port {
				return true
			}
		}
	}
	return false
}

// scene makes wishes and slots of bytes: at most five devices of two interfaces, up to three ports, three functions.
func scene(data []byte) ([]region.Wish, []region.Slot) {
	next := func(n int) int {
		if len(data) == 0 {
			return 0
		}
		v := int(data[0]) % n
		data = data[1:]
		return v
	}
	var w []region.Wish
	var s []region.Slot
	for d := range 1 + next(5) {
		slot := region.Slot{Device: fmt.Sprintf("d%d", d), Interface: fpga.InterfaceID([]string{"x", "y"}[next(2)])}
		for p := range 1 + next(3) {
			slot.Ports = append(slot.Ports, region.Candidate{
				Port: fmt.Sprintf("d%dp%d", d, p), Loaded: fpga.FunctionID([]string{"", "a", "b", "c"}[next(4)]),
			})
		}
		s = append(s, slot)
		if next(8) != 7 {
			w = append(w, region.Wish{Interface: slot.Interface, Function: fpga.FunctionID([]string{"a", "b", "c"}[next(3)])})
		}
	}
	rand.New(rand.NewPCG(uint64(next(256)), 1)).Shuffle(len(w), func(i, j int) { w[i], w[j] = w[j], w[i] })
	return w, s
}

func TestPairKeepsAsMuchAsPossible(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		data := make([]byte, 64)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		w, s := scene(data)
		checkPair(t, w, s, false)
		checkPair(t, w, s, true)
	}
}

func FuzzPair(f *testing.F) {
	f.Add([]byte{1, 0, 1, 2, 1, 0, 0, 0, 2})
	f.Add([]byte{4, 1, 2, 3, 2, 1, 0, 7, 7, 7})
	f.Fuzz(func(t *testing.T, data []byte) {
		w, s := scene(data)
		checkPair(t, w, s, false)
		checkPair(t, w, s, true)
	})
}
