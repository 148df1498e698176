package integration

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/inlay-project/inlay/integration/containerd"
	"github.com/inlay-project/inlay/integration/crio"
	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/integration/sweep"
	"github.com/inlay-project/inlay/integration/workdir"
)

// nodeDirPrefix begins the folder name of every node. It is short, whatever TMPDIR says:
// there are unix sockets in it.
const nodeDirPrefix = "/tmp/iit-"

// newNodeDir makes a node's folder. At the end of the test the logs are kept if it
// failed, and the folder goes.
func newNodeDir(t testing.TB) string {
	t.Helper()
	// 0755: programs that run as another user in a container reach the emulated tree.
	dir, unlock, err := workdir.New(nodeDirPrefix, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer unlock()
		if t.Failed() {
			keepLogs(t, dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing the node's folder: %v", err)
		}
	})
	return dir
}

// keepLogs copies the logs to a place that outlives the test and shows their ends.
func keepLogs(t testing.TB, dir string) {
	to := workdir.Kept(t.Name())
	for _, pattern := range []string{"*.log", "*/*.log", "*.jsonl"} {
		files, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, file := range files {
			name := filepath.Base(file)
			if err := workdir.Keep(file, to, name); err != nil {
				t.Logf("keeping logs: %v", err)
			}
			if name != "containerd.log" && name != "crio.log" { // too chatty to show
				t.Logf("end of %s:\n%s", name, process.Tail(file, 15))
			}
		}
	}
	t.Logf("logs are kept in %s", to)
}

// sweepAbandoned takes down nodes whose test was killed before its cleanup ran.
func sweepAbandoned(t testing.TB) {
	t.Helper()
	workdir.Sweep(nodeDirPrefix, t.Output(), func(dir string) error { return TakeDown(context.Background(), dir) })
}

// TakeDown kills whatever runs of the node, alone or in a cluster, in that folder, and
// removes the cgroup of the folder's name. Mounts and networks are those of the processes'
// namespaces and go with them.
func TakeDown(ctx context.Context, dir string) error {
	runtime := filepath.Join(dir, "c")
	return errors.Join(
		process.KillAll(process.With(dir+"/")),
		sweep.Sweep(ctx, "/"+filepath.Base(dir), containerd.Options{Dir: runtime}.Trace(), crio.Options{Dir: runtime}.Trace()),
	)
}
