package apiserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// dirPrefix begins the name of every cluster's folder.
	dirPrefix = "inlay-apiserver-"
	// lockName is a file that the cluster's owner holds locked; without a holder the cluster was abandoned by a test
	// that was killed.
	lockName = "lock"
)

func newDir() (dir string, unlock func(), err error) {
	if dir, err = os.MkdirTemp("", dirPrefix); err != nil {
		return "", nil, err
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

// sweepAbandoned takes down clusters whose test was killed before it could.
func sweepAbandoned(log io.Writer) {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
		if err != nil {
			continue // being made or being removed
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			fmt.Fprintf(log, "taking down %s, which a killed test left behind\n", dir)
			// The folder's random name makes it exact whose processes these are.
			if err := errors.Join(killWith(dir+"/"), os.RemoveAll(dir)); err != nil {
				fmt.Fprintf(log, "%s: %v\n", dir, err)
			}
		}
		_ = lock.Close()
	}
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

// KeepLogs copies the logs to a folder of that name that outlives the cluster, and returns their ends and the place.
func (c *Cluster) KeepLogs(name string) string {
	base := os.Getenv("INLAY_ARTIFACTS")
	if base == "" {
		base = filepath.Join(os.TempDir(), "inlay-failed")
	}
	to := filepath.Join(base, strings.ReplaceAll(name, "/", "_"))
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "keeping logs: " + err.Error()
	}
	var s strings.Builder
	logs, _ := filepath.Glob(c.path("*.log"))
	for _, file := range append(logs, c.auditLog()) {
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(file)), data, 0o644)
		}
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				fmt.Fprintf(&s, "keeping logs: %v\n", err)
			}
			continue
		}
		if strings.HasSuffix(file, ".log") {
			lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
			fmt.Fprintf(&s, "end of %s:\n%s\n", filepath.Base(file), strings.Join(lines[max(0, len(lines)-8):], "\n"))
		}
	}
	fmt.Fprintf(&s, "logs are kept in %s", to)
	return s.String()
}
