package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// field is a line of text output: label and value.
type field struct{ label, value string }

// table writes fields with their colons in one column, behind labels of at least that width.
func table(w io.Writer, indent string, wide int, fields []field) error {
	for _, f := range fields {
		wide = max(wide, len(f.label))
	}
	for _, f := range fields {
		line := fmt.Sprintf("%s%-*s : %s", indent, wide, f.label, f.value)
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// printable makes one line of a text that came out of a file, without anything that a terminal would act on.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, oneLine(s))
}

// printJSON writes one document, indented: people read it too.
func (t *tool) printJSON(v any) error {
	enc := json.NewEncoder(t.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
