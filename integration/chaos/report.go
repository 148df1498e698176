package chaos

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Violation is a broken promise.
type Violation struct {
	Step      int // 1 is the first; 0 before it
	Invariant string
	Text      string
	At        time.Duration // since the run began
}

// Report is what came of a run.
type Report struct {
	Steps, NotDone             int // settles left out
	Actions                    map[string]int
	Pods, Refused, Failed      map[string]int // by kind; Failed by the failure's words
	Looks, Readings            int
	Done                       int // jobs that came to their end
	Hooks                      int // killed or frozen while they programmed
	Programmed, ProgramsFailed int
	Settles                    []time.Duration // how long until all was well again
	Took                       time.Duration
	Violations                 []Violation

	granted map[string]bool // containers with an FPGA that were seen
	plain   map[string]bool
	notWell bool // after the last settle
}

func newReport() *Report {
	return &Report{
		Actions: map[string]int{}, Pods: map[string]int{}, Refused: map[string]int{}, Failed: map[string]int{},
		granted: map[string]bool{}, plain: map[string]bool{},
	}
}

// Containers counts what was seen.
func (r *Report) Containers(seen []Container) {
	for _, c := range seen {
		if len(c.Nodes) > 0 {
			r.granted[c.ID] = true
		} else {
			r.plain[c.ID] = true
		}
	}
}

// Granted is how many containers with an FPGA were seen.
func (r *Report) Granted() int { return len(r.granted) }

// Write tells the report in Markdown.
func (r *Report) Write(w io.Writer) {
	fmt.Fprintf(w, "%d steps and %d settles in %v, %d violations.\n\n", r.Steps, len(r.Settles), r.Took.Round(time.Second), len(r.Violations))
	for _, v := range r.Violations {
		fmt.Fprintf(w, "- step %d, %s: %s\n", v.Step, v.Invariant, v.Text)
	}
	if len(r.Violations) > 0 {
		fmt.Fprintln(w)
	}
	sum := func(m map[string]int) (n int) {
		for _, v := range m {
			n += v
		}
		return n
	}
	fmt.Fprintf(w, "| what | how often |\n|---|---:|\n")
	row := func(what string, n any) { fmt.Fprintf(w, "| %s | %v |\n", what, n) }
	row("looks at all containers, their nodes and control groups", r.Looks)
	row("readings of AFU ids by the containers themselves", r.Readings)
	row("containers with an FPGA that were seen", len(r.granted))
	row("other containers that were seen", len(r.plain))
	row("pods created ("+list(r.Pods)+")", sum(r.Pods))
	row("of them jobs that came to their end", r.Done)
	row("pods refused by the API server ("+list(r.Refused)+")", sum(r.Refused))
	row("pods that the kubelet turned away for good and that were made anew", sum(r.Failed))
	row("cards programmed", r.Programmed)
	row("programmings that failed", r.ProgramsFailed)
	row("hooks killed or frozen while they programmed", r.Hooks)
	row("steps that could not be done, because of earlier ones", r.NotDone)
	row("longest time until all was well again after everything was mended", longest(r.Settles))
	if len(r.Failed) > 0 {
		fmt.Fprintf(w, "\n| with which words the kubelet turned pods away (integration/chaos/doc.go explains them) | how often |\n|---|---:|\n")
		for _, words := range slices.Sorted(maps.Keys(r.Failed)) {
			fmt.Fprintf(w, "| %s | %d |\n", strings.ReplaceAll(words, "|", `\|`), r.Failed[words])
		}
	}
	fmt.Fprintf(w, "\n| action | how often |\n|---|---:|\n")
	for _, a := range slices.Sorted(maps.Keys(r.Actions)) {
		fmt.Fprintf(w, "| `%s` | %d |\n", a, r.Actions[a])
	}
}

func longest(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Max(all).Round(100 * time.Millisecond)
}

func list(m map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}

// Write tells what came of an upgrade in Markdown.
func (u *Upgraded) Write(w io.Writer) {
	fmt.Fprintf(w, "%d roll-outs under %d running pods in %v, %d violations; %d readings, the longest time between two of one container %.1f s.\n\n",
		len(u.Rollouts), u.Pods, u.Took.Round(time.Second), len(u.Violations), u.Readings, u.LongestGap.Seconds())
	for _, v := range u.Violations {
		fmt.Fprintf(w, "- roll-out %d, %s: %s\n", v.Step, v.Invariant, v.Text)
	}
	if len(u.Violations) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%s\n%s", u.verdict(), upgradeLegend)
	for i, r := range u.Rollouts {
		fmt.Fprintf(w, "| %d | %s | %.2f | %.2f | %.2f | %.2f | %.2f |\n", i+1, r.To, r.Back.Seconds(), r.NodeBack.Seconds(), r.Ready.Seconds(), r.Gone.Seconds(), r.NodeGone.Seconds())
	}
}

// verdict holds the slowest roll-outs against backLimit.
func (u *Upgraded) verdict() string {
	var back, node, gone time.Duration
	said := "kept in every roll-out"
	late := 0
	for _, r := range u.Rollouts {
		back, node, gone = max(back, r.Back), max(node, r.NodeBack-r.Ready), max(gone, r.Gone, r.NodeGone)
		if r.late(backLimit) {
			late++
			said = fmt.Sprintf("BROKEN in %d of %d roll-outs", late, len(u.Rollouts))
		}
	}
	return fmt.Sprintf(`Bounds: all devices are offered again by the kubelet within %.0f s, counted from the start of the new inlay-deviceplugin (back), and in the
Node's status within %.0f s, counted from the end of the roll-out (back less ready). Verdict: %s; the slowest took %.2f s and %.2f s.
Neither counts from the end of the old plugin. The whole time without all devices (gone) was up to %.2f s and has no bound: it is mostly
Kubernetes's, which ends the old pod before it makes the new one. Pods that run are not touched by it.
`, backLimit.Seconds(), backLimit.Seconds(), said, back.Seconds(), node.Seconds(), gone.Seconds())
}

const upgradeLegend = `Seconds. Back: from the start of the new inlay-deviceplugin (the process) until all devices are offered again, by the kubelet (its podresources
API, asked every 20 ms) and in the Node's status (which the kubelet writes once a second). Ready: from that start until the DaemonSet has rolled out.
Gone: how long less than all were offered, the end of the old pod and the start of the new one included; 0 = nobody who asked saw less.

| roll-out | to | back, kubelet | back, Node | ready | gone, kubelet | gone, Node |
|---:|---|---:|---:|---:|---:|---:|
`
