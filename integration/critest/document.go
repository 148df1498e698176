package critest

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/integration/results"
)

// WriteFile writes a result into a file of docs/results, as the section of its runtime.
func (r Result) WriteFile(file string, began time.Time) error {
	var text strings.Builder
	r.Write(&text, began)
	f := results.File{Path: file, Head: head(), Names: []string{"containerd", "cri-o"}}
	return f.Replace(r.name(), text.String())
}

// name is the runtime's, without its version.
func (r Result) name() string {
	name, _, _ := strings.Cut(r.Runtime, " ")
	return name
}

// Write tells the result in Markdown.
func (r Result) Write(w io.Writer, began time.Time) {
	fmt.Fprintf(w, "%s%s\n\n%s\n\n", results.Mark, r.name(), circumstances(began, len(r.Rounds)))
	fmt.Fprintln(w, "| runtime | specs run | pass without | pass with | at least | differences | time without | time with | ratio |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---|---:|---:|---:|")
	fmt.Fprintln(w, r.row())
	r.details(w)
}

// head is what the file says before its sections.
func head() string {
	var w strings.Builder
	fmt.Fprintf(&w, "# critest\n\n%s\n\nNot run:\n\n| specs | on | why |\n|---|---|---|\n", legend)
	for _, s := range SkipList() {
		on := string(s.Runtime)
		if on == "" {
			on = "both"
		}
		fmt.Fprintf(&w, "| `%s` | %s | %s |\n", strings.ReplaceAll(s.Pattern, "|", `\|`), on, s.Reason)
	}
	return w.String()
}

const legend = `Critest of cri-tools 1.34.0 on real runtimes, with images made here, without inlay-nri and with it connected (policy, gate and
inlay-deviceplugin with a card as on a node), each on a fresh runtime of the same configuration and with the specs in the same order. A
spec that fails is tried once more. Times are those of the specs that pass both ways; most of it is critest's own waiting. The last run
on each runtime: ` + "`make critest`" + ` does both, ` + "`make critest CRITESTFLAGS='-runtime crio'`" + ` one.`

// row is a result's line; of several rounds it has the smallest numbers of passes.
func (r Result) row() string {
	var run, differences int
	without, with := -1, -1
	for _, round := range r.Rounds {
		run = len(round.Without.Passes()) + len(round.Without.Failures())
		if n := len(round.Without.Passes()); without < 0 || n < without {
			without = n
		}
		if n := len(round.With.Passes()); with < 0 || n < with {
			with = n
		}
		differences += len(Compare(round.Without, round.With))
	}
	said := "none"
	if differences > 0 {
		said = fmt.Sprint(differences)
	}
	a, b := r.Times()
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %s | %.1f s | %.1f s | %.3f |",
		r.Runtime, run, without, with, r.Floor, said, a.Seconds(), b.Seconds(), b.Seconds()/a.Seconds())
}

// details are the rounds one by one, what fails both ways and what passed only at the
// second attempt.
func (r Result) details(w io.Writer) {
	fmt.Fprintln(w)
	failing := map[string]string{}
	for n, round := range r.Rounds {
		one := Result{Rounds: []Round{round}}
		a, b := one.Times()
		fmt.Fprintf(w, "- Round %d: %.1f s without, %.1f s with (%.3f).\n", n+1, a.Seconds(), b.Seconds(), b.Seconds()/a.Seconds())
		for _, d := range Compare(round.Without, round.With) {
			fmt.Fprintf(w, "- Round %d, DIFFERENCE: %v\n", n+1, d)
		}
		for what, report := range map[string]Report{"without": round.Without, "with": round.With} {
			for _, name := range report.Passes() {
				if o := report.Specs[name]; o.Attempts > 1 {
					failing[fmt.Sprintf("Round %d, %s: only at attempt %d: %s", n+1, what, o.Attempts, name)] = ""
				}
			}
		}
		for _, name := range round.Without.Failures() {
			if o := round.With.Specs[name]; !o.Passed() {
				failing["Fails both ways: "+name] = ": " + o.Why
			}
		}
	}
	for _, what := range slices.Sorted(maps.Keys(failing)) {
		fmt.Fprintf(w, "- %s%s\n", what, failing[what])
	}
}

// circumstances are what a reader needs to judge the figures, without naming the machine.
func circumstances(began time.Time, rounds int) string {
	commit, load, kernel := "unknown", "unknown", "unknown"
	if out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		fields := strings.Fields(string(text))
		load = fields[min(2, len(fields)-1)]
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	return fmt.Sprintf("%s, commit %s, `make critest`, %d round(s), %v in all.\n%d cores (shared with others; load of the last 15 minutes %s), Linux %s, %s.",
		began.UTC().Format(time.DateOnly), commit, rounds, time.Since(began).Round(time.Second), runtime.NumCPU(), load, kernel,
		strings.Replace(runtime.Version(), "go", "Go ", 1))
}
