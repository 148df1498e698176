// Package regularfile opens files in whose place anything may be.
package regularfile

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Open opens a regular file for reading. It waits for nobody: opening a FIFO would last until somebody writes into it, and
// reading a device has no end. The error names what is there instead.
func Open(path string) (*os.File, error) {
	// The first look names what cannot be opened, such as a socket; the second holds for what was opened.
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return nil, strange(path, st)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = strange(path, st)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func strange(path string, st fs.FileInfo) error {
	kind := "device"
	switch st.Mode().Type() {
	case fs.ModeDir:
		kind = "folder"
	case fs.ModeNamedPipe:
		kind = "FIFO"
	case fs.ModeSocket:
		kind = "socket"
	}
	return fmt.Errorf("%s is a %s, not a regular file", path, kind)
}
