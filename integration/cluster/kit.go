package cluster

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

// Kit gives all tests of one binary the same Tools, made at their first use. The zero value is ready:
//
//	var kit cluster.Kit
//
//	func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }
type Kit struct {
	once  sync.Once
	dir   string
	tools *Tools
	err   error
}

// Main runs the tests and takes away what was made for them; the result is an exit code.
func (k *Kit) Main(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests start clusters of real components and need root")
		return 1
	}
	removeAbandonedKits()
	code := m.Run()
	if k.dir != "" {
		if err := os.RemoveAll(k.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return code
}

// kitPrefix begins the name of a kit's folder; the id of its test process follows.
const kitPrefix = "inlay-cluster-tools-"

// removeAbandonedKits removes the folders of test processes that were killed.
func removeAbandonedKits() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), kitPrefix+"*-*"))
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), kitPrefix+"%d-", &pid); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = os.RemoveAll(dir) // a race with another run's sweep is as good
		}
	}
}

// buildLimit is for compiling Kubernetes, once on a machine.
const buildLimit = 25 * time.Minute

// Tools makes the tools. INLAY_IMAGES names a folder of images to be tested, e.g. a release's; without it they are
// built from this tree.
func (k *Kit) Tools(t testing.TB) *Tools {
	t.Helper()
	k.once.Do(func() {
		if k.dir, k.err = os.MkdirTemp("", fmt.Sprintf("%s%d-", kitPrefix, os.Getpid())); k.err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), buildLimit) // not one test's
		defer cancel()
		k.tools, k.err = BuildTools(ctx, k.dir, ToolOptions{Images: os.Getenv("INLAY_IMAGES")})
	})
	if k.err != nil {
		t.Fatal(k.err)
	}
	return k.tools
}

// Start starts a cluster with the kit's tools, that ends with the test.
func (k *Kit) Start(t testing.TB, o Options) *Test {
	t.Helper()
	if o.Tools == nil {
		o.Tools = k.Tools(t)
	}
	return Start(t, o)
}
