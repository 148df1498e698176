package follow

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func short(key string) bool { return len(key) < 3 }

// without is what prune does, on values.
func without(v any, keep func(string) bool) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if keep(k) {
				out[k] = without(e, keep)
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			out = append(out, without(e, keep))
		}
		return out
	}
	return v
}

// values reads all JSON values of a text.
func values(r io.Reader) (all []any, err error) {
	d := json.NewDecoder(r)
	d.UseNumber()
	for {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return all, err
		}
		all = append(all, v)
	}
}

var texts = []string{
	`{}`, `[]`, ` { } `, `[ ]`, `7`, `"a"`, `null`, `{"a":1}`, `{"abc":1}`, `{"abc":1,"a":2}`, `{"a":1,"abc":2}`, `{"abc":1,"def":2}`,
	`{"a":1,"abc":{"x":[1,2,{"y":"}"}],"z":"\"]"},"b":[{"abc":[]},{"a":true,"abc":null}]}`,
	`{"type":1,"t":{"metadata":[[[[]]]],"m":{"\u0061":1,"\u0061bc":2}}}` + "\n" + `{"t":"\\","abc":"\\\""}` + "\r\n\t" + `{"a":-1.5e3}`,
	`[{"a":{"b":{"c":{"abc":{}}}}},[[],[{}],"abc:{"]]`, `{"abc" : { "a" : 1 } , "a" : 2 }`, `{"a":"abc","abc":"a"}{"abc":1}[1,2]3 4`,
	`0"{" 1{"abc":1,"a":2}true[{"abc":1}]`,
	`{"` + strings.Repeat("k", 2000) + `":1,"a":2}`,
}

func TestOnlyWhatIsKeptIsPassedOn(t *testing.T) {
	for _, text := range texts {
		all, err := values(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for name, keep := range map[string]func(string) bool{
			"some": short, "all": func(key string) bool { return len(key) <= longKey }, "none": func(string) bool { return false },
		} {
			for how, r := range map[string]io.Reader{"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text))} {
				got, err := values(prune(io.NopCloser(r), keep))
				var want []any
				for _, v := range all {
					want = append(want, without(v, keep))
				}
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("%s, %s, %s: %v (-want +got)\n%s", text, name, how, err, diff)
				}
			}
		}
	}
}

func TestWhatIsNoJSONIsAnErrorAfterwardsToo(t *testing.T) {
	for _, text := range []string{`{"a":1]`, `{a:1}`, `{"a" 1}`, `[1}`, `}`, `]`, `{"a":1,}x`, `{"a":}`, `{"a":1`, `{"ab\q":1}`} {
		if _, err := values(prune(io.NopCloser(strings.NewReader(text)), short)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
	gone := errors.New("gone")
	r := io.MultiReader(strings.NewReader(`{"a":`), iotest.ErrReader(gone))
	if _, err := values(prune(io.NopCloser(r), short)); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

func FuzzPrune(f *testing.F) {
	for _, text := range texts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := values(strings.NewReader(text))
		got, e := values(prune(io.NopCloser(strings.NewReader(text)), short))
		if err != nil {
			return // what is dropped is not looked at
		}
		var want []any
		for _, v := range all {
			want = append(want, without(v, short))
		}
		if e != nil || !reflect.DeepEqual(want, got) {
			t.Errorf("%q: %v, want %v: %v", text, got, want, e)
		}
	})
}
