package folderwatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maskNames   = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO
	maskSelf    = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK
	maskContent = unix.IN_CLOSE_WRITE | unix.IN_MODIFY | unix.IN_ATTRIB
)

// Folder says what to watch.
type Folder struct {
	// Path of the folder as this process sees it. It need not exist yet.
	Path string
	// Match picks names within the folder; nil takes all.
	Match func(name string) bool
	// Content asks for writes to and touches of the files too, not only for names that come and go.
	Content bool
}

// Watcher owns the inotify instance. Its methods are safe for concurrent use.
type Watcher struct {
	file *os.File
	raw  rawConn

	mu      sync.Mutex
	subs    map[*Subscription]struct{}
	folders map[string]int32              // folder → watch descriptor
	names   map[int32]map[string]struct{} // back: several names (/run, /var/run) may lead to one folder
}

// Subscription is one folder watched for one caller.
type Subscription struct {
	w      *Watcher
	folder Folder
	notify func(name string)
	// at is the folder watched at present: folder.Path, or the nearest parent that exists.
	at string
}

// rawConn is the part of syscall.RawConn that is used. File.Fd would make the descriptor blocking.
type rawConn interface {
	Control(f func(fd uintptr)) error
	Read(f func(fd uintptr) (done bool)) error
}

// New makes the inotify instance. The caller calls Run, which ends by its context.
func New() (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify instance: %w (limit: fs.inotify.max_user_instances)", err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("inotify instance: %w", err)
	}
	return &Watcher{
		file: file, raw: raw,
		subs:    map[*Subscription]struct{}{},
		folders: map[string]int32{},
		names:   map[int32]map[string]struct{}{},
	}, nil
}

// Add watches a folder from now on and calls notify with the name that changed in it, or with "" for "look at all of
// it". notify runs on the Watcher's goroutine and must not block. Nothing is called for the state found now: a caller
// looks for itself after Add.
func (w *Watcher) Add(folder Folder, notify func(name string)) (*Subscription, error) {
	folder.Path = filepath.Clean(folder.Path)
	s := &Subscription{w: w, folder: folder, notify: notify}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subs[s] = struct{}{}
	if err := w.place(s); err != nil {
		delete(w.subs, s)
		w.shrink(s.at)
		return nil, err
	}
	return s, nil
}

// Close ends the subscription. A call of notify that has begun is not waited for.
func (s *Subscription) Close() {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subs, s)
	w.shrink(s.at)
}

// place finds the nearest existing folder for s and asks the kernel to watch it. The loop covers a folder that comes
// into being between the failed look and the watch of its parent. Called with mu held.
func (w *Watcher) place(s *Subscription) error {
	for dir := s.folder.Path; ; {
		mask := uint32(maskNames)
		if dir == s.folder.Path && s.folder.Content {
			mask |= maskContent
		}
		err := w.ask(dir, mask)
		switch {
		case err == nil:
			s.at = dir
			if dir == s.folder.Path {
				return nil
			}
			// The child on the way to the folder may have appeared meanwhile: then go on below it.
			child := childTowards(dir, s.folder.Path)
			if st, err := os.Stat(child); err != nil || !st.IsDir() {
				return nil
			}
			defer w.shrink(dir)
			dir = s.folder.Path
		case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR):
			if dir == "/" || dir == "." {
				return fmt.Errorf("watch %s: %w", s.folder.Path, err)
			}
			dir = filepath.Dir(dir)
		default:
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
}

// childTowards gives the entry of dir that leads to path.
func childTowards(dir, path string) string {
	for filepath.Dir(path) != dir && path != "/" && path != "." {
		path = filepath.Dir(path)
	}
	return path
}

// ask makes or widens the watch of a folder. It asks again even where the folder is known: the folder of that name may
// be another one by now. Called with mu held.
func (w *Watcher) ask(dir string, mask uint32) error {
	var wd int
	var err error
	if ctl := w.raw.Control(func(fd uintptr) {
		wd, err = unix.InotifyAddWatch(int(fd), dir, mask|maskSelf|unix.IN_MASK_ADD)
	}); ctl != nil {
		return ctl
	}
	if err != nil {
		return err
	}
	if old, ok := w.folders[dir]; ok && old != int32(wd) {
		w.forget(dir)
	}
	w.folders[dir] = int32(wd)
	if w.names[int32(wd)] == nil {
		w.names[int32(wd)] = map[string]struct{}{}
	}
	w.names[int32(wd)][dir] = struct{}{}
	return nil
}

// forget ends the watch of one name of a folder. Called with mu held.
func (w *Watcher) forget(dir string) {
	wd, ok := w.folders[dir]
	if !ok {
		return
	}
	delete(w.folders, dir)
	delete(w.names[wd], dir)
	if len(w.names[wd]) == 0 {
		delete(w.names, wd)
		// EINVAL where the folder is gone and the kernel has dropped the watch by itself;
		// a closed instance has no watches.
		_ = w.raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) })
	}
}

