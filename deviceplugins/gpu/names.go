package gpu

import (
	"cmp"
	"strconv"
	"strings"
)

// cardNumber reads a DRM device's name: "card" and a number, nothing else ("card0-DP-1" is a connector).
func cardNumber(name string) (int, bool) {
	if !numbered(name, "card") {
		return 0, false
	}
	n, err := strconv.Atoi(name[len("card"):])
	return n, err == nil
}

// isControl tells whether a minor is one of the control nodes that kernels before 4.x have.
func isControl(minor string) bool { return numbered(minor, "controlD") }

// numbered tells whether a name is a prefix and digits.
func numbered(name, prefix string) bool {
	digits, ok := strings.CutPrefix(name, prefix)
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// isDriver tells whether a driver's name can be a resource's: letters, digits, '-', '_' and '.', and not these at an end. The
// observer's resource has a suffix too.
func isDriver(name string) bool {
	for i, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && i < len(name)-1 && (c == '-' || c == '_' || c == '.'):
		default:
			return false
		}
	}
	return name != "" && len(name)+len("_"+monitoring) <= 63
}

// cardOf is the card of a device id: "card2" of "card2-0", and the id itself where there is no dash.
func cardOf(id string) string {
	card, _, _ := strings.Cut(id, "-")
	return card
}

// natural orders names as people do: digits count as numbers, card2 comes before card10.
func natural(a, b string) int {
	for a != "" && b != "" {
		da, db := digits(a), digits(b)
		if da == 0 || db == 0 {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		na, nb := strings.TrimLeft(a[:da], "0"), strings.TrimLeft(b[:db], "0")
		if c := cmp.Or(cmp.Compare(len(na), len(nb)), strings.Compare(na, nb), cmp.Compare(da, db)); c != 0 {
			return c
		}
		a, b = a[da:], b[db:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits is how many digits a text begins with.
func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
