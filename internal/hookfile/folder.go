package hookfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Folder is the hook folder, held open: what is renamed or linked on its way later does not matter any more.
type Folder struct{ dir *os.File }

// OpenFolder opens the folder top/below. No link is followed below top, and a folder on the way that others than root
// can write is an error that names it. With create missing folders are made, with mode 0755.
func OpenFolder(top, below string, create bool) (*Folder, error) {
	dir, err := os.OpenFile(top, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := guardedFolder(dir); err != nil {
		dir.Close()
		return nil, err
	}
	for part := range strings.SplitSeq(strings.Trim(filepath.Clean("/"+below), "/"), "/") {
		if part == "" {
			continue
		}
		next, err := step(dir, part, create)
		dir.Close()
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return &Folder{dir: dir}, nil
}

// step opens one folder inside another.
func step(dir *os.File, name string, create bool) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	made := false
	if create {
		err := unix.Mkdirat(int(dir.Fd()), name, 0o755)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, &fs.PathError{Op: "mkdir", Path: path, Err: err}
		}
		made = err == nil
	}
	next, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a link or no folder; name the real place", path)
	}
	if err != nil {
		return nil, err
	}
	if made { // whatever the umask says
		if err = next.Chmod(0o755); err == nil {
			err = dir.Sync()
		}
	}
	if err == nil {
		err = guardedFolder(next)
	}
	if err != nil {
		next.Close()
		return nil, err
	}
	return next, nil
}

func guardedFolder(dir *os.File) error {
	st, err := stat(dir)
	if err != nil {
		return err
	}
	if err := guarded(st); err != nil {
		return fmt.Errorf("folder %s %w", dir.Name(), err)
	}
	return nil
}

// openAt opens a name inside a folder; a link is not followed, and a FIFO does not hold us up.
func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// Close gives the folder back, and its lock.
func (f *Folder) Close() error { return f.dir.Close() }

// Path is where the folder was found.
func (f *Folder) Path() string { return f.dir.Name() }

func (f *Folder) path(name string) string { return filepath.Join(f.dir.Name(), name) }

// Lock waits until this process alone changes the folder; the kernel gives the lock back when its holder dies.
func (f *Folder) Lock(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("%s: lock: %w", f.Path(), err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: another process is changing it: %w", f.Path(), context.Cause(ctx))
		}
	}
}

// names lists the folder.
func (f *Folder) names() ([]string, error) {
	dir, err := openAt(f.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY) // a descriptor of its own begins at the start
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// lstat gives nil where there is nothing.
func (f *Folder) lstat(name string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(f.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: f.path(name), Err: err}
	}
	return &st, nil
}

// remove takes a file or link away; what is gone already is no error.
func (f *Folder) remove(name string) error {
	if err := unix.Unlinkat(int(f.dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: f.path(name), Err: err}
	}
	return nil
}

// rename puts a finished file in its place, for good.
func (f *Folder) rename(from, to string) error {
	fd := int(f.dir.Fd())
	if err := unix.Renameat(fd, from, fd, to); err != nil {
		return &fs.PathError{Op: "put in place", Path: f.path(to), Err: err}
	}
	return f.sync()
}

func (f *Folder) sync() error {
	// Some file systems cannot sync a folder; what was done to it is done all the same.
	if err := f.dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
