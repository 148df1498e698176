package chaos

import (
	"strings"
	"testing"
	"time"
)

func TestTheTimeWithoutAllDevicesIsMeasured(t *testing.T) {
	const s = time.Second
	o := &offer{all: 2}
	for _, c := range []struct {
		n  int
		at time.Duration
	}{{2, 1 * s}, {0, 3 * s}, {1, 4 * s}, {2, 5 * s}, {1, 6 * s}, {2, 7 * s}, {2, 9 * s}} {
		o.note(c.n, c.at)
	}
	if gone, back := o.gap(6 * s); gone != 4*s || back != s {
		t.Errorf("gone for %v, back after %v", gone, back)
	}
	if _, back := o.gap(8 * s); back != 0 {
		t.Errorf("it was back before the start, and that counts as %v", back)
	}
	if err := o.whole(); err != nil {
		t.Error(err)
	}
	o.begin()
	if gone, back := o.gap(6 * s); gone != 0 || back != 0 {
		t.Errorf("after a new beginning: %v, %v", gone, back)
	}
	o.note(1, 10*s)
	if o.whole() == nil {
		t.Error("one of two is all")
	}
	if gone, _ := o.gap(6 * s); gone != 0 {
		t.Errorf("it is not back yet, and was gone for %v", gone)
	}
}

func TestDevicesThatComeBackLateAreSeen(t *testing.T) {
	for _, c := range []struct {
		r    Rollout
		late bool
	}{
		{Rollout{Back: time.Second, NodeBack: 2 * time.Second, Ready: time.Second}, false},
		{Rollout{Back: backLimit + 1, NodeBack: backLimit, Ready: time.Minute}, true},
		{Rollout{Back: time.Second, NodeBack: time.Second + backLimit + 1, Ready: time.Second}, true},
	} {
		if got := c.r.late(backLimit); got != c.late {
			t.Errorf("%+v: %v", c.r, got)
		}
	}
}

func TestTheVerdictStandsAboveTheTable(t *testing.T) {
	const s = time.Second
	u := &Upgraded{Rollouts: []Rollout{
		{Back: s / 2, NodeBack: 3 * s, Ready: 2 * s, Gone: 4 * s, NodeGone: 5 * s},
		{Back: s, NodeBack: s, Ready: 6 * s, Gone: s},
	}}
	said := func() string {
		var text strings.Builder
		u.Write(&text)
		above, _, _ := strings.Cut(text.String(), "| roll-out |")
		return above
	}
	for _, want := range []string{"within 2 s, counted from the start", "kept in every roll-out; the slowest took 1.00 s and 1.00 s", "up to 5.00 s and has no bound"} {
		if !strings.Contains(said(), want) {
			t.Errorf("it does not say %q:\n%s", want, said())
		}
	}
	u.Rollouts[1].Back = 3 * s
	if want := "BROKEN in 1 of 2 roll-outs; the slowest took 3.00 s"; !strings.Contains(said(), want) {
		t.Errorf("it does not say %q:\n%s", want, said())
	}
}
