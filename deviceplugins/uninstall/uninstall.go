package uninstall

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/hookfile"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Node is where things are on the node, as this process sees them, with the links on the way resolved.
type Node struct {
	Root         *hostfs.Root // for what is in use
	PodResources string       // the kubelet's socket; "" = there is no kubelet

	Plugins string   // the kubelet's device-plugins
	HooksDs []string // folders of hooks.d JSON
	CDI     string
	Hook    string // the hook folder
	RunDir  string
	Policy  string // the policy file
	Purge   bool   // the policy file goes too

	Out io.Writer // a line for each thing that is taken away, or left
}

// place is a folder and what in it is ours.
type place struct {
	dir  string
	ours func(dir *os.Root, e fs.FileInfo) bool
	own  bool   // the folder goes too when it is empty, if it is called after us
	left string // why our files here stay; "" = they go
}

func (n Node) places() []place {
	places := []place{{dir: n.Plugins, ours: isResourceSocket}}
	for _, dir := range n.HooksDs {
		places = append(places, place{dir: dir, ours: isHooksD})
	}
	state := place{dir: filepath.Dir(n.Policy), ours: n.isPolicy, own: true}
	if !n.Purge {
		state.left = "--purge takes it too"
	}
	return append(places,
		place{dir: n.CDI, ours: isCDI},
		place{dir: n.Hook, ours: isHook, own: true},
		place{dir: n.RunDir, ours: isRunFile, own: true},
		state,
	)
}

// Run takes everything away. It stops at the first place that cannot be cleared: what comes after it is what guards
// containers that could start by what is left. It may be called again.
func (n Node) Run() error {
	for _, p := range n.places() {
		if err := n.clear(p); err != nil {
			return err
		}
	}
	return nil
}

// clear takes what is ours out of one folder, the stable name of the hook first: whoever starts it finds a whole program
// or none.
func (n Node) clear(p place) error {
	dir, err := os.OpenRoot(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return fmt.Errorf("%s: %w", p.dir, err)
	}
	var errs []error
	for _, e := range entries { // sorted: "inlay-hook" comes before its versions
		file := filepath.Join(p.dir, e.Name())
		st, err := dir.Lstat(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !p.ours(dir, st) {
			continue
		}
		if p.left != "" {
			n.say("left", file+": "+p.left)
			continue
		}
		if err := dir.Remove(e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("%s: %w", p.dir, err))
			continue
		}
		n.say("removed", file)
	}
	if p.own && p.left == "" {
		errs = append(errs, n.removeFolder(p.dir))
	}
	return errors.Join(errs...)
}

// removeFolder takes an empty folder that is called after us away: …/inlay, or …/inlay/bin and then its parent. One that
// somebody else uses, or that is mounted here, stays.
func (n Node) removeFolder(dir string) error {
	for filepath.Base(dir) == "inlay" || filepath.Base(filepath.Dir(dir)) == "inlay" {
		err := unix.Rmdir(dir)
		switch {
		case err == nil:
			n.say("removed", dir)
		case errors.Is(err, unix.ENOENT):
		case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
			n.say("left", dir+": there is more in it than this takes away")
			return nil
		case errors.Is(err, unix.EBUSY):
			n.say("left", dir+": it is a mount point here")
			return nil
		default:
			return &fs.PathError{Op: "remove", Path: dir, Err: err}
		}
		dir = filepath.Dir(dir)
	}
	return nil
}

func (n Node) say(what, of string) { fmt.Fprintf(n.Out, "%-8s %s\n", what, of) }

// What is ours by its name. Writers that were killed leave what begins with a dot.
var (
	resourceSocket  = regexp.MustCompile(`^fpga\.intel\.com-.+\.sock$`)
	temporarySocket = regexp.MustCompile(`^\.[0-9]+-[0-9a-f]{8}\.sock$`)
	cdiFile         = regexp.MustCompile(`^intel\.cdi\.k8s\.io-fpga-.+\.yaml$`)
	cdiTemporary    = regexp.MustCompile(`^\.intel\.cdi\.k8s\.io-fpga-.+\.yaml\.[0-9]+$`)
	hooksDFile      = regexp.MustCompile(`^(inlay-fpga\.json|\.inlay-fpga\.json\.[0-9]+)$`)
	runFile         = regexp.MustCompile(`^(lock-.+|load-.+\.json|claim-.+|touched|programs\.jsonl|node\.json|nri\.sock)$`)
	runTemporary    = regexp.MustCompile(`^\.(load-.+\.json|claim-.+|programs\.jsonl|node\.json)\.[0-9]+$`)
	hookTemporary   = regexp.MustCompile(`^\.inlay-hook\.[0-9]+$`)
)

// isResourceSocket knows the sockets of our resources; an earlier FPGA plugin's have the same names.
func isResourceSocket(_ *os.Root, e fs.FileInfo) bool {
	return e.Mode().Type() == fs.ModeSocket && (resourceSocket.MatchString(e.Name()) || temporarySocket.MatchString(e.Name()))
}

func isHooksD(_ *os.Root, e fs.FileInfo) bool { return !e.IsDir() && hooksDFile.MatchString(e.Name()) }

// isCDI knows our files by name and by the hook that they name: an earlier FPGA plugin's have such names too.
func isCDI(dir *os.Root, e fs.FileInfo) bool {
	if !e.Mode().IsRegular() {
		return false
	}
	return cdiTemporary.MatchString(e.Name()) || cdiFile.MatchString(e.Name()) && mentions(dir, e.Name(), hookfile.Name)
}

// maxMention bounds what is read of a file, in bytes.
const maxMention = 1 << 20

func mentions(dir *os.Root, name, word string) bool {
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMention))
	return err == nil && bytes.Contains(b, []byte(word))
}

func isHook(_ *os.Root, e fs.FileInfo) bool {
	if e.IsDir() {
		return false
	}
	name := e.Name()
	return name == hookfile.Name || hookfile.Versioned(name) || hookfile.Leftover(name) || hookTemporary.MatchString(name)
}

func isRunFile(_ *os.Root, e fs.FileInfo) bool {
	if e.IsDir() {
		return false
	}
	return runFile.MatchString(e.Name()) || runTemporary.MatchString(e.Name()) || temporarySocket.MatchString(e.Name())
}

func (n Node) isPolicy(_ *os.Root, e fs.FileInfo) bool {
	file := filepath.Base(n.Policy)
	left, cut := strings.CutPrefix(e.Name(), "."+file+".")
	return !e.IsDir() && (e.Name() == file || cut && strings.Trim(left, "0123456789") == "")
}
