package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/integration/sweep"
)

const (
	// dirPrefix begins the folder of every cluster. It lies directly in /tmp, whatever TMPDIR says: addresses of unix
	// sockets end after 107 bytes. The name of the folder is the name of the cluster's cgroup, too.
	dirPrefix = "/tmp/iic-"
	// lockName is a file that the cluster's owner holds locked; without a holder the cluster was abandoned by a process
	// that was killed.
	lockName = "lock"
)

func newDir() (dir string, unlock func(), err error) {
	if dir, err = os.MkdirTemp(filepath.Dir(dirPrefix), filepath.Base(dirPrefix)); err != nil {
		return "", nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // programs run as other users in containers
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	lock, err := os.CreateTemp(dir, lockName)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	// The lock gets its name when it is held: a sweeper never sees it free.
	if err := errors.Join(unix.Flock(int(lock.Fd()), unix.LOCK_EX), os.Rename(lock.Name(), filepath.Join(dir, lockName))); err != nil {
		return "", nil, errors.Join(err, lock.Close(), os.RemoveAll(dir))
	}
	return dir, func() { _ = lock.Close() }, nil
}

// SweepAbandoned takes down clusters whose process was killed before it could.
func SweepAbandoned(ctx context.Context, log io.Writer) {
	dirs, _ := filepath.Glob(dirPrefix + "*")
	for _, dir := range dirs {
		lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
		if err != nil {
			continue // being made or being removed
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			fmt.Fprintf(log, "taking down %s, which a killed process left behind\n", dir)
			if err := errors.Join(takeDown(ctx, dir), os.RemoveAll(dir)); err != nil {
				fmt.Fprintf(log, "%s: %v\n", dir, err)
			}
		}
		_ = lock.Close()
	}
}

// takeDown kills whatever runs of the cluster of that folder. Its mounts and its network are those of its processes'
// namespaces and go with them.
func takeDown(ctx context.Context, dir string) error {
	// The folder's random name makes it exact whose processes these are.
	return errors.Join(
		killWith(dir+"/"),
		sweep.Sweep(ctx, "/"+filepath.Base(dir),
			"-address "+filepath.Join(dir, "c", "c.sock"), "--exit-dir "+filepath.Join(dir, "c", "exits")),
	)
}

// killWith kills the processes whose command line holds text.
func killWith(text string) error {
	var errs []error
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(line, []byte(text)) {
			continue // ended, or another's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// KeepLogs copies the logs, those of pods included, to a folder of that name that outlives the cluster, and returns
// their ends and the place.
func (c *Cluster) KeepLogs(name string) string {
	base := os.Getenv("INLAY_ARTIFACTS")
	if base == "" {
		base = filepath.Join(os.TempDir(), "inlay-failed")
	}
	to := filepath.Join(base, strings.ReplaceAll(name, "/", "_"))
	var s strings.Builder
	if err := os.RemoveAll(to); err != nil { // of an earlier run
		return "keeping logs: " + err.Error()
	}
	for _, pattern := range []string{"*.log", "*.jsonl", "c/*.log", "h/var/log/pods/*/*/*.log"} {
		files, _ := filepath.Glob(c.path(pattern))
		for _, file := range files {
			if err := keep(c.Dir, file, to); err != nil {
				fmt.Fprintf(&s, "keeping logs: %v\n", err)
			}
		}
	}
	for _, component := range c.Components() {
		fmt.Fprintf(&s, "end of %s:\n%s\n", component.Name(), component.Tail(6))
	}
	fmt.Fprintf(&s, "logs are kept in %s", to)
	return s.String()
}

// keep copies a log; its place in the cluster's folder becomes part of its name.
func keep(dir, file, to string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	name, err := filepath.Rel(dir, file)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	name = strings.TrimPrefix(name, "h/var/log/")
	return os.WriteFile(filepath.Join(to, strings.ReplaceAll(name, "/", "_")), data, 0o644)
}
