package hooksd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// put writes a file aside, syncs it and renames it to path; then the folder is synced, so that after a power cut the
// JSON cannot be there without the program. Errors name the file.
func put(path string, perm os.FileMode, fill func(*os.File) error) (err error) {
	dir, base := filepath.Split(path)
	// Runtimes read every *.json of the folder: the name of a file that is not finished must not end so.
	tmp, err := os.CreateTemp(dir, "."+base+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
			_ = os.Remove(tmp.Name()) // a leftover is harmless, and the next call takes it away
		}
	}()
	if err = writeSynced(tmp, perm, fill); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// writeSynced fills f, gives it its mode, brings it to disk and closes it.
func writeSynced(f *os.File, perm os.FileMode, fill func(*os.File) error) error {
	err := fill(f)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// removeLeftovers takes away what a killed installer left beside path. Only for the holder of the lock.
func removeLeftovers(path string) error {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ok, err := filepath.Match("."+base+".[0-9]*", e.Name()); err != nil || !ok {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sameProgram tells whether the executable at path has the content of src.
func sameProgram(src *os.File, path string) (bool, error) {
	old, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer old.Close()
	a, err := src.Stat()
	if err != nil {
		return false, err
	}
	b, err := old.Stat()
	if err != nil {
		return false, err
	}
	if !b.Mode().IsRegular() || b.Mode().Perm() != 0o755 || a.Size() != b.Size() {
		return false, nil
	}
	return os.SameFile(a, b) || sameBytes(src, old), nil
}

// sameBytes compares two files of equal length. A read error counts as a difference: the copy that follows reports it.
func sameBytes(a, b io.Reader) bool {
	const block = 64 << 10
	ra, rb := bufio.NewReaderSize(a, block), bufio.NewReaderSize(b, block)
	bufA, bufB := make([]byte, block), make([]byte, block)
	for {
		n, errA := io.ReadFull(ra, bufA)
		m, errB := io.ReadFull(rb, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false
		}
		endA := errA == io.EOF || errA == io.ErrUnexpectedEOF
		endB := errB == io.EOF || errB == io.ErrUnexpectedEOF
		if endA || endB || errA != nil || errB != nil {
			return endA && endB
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems cannot sync a folder; the rename is done all the same.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}

// lockDir waits until this process alone installs into dir.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("%s: lock: %w", dir, err)
	}
	return func() { d.Close() }, nil // closing gives the lock back
}
