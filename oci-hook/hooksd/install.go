package hooksd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Installation says what goes where. Folders and Self are paths as this process sees them.
type Installation struct {
	HooksDir string        // where the JSON goes, e.g. /etc/containers/oci/hooks.d
	BinDir   string        // where the program goes, e.g. /opt/inlay/bin
	Self     string        // the program that is copied: os.Executable()
	Timeout  time.Duration // 0 = DefaultTimeout
	Args     []string      // arguments of the stand-alone hook after its name, e.g. --bitstreams DIR
	// HostPath turns a path as this process sees it into the host's, for the JSON. nil = they are the same.
	HostPath func(string) (string, error)
}

// BinaryPath is where the program is put, as this process sees it.
func (in Installation) BinaryPath() string { return filepath.Join(in.BinDir, BinaryName) }

// ConfigPath is where the JSON is put, as this process sees it.
func (in Installation) ConfigPath() string { return filepath.Join(in.HooksDir, ConfigName) }

// Install copies the program and then writes the JSON that names it. Missing folders are made. A second call with the
// same input changes nothing; calls at the same time take turns.
func (in Installation) Install() error {
	binDir, err := filepath.Abs(in.BinDir)
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	hookPath := filepath.Join(binDir, BinaryName)
	if in.HostPath != nil {
		if hookPath, err = in.HostPath(hookPath); err != nil {
			return fmt.Errorf("install: %w", err)
		}
	}
	timeout := in.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	config, err := Config(hookPath, timeout, in.Args...)
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	for _, dir := range []string{in.BinDir, in.HooksDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("install: %w", err)
		}
	}
	return in.locked("install", func() error {
		if err := in.putProgram(); err != nil {
			return err
		}
		return putConfig(in.ConfigPath(), config)
	})
}

// Uninstall takes the JSON away and then the program, unless that is a link: inlay-nri's hook folder has it, and the gate
// needs it. What is already gone is not an error.
func (in Installation) Uninstall() error {
	return in.locked("uninstall", func() error {
		paths := []string{in.ConfigPath(), in.BinaryPath()}
		if isLink(in.BinaryPath()) {
			paths = paths[:1]
		}
		for _, path := range paths {
			if err := removeLeftovers(path); err != nil {
				return err
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err := syncDir(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// locked runs steps while no other installer works on the program's folder, and adds what was being done to the error.
func (in Installation) locked(doing string, steps func() error) error {
	unlock, err := lockDir(in.BinDir)
	if errors.Is(err, fs.ErrNotExist) {
		unlock, err = func() {}, nil // uninstall of what was never there
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer unlock()
	if err := steps(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// putProgram copies the program. Where its name is a link the hook folder is kept by inlay-hook install-host; a file in
// the link's place would be an end to that, so the link must lead to this very program.
func (in Installation) putProgram() error {
	path := in.BinaryPath()
	if !isLink(path) {
		return copyProgram(in.Self, path)
	}
	self, err := os.Open(in.Self)
	if err != nil {
		return err
	}
	defer self.Close()
	same, err := sameProgram(self, path)
	if err == nil && !same {
		err = fmt.Errorf("%s is a link to another program: run inlay-hook install-host first", path)
	}
	return err
}

func isLink(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode()&fs.ModeSymlink != 0
}

// copyProgram puts a copy of self at path. A program that is there already, the same byte for byte, stays.
func copyProgram(self, path string) error {
	if err := removeLeftovers(path); err != nil {
		return err
	}
	src, err := os.Open(self)
	if err != nil {
		return err
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", self)
	}
	same, err := sameProgram(src, path)
	if err != nil || same {
		return err
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%s: %w", self, err)
	}
	return put(path, 0o755, func(dst *os.File) error {
		_, err := io.Copy(dst, src)
		return err
	})
}

// putConfig writes the JSON unless the very same is there: CRI-O reloads the folder at every change.
func putConfig(path string, config []byte) error {
	if err := removeLeftovers(path); err != nil {
		return err
	}
	old, err := os.ReadFile(path)
	if err == nil && string(old) == string(config) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return put(path, 0o644, func(dst *os.File) error {
		_, err := dst.Write(config)
		return err
	})
}
