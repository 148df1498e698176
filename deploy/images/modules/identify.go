package modules

import (
	"slices"
	"strings"
	"unicode"
)

// and joins SPDX expressions.
const and = " AND "

// mark tells a licence by phrases of its text, all of which must be there, in lower case without punctuation.
type mark struct {
	id      string
	phrases []string
}

// marks are the licences that occur among Go modules. A licence that is not here stays unnamed: NOASSERTION.
func marks() []mark {
	return []mark{
		{"Apache-2.0", []string{"apache license", "version 2 0", "terms and conditions for use reproduction and distribution"}},
		{"Apache-2.0", []string{"licensed under the apache license version 2 0"}},
		{"ISC", []string{
			"permission to use copy modify and", "distribute this software for any purpose with or without fee is hereby granted",
		}},
		{"MIT", []string{
			"permission is hereby granted free of charge to any person obtaining a copy of this software and associated documentation files",
			"the above copyright notice and this permission notice shall be included in all",
		}},
	}
}

// Identify names the licences of a text as an SPDX expression, "" if it knows none of them. A text with several
// licences has all of them, joined by AND.
func Identify(text []byte) string {
	words := normalize(text)
	if strings.HasPrefix(words, "mozilla public license version 2 0") {
		return "MPL-2.0" // names the GNU licences too
	}
	for _, foreign := range []string{"gnu general public license", "gnu lesser general public license", "gnu affero"} {
		if strings.Contains(words, foreign) {
			return "" // which version, and whether "or later", is for a reader to say
		}
	}
	var ids []string
	for _, m := range marks() {
		if !slices.ContainsFunc(m.phrases, func(p string) bool { return !strings.Contains(words, p) }) {
			ids = append(ids, m.id)
		}
	}
	if strings.Contains(words, "redistribution and use in source and binary forms with or without modification are permitted provided that") {
		switch {
		case strings.Contains(words, "all advertising materials mentioning"):
			return ""
		case strings.Contains(words, "used to endorse or promote products derived from"):
			ids = append(ids, "BSD-3-Clause")
		default:
			ids = append(ids, "BSD-2-Clause")
		}
	}
	return All(ids)
}

// All joins SPDX expressions to one, each licence once, in order.
func All(expressions []string) string {
	var ids []string
	for _, e := range expressions {
		ids = append(ids, strings.Split(e, and)...)
	}
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), and)
}

// normalize leaves words of letters and digits, in lower case, with single spaces.
func normalize(text []byte) string {
	fields := strings.FieldsFunc(strings.ToLower(string(text)), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	return strings.Join(fields, " ")
}
