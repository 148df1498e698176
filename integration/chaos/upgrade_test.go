package chaos

import (
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
		if got := c.r.late(); got != c.late {
			t.Errorf("%+v: %v", c.r, got)
		}
	}
}
