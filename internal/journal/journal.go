// Package journal carries what short-lived hooks did to the long-lived process that logs and counts it.
//
// A hook's own output is seen by nobody when it succeeds. It appends one JSON line a programming to a file in the run
// folder; inlay-deviceplugin, which watches that folder, reads on from where it was. The file is cut when it has grown:
// it is news, not an archive.
package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Name is the journal's name in the run folder.
const Name = "programs.jsonl"

const (
	maxSize  = 256 << 10 // bytes; beyond it a writer begins a new file
	maxError = 4 << 10   // bytes of an entry's error that are kept
	maxLine  = 64 << 10  // bytes; no entry is as long
)

// An entry waits for other writers for lockTries × lockPause at most.
const (
	lockTries = 50
	lockPause = 2 * time.Millisecond
)

// Entry is one port that a hook made ready, or did not.
type Entry struct {
	Time       time.Time     `json:"time"`
	Mode       string        `json:"mode"`
	Container  string        `json:"container,omitempty"` // namespace/pod/container
	Device     string        `json:"device"`
	Function   string        `json:"function,omitempty"`
	Programmed bool          `json:"programmed"`
	Waited     time.Duration `json:"waitedNs"`
	PR         time.Duration `json:"prNs"`
	Error      string        `json:"error,omitempty"`
	Reason     string        `json:"reason,omitempty"` // one word for the error: "pr", "bitstream", …
}

// Append adds an entry as a whole line, whoever else appends at the same time.
func Append(runDir string, e Entry) error {
	if len(e.Error) > maxError {
		e.Error = e.Error[:maxError]
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	f, err := openLast(filepath.Join(runDir, Name))
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// openLast opens the file that is the journal now, locked until it is closed. One that has grown too large is put out
// of the way: a reader that has it open reads it to its end.
func openLast(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		current, err := lockLast(f, name)
		if current {
			return f, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// lockLast takes the lock of a journal file; false if it is not the one to write to (any more).
func lockLast(f *os.File, name string) (bool, error) {
	// Held by others for the time of one write; one that is stopped in the middle must not hold up the others' containers.
	for try := 0; ; try++ {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || try == lockTries {
			return false, err
		}
		time.Sleep(lockPause) //nolint:forbidigo // bounded: lockTries × lockPause
	}
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil // another writer has just put it out of the way
	case err != nil:
		return false, err
	case !os.SameFile(opened, there):
		return false, nil // another writer has just replaced it
	}
	if opened.Size() <= maxSize {
		return true, nil
	}
	return false, os.Remove(name)
}

// Reader reads a journal on from where it was. It is not safe for concurrent use.
type Reader struct {
	name   string
	file   *os.File // kept open: when it is replaced, its last lines are read all the same
	offset int64
}

// NewReader begins at the journal's present end: what is in it was logged by an earlier process.
func NewReader(runDir string) *Reader {
	r := &Reader{name: filepath.Join(runDir, Name)}
	if f, err := os.Open(r.name); err == nil {
		r.file = f
		r.offset, _ = f.Seek(0, io.SeekEnd) // a regular file's end can be found
	}
	return r
}

// Close gives the journal's file back.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// Next gives the entries since the last call. A line that cannot be read is left out: a journal is news.
func (r *Reader) Next() ([]Entry, error) {
	var entries []Entry
	f, err := os.Open(r.name)
	absent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if r.file != nil {
		entries = r.rest(entries)
	}
	if absent || r.same(f) {
		f.Close() // nil if there is none
		return entries, nil
	}
	r.Close()
	r.file, r.offset = f, 0
	return r.rest(entries), nil
}

func (r *Reader) same(f *os.File) bool {
	if r.file == nil {
		return false
	}
	old, errOld := r.file.Stat()
	now, errNow := f.Stat()
	return errOld == nil && errNow == nil && os.SameFile(old, now)
}

// rest reads the whole lines behind the offset. A line that is still being written stays for the next time, but not
// one that is longer than any entry.
func (r *Reader) rest(entries []Entry) []Entry {
	if st, err := r.file.Stat(); err == nil && st.Size() < r.offset {
		r.offset = 0 // somebody cut it
	}
	lines := bufio.NewReader(io.NewSectionReader(r.file, r.offset, math.MaxInt64-r.offset))
	for {
		line, err := readLine(lines)
		if err != nil {
			return entries
		}
		r.offset += line.length
		var e Entry
		if json.Unmarshal(line.text, &e) == nil {
			entries = append(entries, e)
		}
	}
}

type oneLine struct {
	text   []byte // its first maxLine bytes
	length int64  // with the line's end
}

func readLine(r *bufio.Reader) (oneLine, error) {
	var l oneLine
	for {
		part, err := r.ReadSlice('\n')
		l.length += int64(len(part))
		if len(l.text)+len(part) <= maxLine {
			l.text = append(l.text, part...)
		}
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return l, err
		}
	}
}
