package jsonread

import "encoding/json"

// AppendString appends a string as JSON has it. Nearly all that is said needs no escapes.
func AppendString(b []byte, s string) []byte {
	from := len(b)
	b = append(append(b, '"'), s...)
	if plain(b, from+1) < len(b) {
		if text, err := json.Marshal(s); err == nil { // a string always can be written
			return append(b[:from], text...)
		}
	}
	return append(b, '"')
}