// shrink ends the watch of a folder that no subscription needs any more. Called with mu held.
func (w *Watcher) shrink(dir string) {
	for s := range w.subs {
		if s.at == dir {
			return
		}
	}
	w.forget(dir)
}

// move places s anew after its folder or the way to it has changed. Called with mu held.
func (w *Watcher) move(s *Subscription) {
	old := s.at
	_ = w.place(s) // a failure leaves s where it is; the next event there or an overflow tries again
	if s.at != old {
		w.shrink(old)
	}
}

// Run delivers until ctx ends, then closes the inotify instance.
func (w *Watcher) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { w.file.Close() })
	defer stop()
	defer w.file.Close()
	buf := make([]byte, 16<<10)
	for {
		var n int
		var errno error
		err := w.raw.Read(func(fd uintptr) bool {
			n, errno = unix.Read(int(fd), buf)
			return errno != unix.EAGAIN && errno != unix.EINTR
		})
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = errno
		}
		if err != nil {
			return fmt.Errorf("read inotify: %w", err)
		}
		w.deliver(buf[:n])
	}
}

// call is one notification, made after the lock is given back.
type call struct {
	notify func(string)
	name   string
}

func (w *Watcher) deliver(buf []byte) {
	var calls []call
	w.mu.Lock()
	for len(buf) >= unix.SizeofInotifyEvent {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&buf[0]))
		end := unix.SizeofInotifyEvent + int(event.Len)
		if end > len(buf) {
			break
		}
		calls = w.handle(calls, event, unix.ByteSliceToString(buf[unix.SizeofInotifyEvent:end]))
		buf = buf[end:]
	}
	w.mu.Unlock()
	for _, c := range calls {
		c.notify(c.name)
	}
}

// handle turns one event into calls. Called with mu held.
func (w *Watcher) handle(calls []call, event *unix.InotifyEvent, name string) []call {
	if event.Mask&unix.IN_Q_OVERFLOW != 0 {
		for s := range w.subs {
			w.move(s) // folders may have come or gone unseen
			calls = append(calls, call{s.notify, ""})
		}
		return calls
	}
	gone := event.Mask&(unix.IN_IGNORED|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0
	content := event.Mask&maskNames == 0
	dirs := slices.Collect(maps.Keys(w.names[event.Wd]))
	for _, dir := range dirs {
		if gone {
			w.forget(dir)
		}
		for s := range w.subs {
			switch {
			case s.at != dir:
			case gone, dir != s.folder.Path && filepath.Join(dir, name) == childTowards(dir, s.folder.Path):
				w.move(s)
				calls = append(calls, call{s.notify, ""})
			case dir != s.folder.Path, content && !s.folder.Content, s.folder.Match != nil && !s.folder.Match(name):
			default:
				calls = append(calls, call{s.notify, name})
			}
		}
	}
	return calls
}
