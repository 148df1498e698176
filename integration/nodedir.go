package integration

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/integration/containerd"
)

// nodeDirPrefix begins the folder name of every node. The folder lies directly in /tmp,
// whatever TMPDIR says: addresses of unix sockets end after 107 bytes.
const nodeDirPrefix = "/tmp/iit-"

// lockName is a file that a node's test holds locked; without a holder the node was
// abandoned by a test that was killed.
const lockName = "lock"

// newNodeDir makes a node's folder. At the end of the test the logs are kept if it
// failed, and the folder goes.
func newNodeDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(nodeDirPrefix), filepath.Base(nodeDirPrefix))
	if err != nil {
		t.Fatal(err)
	}
	// Programs that run as another user in a container reach the emulated tree.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.CreateTemp(dir, lockName)
	if err != nil {
		t.Fatal(err)
	}
	// The lock gets its name when it is held: a sweeper never sees it free.
	if err := errors.Join(unix.Flock(int(lock.Fd()), unix.LOCK_EX), os.Rename(lock.Name(), filepath.Join(dir, lockName))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer lock.Close()
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
	base := os.Getenv("INLAY_ARTIFACTS")
	if base == "" {
		base = filepath.Join(os.TempDir(), "inlay-failed")
	}
	to := filepath.Join(base, strings.ReplaceAll(t.Name(), "/", "_"))
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Logf("keeping logs: %v", err)
		return
	}
	logs, _ := filepath.Glob(dir + "/*.log")
	more, _ := filepath.Glob(dir + "/*/*.log")
	records, _ := filepath.Glob(dir + "/*.jsonl")
	for _, file := range append(append(logs, more...), records...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Logf("keeping logs: %v", err)
			continue
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), data, 0o644); err != nil {
			t.Logf("keeping logs: %v", err)
		}
		if name := filepath.Base(file); name != "containerd.log" && name != "crio.log" { // too chatty to show
			t.Logf("end of %s:\n%s", filepath.Base(file), lastLines(data, 15))
		}
	}
	t.Logf("logs are kept in %s", to)
}

func lastLines(data []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// sweepAbandoned takes down nodes whose test was killed before its cleanup ran.
func sweepAbandoned(t testing.TB) {
	t.Helper()
	dirs, _ := filepath.Glob(nodeDirPrefix + "*")
	for _, dir := range dirs {
		lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
		if err != nil {
			continue // being made or being removed
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			t.Logf("taking down %s, which a killed test left behind", dir)
			// The folder's random name makes it exact whose processes these are.
			_ = killAll(processesWith(dir + "/"))
			err := containerd.Sweep(context.Background(), filepath.Join(dir, "c", "c.sock"), "/"+filepath.Base(dir))
			if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
				t.Logf("%s: %v", dir, err)
			}
		}
		_ = lock.Close()
	}
}
