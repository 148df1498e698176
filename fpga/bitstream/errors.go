package bitstream

import (
	"errors"
	"fmt"
	"io/fs"
)

// What callers decide on. Every error of this package but those of the file system itself wraps one of these.
var (
	// ErrNotFound: the store has no file for that function on that interface.
	ErrNotFound = errors.New("bitstream not found")
	// ErrInvalid: the file is not what its name says: no magic, a length beyond the file, not a regular file…
	ErrInvalid = errors.New("bitstream invalid")
	// ErrMismatch: a valid file, but for another interface or with another function than its place says.
	ErrMismatch = errors.New("bitstream is for something else")
	// ErrTooLarge: the payload is larger than Options.MaxBytes.
	ErrTooLarge = errors.New("bitstream too large")
	// ErrChanged: the file is another one now than when it was opened.
	ErrChanged = errors.New("bitstream changed")
)

// Error says which file and why, in one line.
type Error struct {
	Path string // host path of a store's file; as given to OpenFile otherwise
	Kind error  // one of the sentinels above, or nil: the file system's own error
	Err  error  // the cause
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Err.Error()
	}
	return "bitstream " + e.Path + ": " + e.Err.Error()
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Kind, e.Err}
}

func fail(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

func invalid(format string, args ...any) error { return fail(ErrInvalid, format, args...) }

// within says in which section of an AOCX file something went wrong. What the decompressor says about the bytes makes
// the file invalid; what the file system says does not.
func within(name string, err error) error {
	var own *Error
	var pathErr *fs.PathError
	switch {
	case errors.As(err, &own):
		return &Error{Kind: own.Kind, Err: fmt.Errorf("section %s: %w", name, own.Err)}
	case errors.As(err, &pathErr):
		return err
	default:
		return invalid("section %s: %w", name, err)
	}
}

// located adds the path to an error of the parsers. A PathError is taken apart: its path is the process's, and would
// come a second time.
func located(path string, err error) error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return &Error{Path: path, Kind: own.Kind, Err: own.Err}
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = fmt.Errorf("%s: %w", pathErr.Op, pathErr.Err)
	}
	return &Error{Path: path, Err: err}
}
