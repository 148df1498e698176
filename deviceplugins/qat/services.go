package qat

import (
	"bytes"
	"cmp"
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
// asym-decomp, asym-sym-dc, asym-sym-decomp. A word that is not known keeps its place after the known ones, with what a
// resource name cannot hold replaced by a dash. Nothing at all is generic.
func ServicesKind(services string) string {
	words := strings.FieldsFunc(services, func(r rune) bool {
		return strings.ContainsRune(";,- \t\r\n\x00", r)
	})
	for i, w := range words {
		words[i] = legal(w)
	}
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	slices.SortFunc(words, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b)) })
	words = slices.Compact(words)
	if slices.Equal(words, []string{"asym", "sym"}) {
		return "cy"
	}
	name := strings.Join(words, "-")
	if len(name) > maxKind {
		name = strings.TrimRight(name[:maxKind], "-_.")
	}
	return cmp.Or(name, generic)
}

func rank(word string) int {
	if i := slices.Index(order[:], word); i >= 0 {
		return i
	}
	return len(order)
}

// legal makes a word one that a resource name can hold: letters, digits, '_' and '.', the first two at its ends.
func legal(word string) string {
	word = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.':
			return r
		}
		return '_'
	}, word)
	return strings.Trim(word, "_.")
}

// servicesEnabled finds the services in a driver's dev_cfg: key ServicesEnabled of the section GENERAL. Comments are whole
// lines only, because a semicolon stands between services.
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
