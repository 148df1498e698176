//go:build integration

package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// suite holds the tools of one test run. They are made at their first use, so that a
// run of one plain test needs neither the emulator nor Inlay nor CRI-O.
type suite struct {
	dir string
	// runtime gives containerd and the images, inlay Inlay's programs besides, added
	// another runtime besides those.
	runtime, inlay func() (Tools, error)
	added          map[RuntimeName]func() (Tools, error)
}

var tools suite

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the integration tests start container runtimes and need root")
		os.Exit(1)
	}
	removeAbandonedTools()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", toolsPrefix, os.Getpid()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	tools = newSuite(dir)
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// toolsPrefix begins the name of a folder of tools; the id of its test process follows.
const toolsPrefix = "inlay-tools-"

// removeAbandonedTools removes the folders of test processes that were killed.
func removeAbandonedTools() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), toolsPrefix+"*-*"))
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), toolsPrefix+"%d-", &pid); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = os.RemoveAll(dir) // a race with another run's sweep is as good
		}
	}
}

func newSuite(dir string) suite {
	const buildLimit = 20 * time.Minute
	s := suite{dir: dir}
	s.runtime = sync.OnceValues(func() (Tools, error) {
		ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
		defer cancel()
		return BuildRuntime(ctx, dir, os.Stderr)
	})
	s.inlay = sync.OnceValues(func() (Tools, error) {
		base, err := s.runtime()
		if err != nil {
			return Tools{}, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
		defer cancel()
		// INLAY_BIN names a folder of built programs to be tested, e.g. a release's;
		// without it they are compiled from this tree.
		return base.WithInlay(ctx, os.Getenv("INLAY_BIN"), dir)
	})
	s.added = map[RuntimeName]func() (Tools, error){Containerd: s.inlay}
	for _, name := range []RuntimeName{CRIO, OldCRIO} {
		s.added[name] = sync.OnceValues(func() (Tools, error) {
			base, err := s.inlay()
			if err != nil {
				return Tools{}, err
			}
			ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
			defer cancel()
			return base.WithRuntime(ctx, name, os.Stderr)
		})
	}
	return s
}

// runtimeTools are containerd, runc and the images.
func runtimeTools(t testing.TB) Tools {
	t.Helper()
	got, err := tools.runtime()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// inlayTools are the tools of a runtime, Inlay's programs and the emulator.
func inlayTools(t testing.TB, on RuntimeName) Tools {
	t.Helper()
	got, err := tools.added[on]()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// on runs a scenario once on each of the runtimes.
func on(t *testing.T, runtimes []RuntimeName, scenario func(*testing.T, RuntimeName)) {
	t.Helper()
	for _, r := range runtimes {
		t.Run(string(r), func(t *testing.T) { scenario(t, r) })
	}
}

// Where a scenario is run: what Inlay must do everywhere, on all three; what depends on
// little else than the card, not on the old CRI-O, which would only take time.
var (
	everywhere = []RuntimeName{Containerd, CRIO, OldCRIO}
	onBoth     = []RuntimeName{Containerd, CRIO}
)
