package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/inlay-project/inlay/deviceplugins/config"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/atomicfile"
	"github.com/inlay-project/inlay/internal/observe"
	"github.com/inlay-project/inlay/internal/regularfile"
)

// lastGood is the copy in the state folder of the last file that could be used, so that a mistake in a file does not take
// a node's devices away, not even over a restart.
const lastGood = "configuration.yaml"

// configText reads the configuration file; nil where none is named, or while one that need not be there is not.
func (o *options) configText() ([]byte, error) {
	if o.config == "" {
		return nil, nil
	}
	text, err := readBounded(o.config)
	if o.configOptional && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// readBounded reads a regular file; never nil without an error.
func readBounded(file string) ([]byte, error) {
	f, err := regularfile.Open(file)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, config.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return text, nil
}

// source is the configuration file over time.
type source struct {
	*options
	metrics *observe.ConfigMetrics
	wake    chan struct{}

	mu      sync.Mutex
	text    []byte // of the file as it was last looked at, nil where it need not be there and is not
	known   bool   // text is set: the file could be looked at
	trouble error  // why that is not what is in force
}

func (o *options) source(m *observe.ConfigMetrics) *source {
	return &source{options: o, metrics: m, wake: make(chan struct{}, 1)}
}

// start gives the settings to begin with: those of the file, else those of the last one that was good.
func (s *source) start() (config.Settings, error) {
	text, err := s.configText()
	var settings config.Settings
	if err == nil {
		settings, err = s.take(text)
	}
	if err == nil || s.config == "" {
		return settings, err
	}
	kept, keptErr := readBounded(s.keptFile())
	if keptErr != nil {
		if errors.Is(keptErr, fs.ErrNotExist) {
			return settings, err
		}
		return settings, errors.Join(err, keptErr)
	}
	if settings, keptErr = s.read(kept); keptErr != nil {
		return settings, err
	}
	s.reject(text, err)
	return settings, nil
}

func (s *source) keptFile() string { return filepath.Join(s.StateDir, lastGood) }

// take makes a file's text what is in force, and keeps a copy.
func (s *source) take(text []byte) (config.Settings, error) {
	settings, err := s.read(text)
	if err != nil {
		return settings, err
	}
	s.mu.Lock()
	s.text, s.known, s.trouble = text, true, nil
	s.mu.Unlock()
	if s.config == "" {
		return settings, nil
	}
	s.metrics.Taken()
	if err := s.keep(text); err != nil {
		s.Log.WithError(err).Warn("the configuration is in force, but no copy of it could be kept for a restart")
	}
	return settings, nil
}

// keep writes the copy. Of no file it is one that says nothing but its version: an empty copy is that of a file that was
// emptied, which earlier versions took, and is not believed.
func (s *source) keep(text []byte) error {
	if text == nil {
		text = []byte("version: " + config.Version + "\n")
	}
	if have, err := readBounded(s.keptFile()); err == nil && bytes.Equal(have, text) {
		return nil
	}
	if err := os.MkdirAll(s.StateDir, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(s.keptFile(), text, 0o600)
}

// reject goes on with what is in force. A nil text is that of a file that could not be read.
func (s *source) reject(text []byte, err error) {
	s.mu.Lock()
	news := s.trouble == nil || s.trouble.Error() != err.Error()
	s.text, s.known, s.trouble = text, text != nil, err
	s.mu.Unlock()
	s.metrics.Rejected()
	if news {
		s.Log.WithError(err).Error("the last configuration that was good stays in force")
	}
}

// missing is a line of /readyz while the file is not what is in force.
func (s *source) missing() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == nil {
		return nil
	}
	return []string{s.trouble.Error()}
}

// interests has the file's folder watched: a ConfigMap changes by a link beside the file.
func (s *source) interests() []plugin.Interest {
	if s.config == "" {
		return nil
	}
	return []plugin.Interest{{
		Folder: plugin.Folder{Path: filepath.Dir(s.config), Content: true},
		Changed: func() {
			select {
			case s.wake <- struct{}{}:
			default: // it is about to look
			}
		},
	}}
}

// follow reads the file again whenever it may have changed, until ctx ends.
func (s *source) follow(ctx context.Context, apply func(config.Settings)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		text, err := s.configText()
		if err != nil {
			s.reject(nil, err)
			continue
		}
		s.mu.Lock()
		same := s.known && bytes.Equal(text, s.text) && (text == nil) == (s.text == nil)
		s.mu.Unlock()
		if same {
			continue
		}
		settings, err := s.take(text)
		if err != nil {
			s.reject(text, err)
			continue
		}
		s.Log.WithField("file", s.config).Info("configuration read anew")
		apply(settings)
	}
}
