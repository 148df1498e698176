package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/integration"
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
	fmt.Fprintf(w, "%s%s\n\n`make soak`, %s, commit %s, %d cores (shared with others; load %s before the run), Linux %s, %s, runtime %s.\n", sectionMark, r.Runtime,
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

// WriteFile replaces the section of the result's runtime in a file, by rename, and keeps those of others. A file that is
// not there yet is made.
func (r *Result) WriteFile(file string) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var b bytes.Buffer
	r.Write(&b)
	text, err := withSection(string(old), r.Runtime, b.String())
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return renameio.WriteFile(file, []byte(text), 0o644)
}

// sectionMark begins the heading of a runtime's section.
const sectionMark = "## "

// withSection is the document with another section for a runtime, below the head of today. Sections are in the order of
// their names. What is no runtime's would be lost, and is an error.
func withSection(document, name, section string) (string, error) {
	sections := map[string]string{name: section}
	_, rest, _ := strings.Cut("\n"+document, "\n"+sectionMark)
	for part := range strings.SplitSeq(rest, "\n"+sectionMark) {
		other, _, _ := strings.Cut(part, "\n")
		switch integration.RuntimeName(other) {
		case integration.RuntimeName(name), "":
		case integration.Containerd, integration.CRIO, integration.OldCRIO:
			sections[other] = sectionMark + part
		default:
			return "", fmt.Errorf("section %q is of no runtime", other)
		}
	}
	text := resultHead
	for _, name := range slices.Sorted(maps.Keys(sections)) {
		text += "\n" + strings.TrimRight(sections[name], "\n") + "\n"
	}
	return text, nil
}

const resultHead = `# Soak

The last run on each runtime: ` + "`make soak`" + ` is containerd, ` + "`make soak SOAKFLAGS='-runtime crio'`" + ` CRI-O; each replaces its own section and no other. What is done and what
must hold is in integration/chaos/doc.go. A violation is a promise of these that was broken.

What three actions do, and do not:

- ` + "`clock`" + ` leaves the machine's clock alone. It changes the date in the policy file, by a day, of which Inlay judges the file's age.
- ` + "`bitstream half`" + ` is what a full disk leaves in the bitstream store: a file cut in half. The store's own disk is never full; Inlay only reads it.
- ` + "`fill`" + ` does fill a disk, to the last byte: a small one, mounted where Inlay writes (run: /run/inlay, state: /var/lib/inlay).
`
