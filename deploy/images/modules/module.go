package modules

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Module is a linked module with its licences.
type Module struct {
	ID
	Files []LicenceFile // sorted by name, at least one
}

// LicenceFile is a file that has to be passed on with the module.
type LicenceFile struct {
	Name    string // below the module's root, with slashes
	Text    []byte
	Licence string // SPDX expression; "" if the text says nothing of a licence or is not recognised
}

// Expression is the SPDX expression of all of the module's files, of code in sub-folders that came from others too.
// It is "" if the module's own licence, the one in its root, is not recognised.
func (m Module) Expression() string {
	var licences []string
	own := false
	for _, f := range m.Files {
		if f.Licence == "" {
			if isLicence(f.Name) {
				return "" // a licence that we do not know beside one that we do
			}
			continue
		}
		own = own || !strings.Contains(f.Name, "/")
		licences = append(licences, f.Licence)
	}
	if !own {
		return ""
	}
	return All(licences)
}

// Source finds modules: the folders that a build in Dir took them from.
type Source struct{ Dir string }

// Load reads the licences of modules that were linked into a program built in the source's folder.
func (s Source) Load(ctx context.Context, ids []ID) ([]Module, error) {
	dirs, err := s.folders(ctx, ids)
	if err != nil {
		return nil, err
	}
	modules := make([]Module, len(ids))
	for i, id := range ids {
		// Of the Go distribution and of our own repository only the root speaks for what is linked.
		deep := id.Path != Std && id.Version != ""
		files, err := licences(os.DirFS(dirs[i]), deep)
		if err != nil {
			return nil, fmt.Errorf("licence of %s in %s: %w", id, dirs[i], err)
		}
		modules[i] = Module{ID: id, Files: files}
	}
	return modules, nil
}

// folders asks the go command where the modules are.
func (s Source) folders(ctx context.Context, ids []ID) ([]string, error) {
	args := []string{"list", "-m", "-json"}
	for _, id := range ids {
		if id.Path != Std {
			args = append(args, id.Path)
		}
	}
	out, err := s.run(ctx, args...)
	if err != nil {
		return nil, err
	}
	type listed struct{ Path, Version, Dir string }
	found := map[string]listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var m listed
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list -m: %w", err)
		}
		found[m.Path] = m
	}
	dirs := make([]string, len(ids))
	for i, id := range ids {
		m := found[id.Path]
		switch {
		case id.Path == Std:
			root, err := s.run(ctx, "env", "GOROOT")
			if err != nil {
				return nil, err
			}
			dirs[i] = strings.TrimSpace(string(root))
		case m.Version != id.Version:
			return nil, fmt.Errorf("module %s is linked in, and go.mod says %q: the program was built elsewhere", id, m.Version)
		case m.Dir == "":
			return nil, fmt.Errorf("module %s is not in the module cache", id)
		default:
			dirs[i] = m.Dir
		}
	}
	return dirs, nil
}

func (s Source) run(ctx context.Context, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stderr = s.Dir, &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// ErrNoLicence is the answer to a module that has no licence in its root.
var ErrNoLicence = errors.New("no LICENSE, LICENCE or COPYING file")

// licences reads the files to be passed on: those of the root, and with deep also those of all folders below it that
// can have been compiled.
func licences(root fs.FS, deep bool) ([]LicenceFile, error) {
	var files []LicenceFile
	own := false
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			skip := name != "." && (!deep || base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_"))
			if skip {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !passedOn(base) {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		own = own || name == base && isLicence(base)
		files = append(files, LicenceFile{Name: filepath.ToSlash(name), Text: text, Licence: Identify(text)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !own {
		return nil, ErrNoLicence
	}
	return files, nil
}

// passedOn says whether a file of that name has to go with copies of the module.
func passedOn(name string) bool {
	base := strings.ToUpper(filepath.Base(name))
	return isLicence(name) || !isCode(base) && (strings.HasPrefix(base, "NOTICE") || strings.HasPrefix(base, "PATENTS"))
}

func isLicence(name string) bool {
	base := strings.ToUpper(filepath.Base(name))
	if isCode(base) {
		return false
	}
	return strings.HasPrefix(base, "LICENSE") || strings.HasPrefix(base, "LICENCE") || strings.HasPrefix(base, "COPYING")
}

func isCode(upper string) bool { return strings.HasSuffix(upper, ".GO") }
