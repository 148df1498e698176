package main

import "testing"

func TestTheMeasureOfGarbageFollowsWhatIsAlive(t *testing.T) {
	const mib = 1 << 20
	for live, want := range map[uint64]int{
		0: 100, 1: 400, 3 * mib: 400, 5 * mib: 400, 6 * mib: 325, 9 * mib: 200, 10 * mib: 200, 20 * mib: 100, 21 * mib: 100, 1 << 40: 100,
	} {
		if got := percent(live); got != want {
			t.Errorf("%d bytes: %d, want %d", live, got, want)
		}
	}
}
