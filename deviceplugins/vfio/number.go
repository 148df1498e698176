package vfio

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// CompareAddresses orders PCI addresses as a machine has them: by domain, bus, device and function. Domains have four
// digits or more, so text order would put 10000 before 2000.
func CompareAddresses(a, b string) int {
	if len(a) == len(b) {
		return strings.Compare(a, b)
	}
	domainA, restA, _ := strings.Cut(a, ":")
	domainB, restB, _ := strings.Cut(b, ":")
	domainA, domainB = strings.TrimLeft(domainA, "0"), strings.TrimLeft(domainB, "0")
	return cmp.Or(cmp.Compare(len(domainA), len(domainB)), strings.Compare(domainA, domainB), strings.Compare(restA, restB))
}

// Variables numbers PCI addresses for one container: <prefix>0, <prefix>1, … in address order, whatever the order they
// come in. So the same devices have the same variables, and each container begins at 0.
func Variables(prefix string, addresses []string) map[string]string {
	sorted := slices.Clone(addresses)
	slices.SortFunc(sorted, CompareAddresses)
	env := make(map[string]string, len(sorted))
	for i, address := range sorted {
		env[prefix+strconv.Itoa(i)] = address
	}
	return env
}
