package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// verdict is what became of a promise.
type verdict string

const (
	met    verdict = "met"
	notMet verdict = "NOT MET"
	notRun verdict = "not run"
	broken verdict = "BROKEN"
	noGoal verdict = "" // a figure that explains another one
)

// keeps turns a comparison into a verdict.
func keeps(kept bool) verdict {
	if kept {
		return met
	}
	return notMet
}

// row is one figure.
type row struct {
	what     string // what was measured
	figure   string
	baseline string // of the same run
	goal     string
	verdict  verdict
	samples  string // how many, of what
}

func (r row) cells() []string {
	return []string{r.what, r.figure, r.baseline, r.goal, string(r.verdict), r.samples}
}

var heads = [...]string{"figure", "measured", "baseline in this run", "goal", "result", "samples"}

// table is the rows of one stage.
type table struct {
	title string
	rows  []row
}

// print writes the table for a terminal.
func (t table) print(w io.Writer) {
	lines := [][]string{heads[:]}
	for _, r := range t.rows {
		lines = append(lines, r.cells())
	}
	width := make([]int, len(heads))
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	fmt.Fprintf(w, "\n%s\n", t.title)
	for _, line := range lines {
		var b strings.Builder
		for i, cell := range line {
			b.WriteString("  " + cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// markdown writes the table for docs/results.
func (t table) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n\n| %s |\n|%s\n", t.title, strings.Join(heads[:], " | "), strings.Repeat("---|", len(heads)))
	for _, r := range t.rows {
		cells := r.cells()
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(c, "|", `\|`)
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

// circumstances are what a reader needs to judge the figures, without naming the machine.
type circumstances struct {
	began  time.Time
	took   time.Duration
	flags  string
	commit string
	load   string // of the machine, before we began
	tmp    string // where temporary files were
}

func observe(o options) circumstances {
	c := circumstances{began: time.Now(), flags: o.flags(), tmp: o.tmp, commit: "unknown", load: "unknown"}
	if out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output(); err == nil {
		c.commit = strings.TrimSpace(string(out))
		if out, err := exec.Command("git", "status", "--porcelain").Output(); err == nil && len(out) > 0 {
			c.commit += " with changes"
		}
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		c.load, _, _ = strings.Cut(string(text), " ")
	}
	return c
}

func (c circumstances) lines() []string {
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	who := "an ordinary user"
	if os.Geteuid() == 0 {
		who = "root"
	}
	return []string{
		fmt.Sprintf("%s, commit %s, `make bench`%s, %s in all.", c.began.UTC().Format(time.DateOnly), c.commit, c.flags, c.took.Round(time.Second)),
		fmt.Sprintf("%d cores (shared with others; load %s before the run), Linux %s, %s, as %s, temporary files %s.",
			runtime.NumCPU(), c.load, kernel, strings.Replace(runtime.Version(), "go", "Go ", 1), who, c.tmp),
	}
}

// document writes the whole result as Markdown.
func document(w io.Writer, c circumstances, tables []table) {
	fmt.Fprintf(w, "# Benchmarks\n\n%s\n\n%s\n", strings.Join(c.lines(), "\n"), legend)
	for _, t := range tables {
		t.markdown(w)
	}
}

const legend = `Each figure stands beside a baseline of the same run. Intervals in parentheses hold the figure with 95 % confidence (bootstrap). p99 of
fewer than 100 samples is the largest of them. The bare device plugin, the empty NRI plugin and the empty program are in integration/bench.`
