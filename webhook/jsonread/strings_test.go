package jsonread_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/webhook/jsonread"
)

// Strings are read eight bytes at a time; each byte has to count at each place.
func TestEveryByteCountsAtEveryPlaceOfAString(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				b := []byte(strings.Repeat("a", n))
				b[at] = byte(c)
				text := fmt.Sprintf(`{"k":"%s","z":1}`, b)
				var want struct{ K string }
				wantErr := json.Unmarshal([]byte(text), &want)
				var got string
				r := jsonread.New([]byte(text))
				err := r.Object(func(key []byte) (err error) {
					if string(key) == "k" {
						got, err = r.String()
					}
					return err
				})
				if (err == nil) != (wantErr == nil) || err == nil && got != want.K {
					t.Fatalf("%q: %q, %v; encoding/json: %q, %v", text, got, err, want.K, wantErr)
				}
			}
		}
	}
}

func TestASkipKnowsWhichQuoteEndsAString(t *testing.T) {
	for slashes := range 10 {
		for _, before := range []string{"", "a", "]", `\"`, `\\`} {
			inner := before + strings.Repeat(`\`, slashes)
			if slashes%2 == 1 {
				inner += `"]` // an escaped quote, and the string goes on
			}
			text := `[{"` + inner + `":"` + inner + `"}]5`
			r := jsonread.New([]byte(text))
			if err := r.Skip(); err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if rest, err := r.Raw(); err != nil || string(rest) != "5" {
				t.Errorf("%s: then %q, %v", text, rest, err)
			}
		}
	}
	for _, text := range []string{`["`, `["a`, `["\"`, `["\\\"]`, `["a\`} {
		if err := jsonread.New([]byte(text)).Skip(); err == nil {
			t.Errorf("%s ends well", text)
		}
	}
}

func TestAStringIsAppendedAsEncodingJSONReadsIt(t *testing.T) {
	for _, s := range []string{"", "plain", "a much longer plain text", `"`, `back\slash`, "12345678\n", "é", "\x7f", "<&>", "\xff", "seven77\""} {
		b := jsonread.AppendString([]byte("x"), s)
		var got string
		if err := json.Unmarshal(b[1:], &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") || b[0] != 'x' {
			t.Errorf("%q: %q, %v", s, b, err)
		}
	}
}
