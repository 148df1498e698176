package critest

import (
	"regexp"
	"slices"
	"testing"

	"github.com/inlay-project/inlay/integration"
)

func TestPatternsAreGoodAndNoneIsBothChosenAndLeftOut(t *testing.T) {
	for _, runtime := range []integration.RuntimeName{integration.Containerd, integration.CRIO} {
		for _, pattern := range append(skipOn(runtime), FocusList()...) {
			if _, err := regexp.Compile(pattern); err != nil {
				t.Errorf("%s: %v", pattern, err)
			}
		}
		for _, pattern := range skipOn(runtime) {
			if slices.Contains(FocusList(), pattern) {
				t.Errorf("%s is chosen and left out", pattern)
			}
		}
	}
}

// Every pattern chooses one spec at least; that it still does the number tells.
func TestTheFocusListIsRecordedForEachRuntime(t *testing.T) {
	for _, runtime := range []integration.RuntimeName{integration.Containerd, integration.CRIO} {
		if n := FocusFloor(runtime); n < len(FocusList()) || n > Floor(runtime) {
			t.Errorf("%s: %d specs for %d patterns, of %d in all", runtime, n, len(FocusList()), Floor(runtime))
		}
	}
}

func TestEverySkippedSpecHasAReason(t *testing.T) {
	for _, s := range SkipList() {
		if s.Reason == "" || s.Pattern == "" {
			t.Errorf("%+v", s)
		}
	}
}
