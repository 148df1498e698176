package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/inlay-project/inlay/fpga/emulator"
)

const emptyProgram = "package main\n\nfunc main() {}\n"

// BenchmarkWarmStart compares the hook as a whole process, on a region that holds the function, with a Go program that
// does nothing. The two take turns, so that what else the machine does hits both; the figures are medians.
//
// Of "emulated" a part is the emulator's own: each of the hook's openat2 calls goes through it. "plain" is a tree whose
// nodes are files, where nothing stands between the hook and the kernel.
func BenchmarkWarmStart(b *testing.B) {
	hook := programs.path(b, "inlay-hook")
	empty := buildEmpty(b)
	program := func(root string) []string {
		return []string{hook, "program", "--host-root", root, "--pair", pairArg("dfl-port.0", card0, nlb0)}
	}
	b.Run("version", func(b *testing.B) { ratio(b, nil, []string{empty}, []string{hook, "version"}) })
	b.Run("plain", func(b *testing.B) {
		root := benchTree(b, emulator.PlainNodes())
		ratio(b, nil, []string{empty}, program(root))
	})
	b.Run("emulated", func(b *testing.B) {
		if programs.runErr != nil {
			b.Skipf("SKIPPED: the emulator cannot run here: %v", programs.runErr)
		}
		root := benchTree(b)
		prefix := []string{programs.path(b, "fpga-emulator"), "--host-root", root, "--", os.Args[0], "-test.run=^TestTimeProcesses$"}
		ratio(b, prefix, []string{empty}, program(root))
	})
}

// ratio reports the medians of both commands, run in turns by a process that prefix starts (nil: by this one).
func ratio(b *testing.B, prefix []string, baseline, command []string) {
	b.Helper()
	var base, own time.Duration
	if prefix == nil {
		var err error
		if base, own, err = turns(b.N, baseline, command); err != nil {
			b.Fatal(err)
		}
	} else {
		base, own = turnsElsewhere(b, prefix, baseline, command)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(base.Microseconds()), "empty-µs")
	b.ReportMetric(float64(own.Microseconds()), "hook-µs")
	b.ReportMetric(float64(own)/float64(base), "ratio")
}

// turns runs both commands n times, at least 20, and gives the medians of their durations.
func turns(n int, baseline, command []string) (base, own time.Duration, err error) {
	n = max(n, 20)
	took := [2][]time.Duration{}
	for range n {
		for i, c := range [][]string{baseline, command} {
			began := time.Now()
			if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
				return 0, 0, &runError{c, out, err}
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	for _, list := range took {
		slices.Sort(list)
	}
	return took[0][n/2], took[1][n/2], nil
}

type runError struct {
	command []string
	out     []byte
	err     error
}

func (e *runError) Error() string { return e.command[0] + ": " + e.err.Error() + ": " + string(e.out) }

func buildEmpty(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "empty")
	if err := os.WriteFile(source, []byte(emptyProgram), 0o644); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return program
}

func benchTree(b *testing.B, opts ...emulator.TreeOption) string {
	b.Helper()
	root := b.TempDir()
	cards := []emulator.Card{{Driver: emulator.DFL, Ports: 1}, {Driver: emulator.DFL, Ports: 1}}
	if err := emulator.WriteTree(root, cards, opts...); err != nil {
		b.Fatal(err)
	}
	data, err := emulator.GBS(iface, nlb0, 4096)
	if err != nil {
		b.Fatal(err)
	}
	store := filepath.Join(root, "srv/intel.com/fpga", iface)
	if err := os.MkdirAll(store, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(store, nlb0+".gbs"), data, 0o644); err != nil {
		b.Fatal(err)
	}
	return root
}
