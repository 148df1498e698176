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

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
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

// Write tells the result in Markdown.
func (r *Result) Write(w io.Writer) {
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	fmt.Fprintf(w, "# Soak\n\n`make soak`, %s, commit %s, %d cores (shared with others; load %s before the run), Linux %s, %s, runtime %s.\n",
		r.Began.UTC().Format(time.DateOnly), r.commit, runtime.NumCPU(), r.load, kernel, strings.Replace(runtime.Version(), "go", "Go ", 1), r.Runtime)
	if r.Chaos != nil {
		from := fmt.Sprintf("Seed %d: `make soak SOAKFLAGS='-seed %d -steps %d -runtime %s'` does the same steps.", r.Seed, r.Seed, r.Chaos.Steps, r.Runtime)
		if r.Replay {
			from = "Steps from a file."
		}
		fmt.Fprintf(w, "\n## Chaos\n\n%s What is done and what must hold is in integration/chaos/doc.go.\n\n", from)
		r.Chaos.Write(w)
	}
	if r.Upgrade != nil {
		fmt.Fprint(w, "\n## Upgrade\n\n")
		r.Upgrade.Write(w)
	}
}

// WriteFile writes the result to a file, by rename.
func (r *Result) WriteFile(file string) error {
	var b bytes.Buffer
	r.Write(&b)
	return renameio.WriteFile(file, b.Bytes(), 0o644)
}
