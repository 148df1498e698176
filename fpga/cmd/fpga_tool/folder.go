package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga/bitstream"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// folder is a folder of the store, opened inside the host root as the hook will open it. Everything is done by its
// descriptor: no link and no rename of a folder leads out of the root.
type folder struct{ dir *os.File } // nil: it is not there yet

// openFolder opens a folder by its host path; if create says so, with what is missing on the way.
func openFolder(root *hostfs.Root, host string, create bool) (folder, error) {
	dir, err := root.Open(host, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == nil {
		return folder{dir}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) || host == "/" {
		return folder{}, err
	}
	if target, linkErr := root.Readlink(host); linkErr == nil {
		return folder{}, fmt.Errorf("%s is a link to %.200q, which is not there inside the host root", root.Join(host), target)
	}
	parent, err := openFolder(root, path.Dir(host), create)
	if err != nil || !create {
		parent.close()
		return folder{}, err
	}
	defer parent.close()
	if err := unix.Mkdirat(parent.fd(), path.Base(host), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return folder{}, &fs.PathError{Op: "mkdir", Path: root.Join(host), Err: err}
	}
	dir, err = root.Open(host, unix.O_RDONLY|unix.O_DIRECTORY)
	return folder{dir}, err
}

func (f folder) close() {
	if f.dir != nil {
		f.dir.Close()
	}
}

func (f folder) fd() int { return int(f.dir.Fd()) }

// has tells whether there is anything of a name, a link that leads nowhere too.
func (f folder) has(name string) (bool, error) {
	if f.dir == nil {
		return false, nil
	}
	var st unix.Stat_t
	err := unix.Fstatat(f.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "stat", Path: f.path(name), Err: err}
	}
	return true, nil
}

func (f folder) path(name string) string { return path.Join(f.dir.Name(), name) }

// temporary is the name of a file that is being copied: a dot, the name that it will have, a number.
var temporary = regexp.MustCompile(`^\.[0-9a-f]+\.(gbs|aocx)\.[0-9]+$`)

// sweep removes what killed installs left behind. The copy of a living one is locked; one that cannot be looked at stays.
func (f folder) sweep() {
	names, err := f.dir.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, name := range names {
		if !temporary.MatchString(name) {
			continue
		}
		fd, err := unix.Openat(f.fd(), name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		// With the lock the name is looked up again: the copy that was opened may have got its name since, and another
		// install may have begun one in its place.
		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil && f.names(name, fd) {
			_ = unix.Unlinkat(f.fd(), name, 0)
		}
		unix.Close(fd)
	}
}

// names tells whether a name is that of an open regular file.
func (f folder) names(name string, fd int) bool {
	var named, open unix.Stat_t
	return unix.Fstatat(f.fd(), name, &named, unix.AT_SYMLINK_NOFOLLOW) == nil && unix.Fstat(fd, &open) == nil &&
		open.Mode&unix.S_IFMT == unix.S_IFREG && named.Dev == open.Dev && named.Ino == open.Ino
}

// create makes a temporary file for a name, locked as long as it is open.
func (f folder) create(name string) (*os.File, string, error) {
	for try := os.Getpid(); ; try++ {
		tmp := "." + name + "." + strconv.Itoa(try)
		fd, err := unix.Openat(f.fd(), tmp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, "", &fs.PathError{Op: "create", Path: f.path(tmp), Err: err}
		}
		file := os.NewFile(uintptr(fd), f.path(tmp))
		for errors.Is(unix.Flock(fd, unix.LOCK_EX), unix.EINTR) { // where files cannot be locked nobody sweeps either
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && st.Nlink == 0 { // another install swept it before the lock
			file.Close()
			continue
		}
		return file, tmp, nil
	}
}

// copy puts a verified file under a name so that a reader sees all of it or nothing: a temporary file beside it,
// written out to the disk, then renamed. Without replace a file that has come meanwhile is left alone. When ctx ends,
// so does the copy, and nothing is left of it.
func (f folder) copy(ctx context.Context, b *bitstream.Bitstream, name string, replace bool) (err error) {
	tmp, tmpName, err := f.create(name)
	if err != nil {
		return err
	}
	defer tmp.Close() // last: until it has its name it is locked
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(f.fd(), tmpName, 0)
		}
	}()
	if _, err := io.Copy(tmp, reader{ctx, b.Source()}); err != nil {
		return err
	}
	// What was verified must be what was copied.
	if err := b.Unchanged(); err != nil {
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return notInstalled(ctx)
	}
	if err := f.rename(tmpName, name, replace); err != nil {
		return err
	}
	return f.dir.Sync() // the rename lasts over a power cut
}

// reader is read as long as its context lasts.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, notInstalled(r.ctx)
	}
	return r.Reader.Read(p)
}

func notInstalled(ctx context.Context) error {
	return fmt.Errorf("not installed: %w", context.Cause(ctx))
}

func (f folder) rename(from, to string, replace bool) error {
	if replace {
		return unix.Renameat(f.fd(), from, f.fd(), to)
	}
	err := unix.Renameat2(f.fd(), from, f.fd(), to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not every file system can, NFS for one
		if err = unix.Linkat(f.fd(), from, f.fd(), to, 0); err == nil {
			err = unix.Unlinkat(f.fd(), from, 0)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return errors.New("is there already; -force replaces it")
	}
	return err
}
