package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Record is one ioctl call on an FPGA node, one line of the record file. Fields that a request's argument does not have are absent.
type Record struct {
	Node       string  `json:"node"`    // "/dev/dfl-fme.0"
	Request    string  `json:"request"` // "0xb680"
	Argsz      *uint32 `json:"argsz,omitempty"`
	Flags      *uint32 `json:"flags,omitempty"`
	PortID     *uint32 `json:"port_id,omitempty"`
	BufferSize *uint32 `json:"buffer_size,omitempty"`
	Payload    string  `json:"payload_sha256,omitempty"`
	Result     int64   `json:"result"` // what ioctl returned; -errno if it failed

	Error     string    `json:"error,omitempty"`     // name of the errno
	Status    uint64    `json:"status,omitempty"`    // error bits of a PR
	Port      string    `json:"port,omitempty"`      // name of the port programmed
	Loaded    string    `json:"loaded,omitempty"`    // what the port holds after a PR that succeeded
	Abandoned bool      `json:"abandoned,omitempty"` // the caller was killed before the call ended
	PID       int       `json:"pid"`
	Start     time.Time `json:"start"`
	End       time.Time `json:"end"`
}

func (r *Record) fail(errno unix.Errno) {
	r.Result, r.Error = -int64(errno), unix.ErrnoName(errno)
}

// recorder appends lines to a file that may be shared; nil records nothing.
type recorder struct{ file *os.File }

func openRecorder(path string) (*recorder, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &recorder{f}, nil
}

// write appends r with one write, so that lines of several writers do not mix.
func (r *recorder) write(rec Record) error {
	if r == nil {
		return nil
	}
	line, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	_, err = r.file.Write(append(line, '\n'))
	return err
}

func (r *recorder) close() error {
	if r == nil {
		return nil
	}
	return r.file.Close()
}

// ReadRecords reads a record file.
func ReadRecords(path string) ([]Record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []Record
	for line := range bytes.Lines(data) {
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			return out, fmt.Errorf("%s: line %d: %w", path, len(out)+1, err)
		}
		out = append(out, r)
	}
	return out, nil
}
