package nristatus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// writeTimeout bounds one answer: a few hundred bytes always fit a unix socket's buffer, so it never waits.
	writeTimeout = 100 * time.Millisecond
	// acceptPause is the wait after an accept error (out of descriptors), so that it cannot become a busy loop.
	acceptPause = 100 * time.Millisecond
)

// Server answers on one status socket.
type Server struct {
	path     string
	listener *net.UnixListener
	own      os.FileInfo // the socket file that this server made
}

// Listen makes the socket at path: mode 0600, its folder made with 0700 if there is none. A socket that is there
// already is replaced in one step (bind beside it, then rename), so there is no moment without one and the latest
// process wins; anything else at path is left alone and is an error.
func Listen(path string) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("status socket: %w", err)
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("status socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("status socket %s: there is something else of that name (%s)", path, info.Mode())
	}

	// A name of this process alone; a leftover of an earlier one with the same pid is dead.
	beside := path + "." + strconv.Itoa(os.Getpid())
	if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("status socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: beside, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("status socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // the file is renamed: Close takes away ours, and only ours
	s := &Server{path: path, listener: l}
	if err := s.publish(beside); err != nil {
		l.Close()
		os.Remove(beside)
		return nil, fmt.Errorf("status socket: %w", err)
	}
	return s, nil
}

func (s *Server) publish(beside string) error {
	if err := os.Chmod(beside, 0o600); err != nil {
		return err
	}
	own, err := os.Lstat(beside)
	if err != nil {
		return err
	}
	s.own = own
	return os.Rename(beside, s.path)
}

// Serve answers every connection with what status returns, until ctx ends. It then removes the socket file, unless
// another process has replaced it, and returns nil.
func (s *Server) Serve(ctx context.Context, status func() Status) error {
	stop := context.AfterFunc(ctx, func() { s.listener.Close() })
	defer stop()
	defer s.Close()
	for {
		conn, err := s.listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("status socket %s: %w", s.path, err)
		case err != nil:
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		answer(conn, status())
	}
}

// Close stops listening and removes the socket file if it is still this server's.
func (s *Server) Close() error {
	err := s.listener.Close()
	if info, lerr := os.Lstat(s.path); lerr == nil && os.SameFile(info, s.own) {
		if rerr := os.Remove(s.path); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			return fmt.Errorf("status socket: %w", rerr)
		}
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// answer writes one line. A peer that has gone away again is its own affair.
func answer(conn net.Conn, s Status) {
	defer conn.Close()
	line, err := json.Marshal(s)
	if err != nil {
		return
	}
	if conn.SetWriteDeadline(time.Now().Add(writeTimeout)) == nil {
		_, _ = conn.Write(append(line, '\n'))
	}
}
