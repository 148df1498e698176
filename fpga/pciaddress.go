package fpga

import "strings"

// IsPCIAddress tells whether s is domain:bus:device.function as sysfs writes it. A domain has four digits or more:
// virtual roots have five or eight. It is no regular expression because the hook would compile it at every start.
func IsPCIAddress(s string) bool {
	domain, rest, ok := strings.Cut(s, ":")
	return ok && len(domain) >= 4 && len(domain) <= 8 && hexOnly(domain) && len(rest) == len("3b:00.0") &&
		hexOnly(rest[0:2]) && rest[2] == ':' && hexOnly(rest[3:5]) && rest[5] == '.' && '0' <= rest[6] && rest[6] <= '7'
}
