package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestPercentileIsAMeasuredValue(t *testing.T) {
	var hundred times
	for i := 100; i > 0; i-- {
		hundred = append(hundred, time.Duration(i))
	}
	for _, tc := range []struct {
		name    string
		of      times
		percent float64
		want    time.Duration
	}{
		{"none", nil, 99, 0},
		{"one", times{7}, 99, 7},
		{"few give the largest", times{3, 1, 2}, 99, 3},
		{"median of odd", times{3, 1, 2}, 50, 2},
		{"hundred", hundred, 99, 99},
		{"all", hundred, 100, 100},
	} {
		if got := tc.of.p(tc.percent); got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestBootstrapHoldsTheFigureAndNarrows(t *testing.T) {
	var few, many []float64
	for i := range 1000 {
		v := 1 + float64(i%10)/100
		if i < 20 {
			few = append(few, v)
		}
		many = append(many, v)
	}
	a, b := bootstrap(medianOf, few), bootstrap(medianOf, many)
	for _, i := range []interval{a, b} {
		if i.low > i.figure || i.figure > i.high || math.Abs(i.figure-1.045) > 0.001 {
			t.Errorf("%+v", i)
		}
	}
	if b.half() >= a.half() {
		t.Errorf("1000 values give ± %v, 20 give ± %v", b.half(), a.half())
	}
	if again := bootstrap(medianOf, few); again != a {
		t.Errorf("%+v, then %+v", a, again)
	}
}

func TestRatioAndDifferenceOfMedians(t *testing.T) {
	a, b := []float64{2, 4, 6}, []float64{1, 2, 3}
	if got := ratioOfMedians(a, b); got != 2 {
		t.Errorf("ratio %v", got)
	}
	if got := medianDifference(a, b); got != 2 {
		t.Errorf("difference %v", got)
	}
	if !math.IsNaN(median(nil)) {
		t.Error("there is a median of nothing")
	}
}

func TestDurationsShowThreeDigits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		640: "640 ns", 1_500: "1.50 µs", 12_345_678: "12.3 ms", 5_012_345_678: "5.01 s", -2_000: "-2.00 µs", 123_456_789: "123 ms",
	} {
		if got := show(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
}

func TestTablesAreAlignedAndEscaped(t *testing.T) {
	tab := table{title: "T", rows: []row{{what: "a µ|b", figure: "1", goal: "≤ 2", verdict: keeps(true)}, {what: "c", verdict: keeps(false)}}}
	var text, md strings.Builder
	tab.print(&text)
	tab.markdown(&md)
	lines := strings.Split(text.String(), "\n")
	if column(lines[2], "measured") != column(lines[3], "1") {
		t.Errorf("not aligned:\n%s", text.String())
	}
	for _, want := range []string{`| a µ\|b | 1 |  | ≤ 2 | met |`, "NOT MET"} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("no %q in\n%s", want, md.String())
		}
	}
}

// column is where text begins, in characters.
func column(line, text string) int { return len([]rune(line[:strings.Index(line, text)])) }

func TestHistogramIsReadFromAPage(t *testing.T) {
	const page = `# TYPE a histogram
a_bucket{le="0.0001"} 90
a_bucket{le="0.0003"} 99
a_bucket{le="+Inf"} 100
a_sum 1
a_count 100
ab_bucket{le="5"} 1
`
	h, err := histogramOf(page, "a")
	if err != nil {
		t.Fatal(err)
	}
	if h.total() != 100 || h.holds(0.9) != 100*time.Microsecond || h.holds(0.99) != 300*time.Microsecond || h.holds(1) != math.MaxInt64 {
		t.Errorf("%+v: %v %v %v", h, h.holds(0.9), h.holds(0.99), h.holds(1))
	}
	if _, err := histogramOf(page, "b"); err == nil {
		t.Error("a histogram that is not there was read")
	}
}

func TestRatiosOfSamplesInTurnDoNotSeeWhatTheMachineDid(t *testing.T) {
	slow := []float64{1, 3, 1, 2} // how slow the machine was in each round
	var ours, theirs []float64
	for _, f := range slow {
		ours, theirs = append(ours, 1.2*f), append(theirs, f)
	}
	if got := bootstrap(medianOf, ratios(ours, theirs[:3])); math.Abs(got.figure-1.2) > 1e-9 || got.half() > 1e-9 {
		t.Errorf("%+v", got)
	}
}
