// Package bundle reads what a runtime hands to an OCI hook: the container's state on standard input, and the bundle's
// config.json behind it. Both are bounded and both may be hostile: a pod chooses its environment and annotations.
package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	maxState  = 4 << 20  // bytes; annotations may be large
	maxConfig = 32 << 20 // bytes
)

// State is the part of the OCI state that hooks use.
type State struct {
	ID          string            `json:"id"`
	PID         int               `json:"pid"` // of the container's first process, on the host
	Bundle      string            `json:"bundle"`
	Annotations map[string]string `json:"annotations"`
}

// Config is the part of an OCI config.json that hooks use.
type Config struct {
	Process struct {
		Env []string `json:"env"`
	} `json:"process"`
	Linux struct {
		Devices []Device `json:"devices"`
	} `json:"linux"`
	Hooks struct {
		CreateRuntime []Hook `json:"createRuntime"`
	} `json:"hooks"`
	Annotations map[string]string `json:"annotations"`
}

// Device is a device node that the container gets.
type Device struct {
	Path  string `json:"path"`
	Type  string `json:"type"`
	Major int64  `json:"major"`
	Minor int64  `json:"minor"`
}

// Hook is a program that the runtime runs.
type Hook struct {
	Path string   `json:"path"`
	Args []string `json:"args"`
}

// ReadState reads the state that a runtime writes to a hook's standard input.
func ReadState(r io.Reader) (State, error) {
	var s State
	if err := decode(r, maxState, &s); err != nil {
		return s, fmt.Errorf("OCI state on standard input: %w", err)
	}
	if s.Bundle == "" {
		return s, errors.New("OCI state on standard input names no bundle")
	}
	return s, nil
}

// Config reads the container's config.json.
func (s State) Config() (Config, error) {
	var c Config
	st, err := os.Stat(s.Bundle)
	if err != nil {
		return c, fmt.Errorf("bundle: %w", err)
	}
	if !st.IsDir() {
		return c, fmt.Errorf("bundle %s is not a folder", s.Bundle)
	}
	name := filepath.Join(s.Bundle, "config.json")
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hold us up
	if err != nil {
		return c, fmt.Errorf("bundle: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return c, fmt.Errorf("bundle: %s is not a regular file", name)
	}
	if err := decode(f, maxConfig, &c); err != nil {
		return c, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// decode reads one JSON value and nothing behind it.
func decode(r io.Reader, most int64, into any) error {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return err
	}
	if int64(len(b)) > most {
		return fmt.Errorf("more than %d bytes", most)
	}
	if len(b) == 0 {
		return errors.New("empty")
	}
	return json.Unmarshal(b, into)
}
