// Package pciaddr knows the form of a PCI address, for those who get one from a path, an annotation or an argument.
package pciaddr

import "strings"

// Valid tells whether s is domain:bus:device.function as sysfs writes it. A domain has four digits or more: virtual
// roots have five or eight. It is no regular expression because the hook would compile it at every start.
func Valid(s string) bool {
	domain, rest, ok := strings.Cut(s, ":")
	return ok && len(domain) >= 4 && len(domain) <= 8 && hexOnly(domain) && len(rest) == len("3b:00.0") &&
		hexOnly(rest[0:2]) && rest[2] == ':' && hexOnly(rest[3:5]) && rest[5] == '.' && '0' <= rest[6] && rest[6] <= '7'
}

func hexOnly(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
