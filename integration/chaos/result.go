package chaos

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/results"
)

// Result is what docs/results keeps of a soak.
type Result struct {
	Began   time.Time
	Runtime string
	Seed    uint64
	Replay  bool // the steps came from a file
	Chaos   *Report
	Upgrade *Upgraded

	commit, load string
}

// Observe notes the circumstances before the run: commit and load.
func (r *Result) Observe() {
	r.commit, r.load = "unknown", "unknown"
	if out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output(); err == nil {
		r.commit = strings.TrimSpace(string(out))
		if out, err := exec.Command("git", "status", "--porcelain").Output(); err == nil && len(out) > 0 {
			r.commit += " with changes"
		}
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.load, _, _ = strings.Cut(string(text), " ")
	}
}

// Kept says whether all promises were kept.
func (r *Result) Kept() bool {
	return (r.Chaos == nil || len(r.Chaos.Violations) == 0) && (r.Upgrade == nil || len(r.Upgrade.Violations) == 0)
}

// Write tells the result in Markdown, as the section of its runtime.
func (r *Result) Write(w io.Writer) {
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	fmt.Fprintf(w, "%s%s\n\n`make soak`, %s, commit %s, %d cores (shared with others; load %s before the run), Linux %s, %s, runtime %s.\n", results.Mark, r.section(),
		r.Began.UTC().Format(time.DateOnly), r.commit, runtime.NumCPU(), r.load, kernel, strings.Replace(runtime.Version(), "go", "Go ", 1), r.Runtime)
	if r.Chaos != nil {
		from := fmt.Sprintf("Seed %d: `make soak SOAKFLAGS='-seed %d -steps %d -runtime %s'` does the same steps.", r.Seed, r.Seed, r.Chaos.Steps, r.Runtime)
		if r.Replay {
			from = "Steps from a file."
		}
		fmt.Fprintf(w, "\n### Chaos\n\n%s\n\n", from)
		r.Chaos.Write(w)
	}
	if r.Upgrade != nil {
		fmt.Fprint(w, "\n### Upgrade\n\n")
		r.Upgrade.Write(w)
	}
}

// WriteFile replaces the section of the result's runtime in a file and keeps those of others.
func (r *Result) WriteFile(file string) error {
	var b bytes.Buffer
	r.Write(&b)
	f := results.File{Path: file, Head: resultHead}
	for _, name := range []integration.RuntimeName{integration.Containerd, integration.CRIO, integration.OldCRIO} {
		f.Names = append(f.Names, string(name), string(name)+longMark)
	}
	return f.Replace(r.section(), b.String())
}

// longRun is how many steps make a run one that the next usual one does not replace.
const (
	longRun  = 1000
	longMark = ", long"
)

func (r *Result) section() string {
	if r.Chaos != nil && r.Chaos.Steps >= longRun {
		return r.Runtime + longMark
	}
	return r.Runtime
}

const resultHead = `# Soak

The last run on each runtime: ` + "`make soak`" + ` is containerd, ` + "`make soak SOAKFLAGS='-runtime crio'`" + ` CRI-O; each replaces its own section and no other. A run of 1,000
steps or more has a section of its own. What is done and what must hold is in integration/chaos/doc.go. A violation is a promise of these that was broken.

What three actions do, and do not:

- ` + "`clock`" + ` leaves the machine's clock alone. It changes the date in the policy file, by a day, of which Inlay judges the file's age.
- ` + "`bitstream half`" + ` is what a full disk leaves in the bitstream store: a file cut in half. The store's own disk is never full; Inlay's daemons and hook only read it.
- ` + "`fill`" + ` does fill a disk, to the last byte: a small one, mounted where Inlay writes (run: /run/inlay, state: /var/lib/inlay).
`
