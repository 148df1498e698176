package hostfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxFile = 1 << 20 // bytes that ReadFile takes at most
	maxAttr = 4096    // bytes of a sysfs attribute: the kernel gives one page
)

// Root is a host tree. It holds one descriptor until Close and is safe for concurrent use.
type Root struct {
	dir string // real path, "" for "/"
	top *os.File
}

// New opens the tree below dir, which must be a folder.
func New(dir string) (*Root, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("host root %s: %w", dir, err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return nil, fmt.Errorf("host root %s: %w", dir, err)
	}
	top, err := os.OpenFile(real, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("host root %s: %w", dir, err)
	}
	return &Root{dir: strings.TrimSuffix(real, "/"), top: top}, nil
}

// Close gives the root's descriptor back.
func (r *Root) Close() error { return r.top.Close() }

// Dir is the root's real path as this process sees it.
func (r *Root) Dir() string {
	if r.dir == "" {
		return "/"
	}
	return r.dir
}

// Join gives a host path as this process sees it. Links on the way are not resolved.
func (r *Root) Join(hostPath string) string { return r.dir + filepath.Clean("/"+hostPath) }

// HostPath takes the root's prefix off a path as this process sees it. A path outside the root is an error: it would
// mean nothing to the host.
func (r *Root) HostPath(path string) (string, error) {
	if path == "" {
		return "", errors.New("an empty path is not a path of the host")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if host, ok := r.below(abs); ok {
		return host, nil
	}
	if host, ok := r.below(realParent(abs)); ok {
		return host, nil
	}
	return "", fmt.Errorf("%s is outside the host root %s", path, r.Dir())
}

// below takes the root's prefix off an absolute path.
func (r *Root) below(path string) (string, bool) {
	if path == r.dir {
		return "/", true
	}
	rest, ok := strings.CutPrefix(path, r.dir+"/") // the dir of "/" is ""
	return "/" + rest, ok
}

// realParent resolves the links of the longest part of path that exists.
func realParent(path string) string {
	rest := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == "/" {
			return path
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// open opens a host path inside the root. The kernel answers EAGAIN when a rename somewhere on the machine raced with
// the walk; that is not the caller's trouble.
func (r *Root) open(hostPath string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT,
	}
	defer runtime.KeepAlive(r) // the descriptor's number alone would not keep it open
	for try := 0; ; try++ {
		fd, err := unix.Openat2(int(r.top.Fd()), hostPath, &how)
		if err == nil {
			return fd, nil
		}
		if err == unix.EINTR || err == unix.EAGAIN && try < 100 {
			continue
		}
		return -1, r.fail("open", hostPath, err)
	}
}

func (r *Root) fail(op, hostPath string, err error) error {
	return &fs.PathError{Op: op, Path: r.Join(hostPath), Err: err}
}

// Open opens a file or folder of the tree with the given O_ flags; O_CREAT is not for this package.
func (r *Root) Open(hostPath string, flags int) (*os.File, error) {
	fd, err := r.open(hostPath, flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), r.Join(hostPath)), nil
}

// ReadFile reads a regular file of at most 1 MiB; files of /proc and /sys are regular. Anything else could keep the
// reader waiting for ever.
func (r *Root) ReadFile(hostPath string) ([]byte, error) {
	f, err := r.Open(hostPath, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if st.IsDir() {
		return nil, r.fail("read", hostPath, unix.EISDIR)
	} else if !st.Mode().IsRegular() {
		return nil, r.fail("read", hostPath, unix.EINVAL)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, r.fail("read", hostPath, unix.EFBIG)
	}
	return b, nil
}

// ReadAttr reads a sysfs attribute: white space around it is taken off. One read call, as sysfs wants it.
func (r *Root) ReadAttr(hostPath string) (string, error) {
	fd, err := r.open(hostPath, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var buf [maxAttr]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", r.fail("read", hostPath, err)
		}
		return strings.TrimSpace(string(buf[:n])), nil
	}
}

// ReadDir gives the names in a folder, sorted.
func (r *Root) ReadDir(hostPath string) ([]string, error) {
	f, err := r.Open(hostPath, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	return names, nil
}

// Resolve follows every link of a path inside the root and gives the host path that it ends at.
func (r *Root) Resolve(hostPath string) (string, error) {
	fd, err := r.open(hostPath, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", fmt.Errorf("%s: %w", r.Join(hostPath), err)
	}
	return r.HostPath(real)
}

// Readlink gives what a link says, whether or not that exists. A path that ends at something else is an error.
func (r *Root) Readlink(hostPath string) (string, error) {
	fd, err := r.open(hostPath, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", buf[:])
	if err != nil { // ENOENT says that the open thing is something else
		return "", fmt.Errorf("%s is not a link", hostPath)
	}
	return string(buf[:n]), nil
}

// Exists tells whether a path leads to anything.
func (r *Root) Exists(hostPath string) bool {
	fd, err := r.open(hostPath, unix.O_PATH)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// Absent tells whether an error says that there is no such thing, as opposed to one that cannot be read.
func Absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}
