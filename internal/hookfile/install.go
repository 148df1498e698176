package hookfile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// mode of the program: everybody may read and run it, root alone has a reason to.
const mode = 0o755

// Installed is what Install found or did.
type Installed struct {
	Name   string // of the versioned file
	Copied bool   // it was not there, or was not what its name says
	Linked bool   // the stable name led elsewhere, or nowhere
	Before string // where it led, if it was a link to elsewhere
}

// Install puts the program self into the folder under its versioned name, and then lets the stable name lead there. Both
// come by rename, the content on disk first: whoever is killed in the middle, or loses power, leaves the old state or
// the new one, and the link never leads to what is not there. What is in place already stays untouched.
func (f *Folder) Install(ctx context.Context, self *os.File, version string) (Installed, error) {
	var in Installed
	if err := f.Lock(ctx); err != nil {
		return in, err
	}
	if err := f.removeLeftovers(); err != nil {
		return in, err
	}
	st, err := stat(self)
	if err != nil {
		return in, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxSize {
		return in, fmt.Errorf("%s is not a program that can be copied", self.Name())
	}
	digest, err := Sum(io.NewSectionReader(self, 0, maxSize))
	if err != nil {
		return in, fmt.Errorf("%s: %w", self.Name(), err)
	}
	in.Name = FileName(version, digest)
	same, err := f.holds(in.Name, digest)
	if err != nil {
		return in, err
	}
	if !same {
		if err := f.copy(self, in.Name, digest); err != nil {
			return in, err
		}
		in.Copied = true
	}
	target, err := f.Target()
	if err != nil {
		return in, err
	}
	if target != in.Name {
		if err := f.link(in.Name); err != nil {
			return in, err
		}
		in.Linked, in.Before = true, target
	}
	return in, nil
}

// removeLeftovers takes away what killed installers left. Only for the holder of the lock.
func (f *Folder) removeLeftovers() error {
	names, err := f.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !Leftover(name) {
			continue
		}
		if err := f.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// holds tells whether a name is a file as Install leaves it. Anything else there is replaced by rename; a folder cannot
// be, and is somebody's who has to take it away.
func (f *Folder) holds(name string, digest Digest) (bool, error) {
	st, err := f.lstat(name)
	if st == nil || err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return false, fmt.Errorf("%s is a folder: take it away", f.path(name))
	}
	if program(st) != nil || st.Mode&0o7777 != mode {
		return false, nil
	}
	file, err := openAt(f.dir, name, unix.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer file.Close()
	got, err := Sum(file)
	return err == nil && got == digest, nil // what cannot be read is replaced
}

// copy puts a program in place and makes sure that it is the one that was looked at.
func (f *Folder) copy(self *os.File, name string, digest Digest) (err error) {
	tmp := unfinished + rand.Text()
	out, err := openAt(f.dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.remove(tmp) // a leftover is harmless, and the next call takes it away
		}
	}()
	got, err := Sum(io.TeeReader(io.NewSectionReader(self, 0, maxSize), out))
	if err == nil && got != digest {
		err = fmt.Errorf("%s is being written to", self.Name())
	}
	if err == nil {
		err = out.Chmod(mode)
	}
	if err == nil {
		err = out.Sync()
	}
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.path(name), err)
	}
	return f.rename(tmp, name)
}

// link lets the stable name lead to a file of the folder.
func (f *Folder) link(name string) error {
	st, err := f.lstat(Name)
	if err != nil {
		return err
	}
	if st != nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Errorf("%s is a folder: take it away", f.path(Name))
	}
	tmp := unfinished + rand.Text()
	if err := unix.Symlinkat(name, int(f.dir.Fd()), tmp); err != nil {
		return &fs.PathError{Op: "link", Path: f.path(Name), Err: err}
	}
	if err := f.rename(tmp, Name); err != nil {
		_ = f.remove(tmp)
		return err
	}
	return nil
}

// Target is the file to which the stable name leads: "" where it is no link, or is not there.
func (f *Folder) Target() (string, error) {
	buf := make([]byte, 256) // a name has 255 bytes at most, and only names of this folder are of interest
	n, err := unix.Readlinkat(int(f.dir.Fd()), Name, buf)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		return "", nil
	case err != nil:
		return "", &fs.PathError{Op: "readlink", Path: f.path(Name), Err: err}
	}
	return string(buf[:n]), nil
}

// Sweep takes away the versions that keep does not want, by name and by when the file was written; the one to which the
// stable name leads always stays. It gives the names that it took away.
func (f *Folder) Sweep(ctx context.Context, keep func(name string, written time.Time) bool) ([]string, error) {
	if err := f.Lock(ctx); err != nil {
		return nil, err
	}
	names, err := f.names()
	if err != nil {
		return nil, err
	}
	target, err := f.Target()
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, name := range names {
		if !Versioned(name) || name == target {
			continue
		}
		st, err := f.lstat(name)
		if err != nil {
			return gone, err
		}
		if st == nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue // a folder is none of ours
		}
		if keep(name, time.Unix(st.Mtim.Unix())) {
			continue
		}
		if err := f.remove(name); err != nil {
			return gone, err
		}
		gone = append(gone, name)
	}
	return gone, f.sync()
}
