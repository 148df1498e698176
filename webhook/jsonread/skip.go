package jsonread

import (
	"encoding/binary"
	"math/bits"
)

// What a text that is no JSON has wrong, beside those that a Reader finds.
const (
	tooDeep     = "more than 300 levels"
	noValue     = "a value is missing"
	badString   = "a control character in a string"
	badEscape   = "an escape that there is not"
	badNumber   = "a number that there is not"
	badLiteral  = "neither true, false nor null"
	noSeparator = "a comma or a closing bracket is missing"
	noName      = "a member's name is missing"
	noColon     = "a colon is missing"
)

func space(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// skip goes over the value at i and what stands before it. It returns where the value ends, or where it is wrong and
// how.
func skip(b []byte, i, depth int) (end int, what string) {
	if i = space(b, i); i >= len(b) {
		return i, noValue
	}
	switch b[i] {
	case '"':
		end, _, what = skipString(b, i+1)
		return end, what
	case '{':
		return skipMembers(b, i+1, depth+1)
	case '[':
		return skipElements(b, i+1, depth+1)
	case 't':
		return skipLiteral(b, i, "true")
	case 'f':
		return skipLiteral(b, i, "false")
	case 'n':
		return skipLiteral(b, i, "null")
	}
	return skipNumber(b, i)
}

func skipMembers(b []byte, i, depth int) (end int, what string) {
	if depth > maxDepth {
		return i, tooDeep
	}
	if i = space(b, i); i < len(b) && b[i] == '}' {
		return i + 1, ""
	}
	for {
		if i = space(b, i); i >= len(b) || b[i] != '"' {
			return i, noName
		}
		if i, _, what = skipString(b, i+1); what != "" {
			return i, what
		}
		if i = space(b, i); i >= len(b) || b[i] != ':' {
			return i, noColon
		}
		if i, what = skip(b, i+1, depth); what != "" {
			return i, what
		}
		if i = space(b, i); i >= len(b) || (b[i] != ',' && b[i] != '}') {
			return i, noSeparator
		}
		if i++; b[i-1] == '}' {
			return i, ""
		}
	}
}

func skipElements(b []byte, i, depth int) (end int, what string) {
	if depth > maxDepth {
		return i, tooDeep
	}
	if i = space(b, i); i < len(b) && b[i] == ']' {
		return i + 1, ""
	}
	for {
		if i, what = skip(b, i, depth); what != "" {
			return i, what
		}
		if i = space(b, i); i >= len(b) || (b[i] != ',' && b[i] != ']') {
			return i, noSeparator
		}
		if i++; b[i-1] == ']' {
			return i, ""
		}
	}
}

func skipLiteral(b []byte, i int, word string) (end int, what string) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, badLiteral
	}
	return i + len(word), ""
}

// plain gives where the first byte at or after i is that does not stand for itself in a string: a quote, a backslash, a
// control character, or one beyond ASCII.
func plain(b []byte, i int) int {
	const each = 0x01_01_01_01_01_01_01_01 // times a byte: that byte eight times
	for ; len(b)-i >= 8; i += 8 {
		// The highest bit of each byte tells. A subtraction sets it in a byte that is too small for it, and perhaps in the
		// ones above that.
		w := binary.LittleEndian.Uint64(b[i:])
		odd := (w | (w - ' '*each) | ((w ^ '"'*each) - each) | ((w ^ '\\'*each) - each)) & (0x80 * each)
		if odd != 0 {
			return i + bits.TrailingZeros64(odd)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] < 0x80 && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// skipString goes over a string whose opening quote is before i. Odd says that its text is not simply the bytes between
// the quotes: there are escapes, or bytes that may be no UTF-8.
func skipString(b []byte, i int) (end int, odd bool, what string) {
	for {
		i = plain(b, i)
		switch {
		case i >= len(b):
			return i, odd, noValue
		case b[i] == '"':
			return i + 1, odd, ""
		case b[i] >= 0x80:
			i, odd = i+1, true
		case b[i] != '\\':
			return i, odd, badString
		default:
			n := escape(b[i:])
			if n == 0 {
				return i, odd, badEscape
			}
			i, odd = i+n, true
		}
	}
}

// escape is the length of the escape that b begins with; 0 if there is none of that kind.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if c-'0' > 9 && c-'a' > 5 && c-'A' > 5 {
				return 0
			}
		}
		return 6
	}
	return 0
}

func skipNumber(b []byte, i int) (end int, what string) {
	digits := func() bool {
		from := i
		for i < len(b) && b[i]-'0' <= 9 {
			i++
		}
		return i > from
	}
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return i, badNumber
	}
	if i < len(b) && b[i] == '.' {
		if i++; !digits() {
			return i, badNumber
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return i, badNumber
		}
	}
	return i, ""
}
