package cri

import (
	"context"
	"testing"
	"time"
)

func TestLogTextIsPutTogether(t *testing.T) {
	for _, tc := range []struct{ name, log, want string }{
		{"two streams in order", "T stdout F one\nT stderr F two\n", "one\ntwo\n"},
		{"a long line in parts", "T stdout P ab\nT stdout F cd\n", "abcd\n"},
		{"an empty line", "T stdout F \n", "\n"},
		{"spaces kept", "T stdout F a  b \n", "a  b \n"},
		{"half written entry", "T stdout F one\nT std", "one\n"},
		{"nothing", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := parseLog(tc.log); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestExecTimeoutIsNeverRoundedToNoLimit(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if got := execTimeout(ctx); got != 1 {
		t.Errorf("got %d s, want 1", got)
	}
	if got := execTimeout(t.Context()); got != 0 {
		t.Errorf("got %d s without a deadline, want 0", got)
	}
}
