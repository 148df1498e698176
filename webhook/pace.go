package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// garbage is what may gather before it is collected. A collection costs the same for much and for little of it, and
	// Go's own measure, as much as there is alive, means five times as many of them while there are few mappings.
	garbage = 20 << 20 // bytes

	paceFirst = time.Second // what there is after the first lists is there to stay
	paceEvery = 30 * time.Second
)

// pace keeps the collector at that measure until ctx ends, or leaves it alone if GOGC says what it is to do.
func pace(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	ticker := time.NewTicker(paceFirst)
	defer ticker.Stop()
	last := 0
	for {
		metrics.Read(live)
		if p := percent(live[0].Value.Uint64()); p != last {
			debug.SetGCPercent(p)
			last = p
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ticker.Reset(paceEvery)
		}
	}
}

// percent is the measure as Go wants it: garbage in hundredths of what is alive, in steps of 25. With more alive than
// that it is Go's own; before the first collection nobody knows.
func percent(live uint64) int {
	const least, most, step = 100, 400, 25
	if live == 0 {
		return least
	}
	return int(min(max(garbage*100/live/step*step, least), most))
}
