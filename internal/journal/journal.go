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
	"os"
	"path/filepath"
	"time"
)

// Name is the journal's name in the run folder.
const Name = "programs.jsonl"

// maxSize in bytes; beyond it a writer begins a new file.
const maxSize = 256 << 10

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

// Append adds an entry by a single write, so that lines of several processes never mix.
func Append(runDir string, e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	name := filepath.Join(runDir, Name)
	if st, err := os.Stat(name); err == nil && st.Size() > maxSize {
		os.Remove(name) // the reader has read it, or nobody reads
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		f.Close()
		return fmt.Errorf("journal: %w", err)
	}
	return f.Close()
}

// Reader reads a journal on from where it was. It is not safe for concurrent use.
type Reader struct {
	runDir string
	file   os.FileInfo
	offset int64
}

// NewReader begins at the journal's present end: what is in it was logged by an earlier process.
func NewReader(runDir string) *Reader {
	r := &Reader{runDir: runDir}
	if st, err := os.Stat(filepath.Join(runDir, Name)); err == nil {
		r.file, r.offset = st, st.Size()
	}
	return r
}

// Next gives the entries since the last call. A line that cannot be read is left out: a journal is news.
func (r *Reader) Next() ([]Entry, error) {
	f, err := os.Open(filepath.Join(r.runDir, Name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if r.file == nil || !os.SameFile(r.file, st) || st.Size() < r.offset {
		r.offset = 0
	}
	r.file = st
	if _, err := f.Seek(r.offset, io.SeekStart); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var entries []Entry
	lines := bufio.NewReader(io.LimitReader(f, 2*maxSize))
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil { // the end, or a line that is still being written
			return entries, nil
		}
		r.offset += int64(len(line))
		var e Entry
		if json.Unmarshal(line, &e) == nil {
			entries = append(entries, e)
		}
	}
}
