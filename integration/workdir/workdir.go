package workdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is a file that a folder's owner holds locked; without a holder the folder was
// abandoned by a process that was killed.
const lockName = "lock"

// New makes a folder whose path begins with prefix. Until unlock, or the end of this process,
// no Sweep touches it. Its owner removes it, and unlocks it then.
func New(prefix string, mode fs.FileMode) (dir string, unlock func(), err error) {
	if dir, err = os.MkdirTemp(filepath.Dir(prefix), filepath.Base(prefix)); err != nil {
		return "", nil, err
	}
	if err := os.Chmod(dir, mode); err != nil {
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

// Sweep removes the folders of that prefix whose owner was killed. Before it removes one, end
// ends what still runs in it; the folder's random name makes it exact whose processes these
// are. What it does, and what it could not do, goes to log.
func Sweep(prefix string, log io.Writer, end func(dir string) error) {
	dirs, _ := filepath.Glob(prefix + "*")
	for _, dir := range dirs {
		lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
		if err != nil {
			continue // being made or being removed
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			fmt.Fprintf(log, "taking down %s, which a killed process left behind\n", dir)
			if err := errors.Join(end(dir), os.RemoveAll(dir)); err != nil {
				fmt.Fprintf(log, "%s: %v\n", dir, err)
			}
		}
		_ = lock.Close()
	}
}
