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
// run of one plain test needs neither the emulator nor Inlay.
type suite struct {
	dir     string
	runtime func() (Tools, error)
	inlay   func() (Tools, error)
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

// inlayTools are the runtime tools, Inlay's programs and the emulator.
func inlayTools(t testing.TB) Tools {
	t.Helper()
	got, err := tools.inlay()
	if err != nil {
		t.Fatal(err)
	}
	return got
}
