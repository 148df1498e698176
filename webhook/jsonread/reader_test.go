package jsonread_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/webhook/jsonread"
)

// value reads a whole value into what encoding/json makes of it, by the methods that take values apart.
func value(r *jsonread.Reader) (any, error) {
	switch r.Kind() {
	case jsonread.Object:
		o := map[string]any{}
		return o, r.Object(func(key []byte) (err error) {
			name := string(key)
			o[name], err = value(r)
			return err
		})
	case jsonread.Array:
		a := []any{}
		err := r.Array(func(int) error {
			v, err := value(r)
			a = append(a, v)
			return err
		})
		return a, err
	case jsonread.Text:
		s, err := r.Text()
		return string(s), err
	}
	raw, err := r.Raw()
	switch {
	case err != nil:
		return nil, err
	case raw[0] == 't' || raw[0] == 'f':
		return raw[0] == 't', nil
	case raw[0] == 'n':
		return nil, nil
	}
	return json.Number(raw), nil
}

// read takes a text apart in three ways, which must agree: all of it, none of it, and each second member.
func read(text []byte) (any, error) {
	r := jsonread.New(text)
	v, err := value(r)
	if err == nil {
		err = r.End()
	}
	skipped := jsonread.New(text)
	skipErr := skipped.Skip()
	if skipErr == nil {
		skipErr = skipped.End()
	}
	if (err == nil) != (skipErr == nil) {
		return nil, fmt.Errorf("read: %v, skipped: %v", err, skipErr)
	}
	half := jsonread.New(text)
	if err := halves(half); (err == nil && half.End() == nil) != (skipErr == nil) {
		return nil, fmt.Errorf("half read: %w, skipped: %v", err, skipErr)
	}
	return v, err
}

func halves(r *jsonread.Reader) error {
	n := 0
	odd := func() error {
		if n++; n%2 == 0 {
			r.Kind() // looked at, and not read
			return nil
		}
		return halves(r)
	}
	switch r.Kind() {
	case jsonread.Object:
		return r.Object(func([]byte) error { return odd() })
	case jsonread.Array:
		return r.Array(func(int) error { return odd() })
	}
	return r.Skip()
}

// unlike says how a text is read differently than by encoding/json.
func unlike(text []byte) string {
	got, err := read(text)
	if deep(text) {
		return ""
	}
	if valid := json.Valid(text); valid != (err == nil) {
		return fmt.Sprintf("valid %v, but %v", valid, err)
	}
	if err != nil {
		var syntax *jsonread.SyntaxError
		if !errors.As(err, &syntax) || syntax.At > len(text) {
			return fmt.Sprintf("an error of another sort: %v", err)
		}
		return ""
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var want any
	if err := d.Decode(&want); err != nil {
		return err.Error()
	}
	if reflect.DeepEqual(want, got) { // cmp looks at each level of nested arrays twice
		return ""
	}
	return cmp.Diff(want, got)
}

func deep(text []byte) bool {
	return strings.Count(string(text), "[")+strings.Count(string(text), "{") > 300
}

func TestATextIsReadAsEncodingJSONReadsIt(t *testing.T) {
	for _, text := range texts() {
		if d := unlike([]byte(text)); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func texts() []string {
	return []string{
		`{}`, `[]`, `null`, `true`, `false`, `0`, `-0`, `1.5e-3`, `""`, ` { } `, "\t[\n]\r", `{"a":{"b":[1,{"c":null},"d"]},"a":2}`,
		`"\u0061\n\/\"\\"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00x"`, "\"\xff\xfe\"", "\"ä€😀\"", `{"\u0061":1,"a":2}`, "{\"\xff\":1}",
		`[1, 2 ,3]`, `[[],{},"",0,null,true]`, `{"a" : 1 , "b":2}`,
		"", " ", `{`, `[`, `"`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `[1,`, `[1,]`, `[,1]`, `{,}`, `{"a" 1}`, `{a:1}`, `{'a':1}`, `{1:1}`, `[1 2]`,
		`nul`, `nullx`, `tru`, `True`, `fals`, `01`, `1.`, `.5`, `+1`, `-`, `1e`, `1e+`, `0x1`, `1_0`, `NaN`, `Infinity`, "\"\x01\"", "\"\n\"", `"\x"`, `"\u12"`, `"\u12g4"`, `"\`,
		`{} {}`, `1 1`, `[]]`, `{}x`, "\xef\xbb\xbf{}", "[1]\x00", strings.Repeat("[", 32) + strings.Repeat("]", 32), `[1}`, `{"a":1]`, "\v1", "[\f1]",
	}
}

func TestDepthIsBounded(t *testing.T) {
	for _, c := range []struct {
		levels int
		ok     bool
	}{{300, true}, {301, false}, {1_000_000, false}} {
		for _, pair := range []string{"[]", "{}"} {
			open, inner := pair[:1], "1"
			if pair == "{}" {
				open += `"a":`
			}
			text := []byte(strings.Repeat(open, c.levels) + inner + strings.Repeat(pair[1:], c.levels))
			if _, err := read(text); (err == nil) != c.ok {
				t.Errorf("%d levels of %s: %v", c.levels, pair, err)
			}
		}
	}
}

func TestAValueOfAnotherKindIsNamedAndStaysUnread(t *testing.T) {
	r := jsonread.New([]byte(` [1]`))
	_, err := r.Text()
	if want := "is an array, not a string"; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if err := r.Object(nil); err == nil || err.Error() != "is an array, not an object" {
		t.Errorf("%v", err)
	}
	if raw, err := r.Raw(); err != nil || string(raw) != "[1]" {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestAReaderGoesBack(t *testing.T) {
	r := jsonread.New([]byte(`{"a":{"b":[1,2]},"c":3}`))
	var seen []string
	stop := errors.New("stop")
	err := r.Object(func(key []byte) error {
		seen = append(seen, string(key))
		if string(key) != "a" {
			return nil
		}
		mark := r.Mark()
		if err := r.Object(func([]byte) error { return r.Array(func(int) error { return stop }) }); !errors.Is(err, stop) {
			t.Errorf("%v", err)
		}
		r.Back(mark)
		return r.Skip()
	})
	if d := cmp.Diff([]string{"a", "c"}, seen); err != nil || r.End() != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
}

func FuzzReader(f *testing.F) {
	for _, text := range texts() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if d := unlike(text); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	})
}
