package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// times are single measurements of one thing.
type times []time.Duration

// fromNS takes what a probe printed.
func fromNS(ns []int64) times {
	out := make(times, len(ns))
	for i, n := range ns {
		out[i] = time.Duration(n)
	}
	return out
}

// p gives a percentile by the nearest rank: a value that was measured, and with few of them the largest.
func (t times) p(percent float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t))
	rank := int(math.Ceil(percent / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func (t times) seconds() []float64 {
	out := make([]float64, len(t))
	for i, d := range t {
		out[i] = d.Seconds()
	}
	return out
}

// median of values; NaN of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// interval is where a figure lies with 95 % confidence.
type interval struct{ figure, low, high float64 }

// half is half of the interval's width, which "± x" promises.
func (i interval) half() float64 { return (i.high - i.low) / 2 }

// resamples of the bootstrap: the ends of a 95 % interval then stand still to the third digit.
const resamples = 2000

// bootstrap gives a figure of some samples with its 95 % percentile interval. Each sample is drawn anew on its own. The
// random source is fixed: equal measurements give equal intervals.
func bootstrap(figure func(samples ...[]float64) float64, samples ...[]float64) interval {
	random := rand.New(rand.NewPCG(1, 2))
	drawn := make([][]float64, len(samples))
	for i, s := range samples {
		drawn[i] = make([]float64, len(s))
	}
	figures := make([]float64, resamples)
	for n := range figures {
		for i, s := range samples {
			for j := range drawn[i] {
				drawn[i][j] = s[random.IntN(len(s))]
			}
		}
		figures[n] = figure(drawn...)
	}
	slices.Sort(figures)
	return interval{figure(samples...), figures[resamples*25/1000], figures[resamples*975/1000-1]}
}

// ratios are those of samples that were taken in turn, round by round: what the machine did meanwhile is in both.
func ratios(s, baseline []float64) []float64 {
	out := make([]float64, min(len(s), len(baseline)))
	for i := range out {
		out[i] = s[i] / baseline[i]
	}
	return out
}

func medianOf(s ...[]float64) float64       { return median(s[0]) }
func ratioOfMedians(s ...[]float64) float64 { return median(s[0]) / median(s[1]) }
func medianDifference(s ...[]float64) float64 {
	return median(s[0]) - median(s[1])
}

// text gives the interval as "1.02 (1.00 to 1.04)", in a unit and with some decimals.
func (i interval) text(unit string, scale float64, decimals int) string {
	return fmt.Sprintf("%.*f%s (%.*f to %.*f)", decimals, i.figure*scale, unit, decimals, i.low*scale, decimals, i.high*scale)
}

// show gives a duration with three digits in the unit that fits.
func show(d time.Duration) string {
	switch abs := d.Abs(); {
	case abs < time.Microsecond:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case abs < time.Millisecond:
		return digits(float64(d.Nanoseconds())/1e3) + " µs"
	case abs < time.Second:
		return digits(float64(d.Nanoseconds())/1e6) + " ms"
	default:
		return digits(d.Seconds()) + " s"
	}
}

func digits(v float64) string {
	switch abs := math.Abs(v); {
	case abs < 10:
		return fmt.Sprintf("%.2f", v)
	case abs < 100:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}

// mib shows bytes.
func mib(bytes int64) string { return digits(float64(bytes)/(1<<20)) + " MiB" }
