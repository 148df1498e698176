package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHarnessEndsAsATestDoes(t *testing.T) {
	var done []string
	note := func(what string) func() { return func() { done = append(done, what) } }
	failure := errors.New("returned")
	silent := func(string, ...any) {}
	for _, tc := range []struct {
		name string
		f    func(*harness) error
		want string // part of the error; "" = none
		done []string
	}{
		{"all is well", func(h *harness) error { h.Cleanup(note("a")); h.Cleanup(note("b")); return nil }, "", []string{"b", "a"}},
		{"an error", func(*harness) error { return failure }, "returned", nil},
		{"Fatal ends it", func(h *harness) error { h.Cleanup(note("a")); h.Fatal("no", "way"); note("after")(); return nil }, "no way", []string{"a"}},
		{"Errorf does not", func(h *harness) error { h.Errorf("%d", 7); note("after")(); return nil }, "7", []string{"after"}},
		{"Fatal in a cleanup", func(h *harness) error {
			h.Cleanup(note("a"))
			h.Cleanup(func() { h.Fatalf("late %d", 1) })
			return nil
		}, "late 1", []string{"a"}},
		{"a cleanup of a cleanup", func(h *harness) error { h.Cleanup(func() { h.Cleanup(note("a")) }); return nil }, "", []string{"a"}},
		{"a panic", func(h *harness) error { h.Cleanup(note("a")); panic("bug") }, "panic: bug", []string{"a"}},
		{"over before the cleanups", func(h *harness) error {
			h.Cleanup(func() {
				if h.Context().Err() != nil {
					note("over")()
				}
			})
			return h.Context().Err()
		}, "", []string{"over"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			done = nil
			err := withHarness(t.Context(), "h", silent, tc.f)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if diff := cmp.Diff(tc.done, done); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSwitchesOfNewThreadsCount(t *testing.T) {
	before := map[string]int64{"1": 5, "2": 100, "gone": 1000}
	if got := switched(before, map[string]int64{"1": 7, "2": 100, "new": 3}); got != 5 {
		t.Errorf("got %d, want 5", got)
	}
}
