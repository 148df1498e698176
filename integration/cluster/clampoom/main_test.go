package main

import (
	"encoding/json"
	"testing"
)

func TestOnlyWhatIsTooLowIsRaised(t *testing.T) {
	tests := map[string]struct {
		config string
		want   string // "" = as it is
	}{
		"lower":      {`{"process":{"oomScoreAdj":-997,"args":["a"]},"x":12345678901234567890}`, `{"process":{"args":["a"],"oomScoreAdj":-5},"x":12345678901234567890}`},
		"the same":   {`{"process":{"oomScoreAdj":-5}}`, ""},
		"higher":     {`{"process":{"oomScoreAdj":1000}}`, ""},
		"none":       {`{"process":{}}`, ""},
		"no process": {`{}`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := raise([]byte(tt.config), -5)
			if err != nil || string(got) != tt.want || (got != nil && !json.Valid(got)) {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

func TestTheBundleIsFoundHoweverItIsGiven(t *testing.T) {
	for _, args := range [][]string{
		{"--root", "/r", "create", "--bundle", "/b", "id"}, {"create", "--bundle=/b", "id"}, {"create", "-b", "/b", "id"},
	} {
		if got := bundleOf(args); got != "/b" {
			t.Errorf("%v: got %q", args, got)
		}
	}
	if got := bundleOf([]string{"start", "id"}); got != "" {
		t.Errorf("start has no bundle: got %q", got)
	}
}
