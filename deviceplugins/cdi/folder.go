package cdi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"
	"tags.cncf.io/container-device-interface/pkg/parser"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/inlay-project/inlay/internal/atomicfile"
	"github.com/inlay-project/inlay/internal/folderwatch"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/regularfile"
)

// version is the lowest that knows all that the families use, for runtimes with old libraries.
const version = "0.5.0"

// Folder is the folder of CDI files, for the families of one process. It is safe for concurrent use.
type Folder struct {
	dir   string
	root  *hostfs.Root
	texts Texts

	mu sync.Mutex
}

// New gives the folder at dir, as this process sees it. It is made when there is something to write. root is the host's
// tree: a runtime reads the files on the host, so a path in them that begins with root's own folder is refused.
func New(dir string, root *hostfs.Root) *Folder { return &Folder{dir: filepath.Clean(dir), root: root} }

// Keep makes the folder's files of one kind ("intel.cdi.k8s.io/gpu") exactly these: a file a device, readable by all,
// written only where it differs. A file of the kind whose device is not among them is removed; files of other kinds are
// never touched. An error names what could not be done; all the rest has been done nevertheless. The devices are kept: they
// are not to be changed afterwards. The files of the devices called stays are left as they are: those are there and cannot
// be read now, and their containers may be made anew.
func (f *Folder) Keep(kind string, devices []specs.Device, stays ...string) error {
	return f.keep(kind, devices, stays, true)
}

// Refresh is Keep for a kind that nobody is told of any more: what is there for these devices is brought up to date, the
// rest of the kind is removed, and nothing new is made. A container that was once given a CDI name (in another mode, or
// by the device plugin that was here before) names it again when it restarts, because the kubelet remembers the answer.
// So what is removed is lost, and stays is the more to be heeded.
func (f *Folder) Refresh(kind string, devices []specs.Device, stays ...string) error {
	return f.keep(kind, devices, stays, false)
}

// Watch is the folder with the names that are files of a kind, for plugin.Watch: others may take them away.
func (f *Folder) Watch(kind string) folderwatch.Folder {
	return folderwatch.Folder{Path: f.dir, Content: true, Match: func(name string) bool { return mayBe(kind, name) }}
}

func (f *Folder) keep(kind string, devices []specs.Device, stays []string, create bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := map[string]bool{}
	var errs []error
	for _, d := range devices {
		file := FileName(kind, d.Name)
		err := f.check(kind, d)
		if err == nil && wanted[file] {
			err = errors.New("the device is there twice")
		}
		if err == nil {
			wanted[file] = true
			err = f.put(file, kind, d, create)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("CDI device %s: %w", Name(kind, d.Name), err))
		}
	}
	for _, name := range stays {
		wanted[FileName(kind, name)] = true
	}
	f.texts.Forget(func(file string) bool { return mayBe(kind, file) && !wanted[file] })
	if err := f.collect(kind, wanted); err != nil {
		errs = append(errs, fmt.Errorf("CDI files of %s: %w", kind, err))
	}
	return errors.Join(errs...)
}

// check refuses what a runtime would not find: a name that is none, and paths of this process' own view.
func (f *Folder) check(kind string, d specs.Device) error {
	if _, _, _, err := parser.ParseQualifiedName(Name(kind, d.Name)); err != nil {
		return err
	}
	if f.root == nil || f.root.Dir() == "/" {
		return nil
	}
	var paths []string
	for _, n := range d.ContainerEdits.DeviceNodes {
		paths = append(paths, n.Path, n.HostPath)
	}
	for _, m := range d.ContainerEdits.Mounts {
		paths = append(paths, m.HostPath)
	}
	for _, p := range paths {
		if strings.HasPrefix(p+"/", f.root.Dir()+"/") {
			return fmt.Errorf("%s is no path of the host", p)
		}
	}
	return nil
}

// put writes one file if it is to be another.
func (f *Folder) put(name, kind string, d specs.Device, create bool) error {
	path := filepath.Join(f.dir, name)
	have, err := Read(path)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case missing && !create:
		return nil
	case err != nil && !missing:
		return err
	}
	want, err := f.texts.Of(name, specs.Spec{Version: version, Kind: kind, Devices: []specs.Device{d}})
	switch {
	case err != nil:
		return err
	case missing:
		if err := os.MkdirAll(f.dir, 0o755); err != nil {
			return err
		}
	case bytes.Equal(have, want) && readable(path):
		return nil
	case isOther(have, kind):
		return fmt.Errorf("%s is a file of another kind", path)
	}
	return atomicfile.Write(path, want, 0o644)
}

// maxFile is far more than any file of ours has, in bytes.
const maxFile = 1 << 20

// Read reads a CDI file, of a longer one the first MiB. What is not a regular file is an error: anybody who may write into
// the folder could keep the reader waiting for ever.
func Read(path string) ([]byte, error) {
	f, err := regularfile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// readable tells whether a file has the mode that it was given: a library once made them 0600, and a runtime that is not
// root could not read them.
func readable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().Perm() == 0o644
}

// collect removes the files of a kind that are not wanted.
func (f *Folder) collect(kind string, wanted map[string]bool) error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var errs []error
	for _, e := range entries {
		if wanted[e.Name()] || !mayBe(kind, e.Name()) {
			continue
		}
		path := filepath.Join(f.dir, e.Name())
		if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
			continue // none of ours, and none that a runtime reads
		}
		text, err := Read(path)
		if err == nil && IsFile(kind, e.Name(), text) {
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// mayBe tells whether a file's name is one that a device of the kind has. A longer kind has such names too.
func mayBe(kind, name string) bool {
	return strings.HasPrefix(name, prefix(kind)) && strings.HasSuffix(name, extension)
}

// IsFile tells whether a file is one that Keep makes or collects: it is called as a device of the kind, and says that it
// is of the kind.
func IsFile(kind, name string, text []byte) bool { return mayBe(kind, name) && kindOf(text) == kind }

// kindOf gives the kind that a file says it is of, empty where it says nothing.
func kindOf(text []byte) string {
	var spec struct {
		Kind string `json:"kind"`
	}
	if yaml.Unmarshal(text, &spec) != nil {
		return ""
	}
	return spec.Kind
}

func isOther(text []byte, kind string) bool {
	is := kindOf(text)
	return is != "" && is != kind
}
