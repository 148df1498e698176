package qat

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// generic is the resource of VFs whose services are not configurable or not known.
const generic = "generic"

// order of the services in a resource's name.
var order = [...]string{"cy", "asym", "sym", "dc", "dcc", "decomp"}

// maxKind is what a resource name may have after the slash.
const maxKind = 63

// ServicesKind makes a resource type of what a card's services are, as the kernel writes them ("sym;asym"). Their order
// does not count: the names are cy (for sym and asym), dc, sym, asym, sym-dc, asym-dc, dcc, decomp, sym-decomp,
// asym-decomp, asym-sym-dc, asym-sym-decomp. A service of tomorrow, of small letters and digits, keeps its place after the
// known ones. Nothing at all is generic. An error says that this is no list of services.
func ServicesKind(services string) (string, error) {
	var words []string
	for _, word := range strings.FieldsFunc(services, func(r rune) bool { return strings.ContainsRune(";,-", r) }) {
		word = strings.Trim(word, " \t\r\n\x00")
		if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return "", fmt.Errorf("%.40q is no list of services", services)
		}
		if word != "" {
			words = append(words, word)
		}
	}
	slices.SortFunc(words, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b)) })
	words = slices.Compact(words)
	if slices.Equal(words, []string{"asym", "sym"}) {
		return "cy", nil
	}
	name := strings.Join(words, "-")
	if len(name) > maxKind {
		return "", fmt.Errorf("%.40q… are too many services for a resource's name", services)
	}
	return cmp.Or(name, generic), nil
}

func rank(word string) int {
	if i := slices.Index(order[:], word); i >= 0 {
		return i
	}
	return len(order)
}

// servicesEnabled finds the services in a driver's dev_cfg: key ServicesEnabled of the section GENERAL. Comments are whole
// lines only, because a semicolon stands between services: one behind a value is part of it.
func servicesEnabled(devCfg []byte) (services string, found bool) {
	inGeneral := false
	for line := range bytes.Lines(devCfg) {
		line = bytes.Trim(line, " \t\r\n\x00")
		switch {
		case len(line) == 0 || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			inGeneral = string(line) == "[GENERAL]"
		case inGeneral:
			key, value, ok := bytes.Cut(line, []byte("="))
			if ok && string(bytes.TrimSpace(key)) == "ServicesEnabled" {
				services, found = string(bytes.Trim(value, " \t\"")), true
			}
		}
	}
	return services, found
}
