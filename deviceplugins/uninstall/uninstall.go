package uninstall

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/config"
	"github.com/inlay-project/inlay/deviceplugins/gpu"
	"github.com/inlay-project/inlay/deviceplugins/sgx"
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
	State   []string // files that survive a reboot: the policy, the copy of the configuration
	Purge   bool     // they go too
	Force   bool     // also what pods of other families than FPGA would miss

	Out io.Writer // a line for each thing that is taken away, or left
}

// place is a folder and what in it is ours.
type place struct {
	dir     string
	ours    func(dir *os.Root, e fs.FileInfo) bool
	folders []string // of ours, that go too when they are empty, in this order
	left    string   // why our files here stay; "" = they go
}

func (n Node) places(ctx context.Context) []place {
	places := []place{{dir: n.Plugins, ours: isResourceSocket}}
	for _, dir := range n.HooksDs {
		places = append(places, place{dir: dir, ours: isHooksD})
	}
	places = append(places, place{dir: n.CDI, ours: isCDI})
	heldGPUs := n.held(ctx, "gpu")
	for _, family := range []struct{ name, kind, held string }{{"gpu", gpu.Kind, heldGPUs}, {"sgx", sgx.Kind, n.held(ctx, "sgx")}} {
		places = append(places, place{dir: n.CDI, ours: isCDIOf(family.kind), left: cmp.Or(n.theirs(ctx, family.name), family.held)})
	}
	links := filepath.Join(n.RunDir, "gpu")
	byPath, joined := filepath.Join(links, "by-path"), filepath.Join(links, "joined")
	places = append(places,
		place{dir: n.Hook, ours: isHook, folders: named(n.Hook)},
		place{dir: byPath, ours: isCardsLinks, folders: []string{byPath}, left: heldGPUs},
		place{dir: joined, ours: isJoinedLinks, folders: []string{joined, links}, left: heldGPUs},
		place{dir: n.RunDir, ours: isRunFile, folders: named(n.RunDir)},
	)
	return append(places, n.statePlaces()...)
}

// statePlaces has a place for each folder of State.
func (n Node) statePlaces() []place {
	left := ""
	if !n.Purge {
		left = "--purge takes it too"
	}
	names := map[string][]string{}
	var places []place
	for _, file := range n.State {
		dir := filepath.Dir(file)
		if names[dir] == nil {
			places = append(places, place{dir: dir, folders: named(dir), left: left})
		}
		names[dir] = append(names[dir], filepath.Base(file))
	}
	for i := range places {
		places[i].ours = isWritten(names[places[i].dir])
	}
	return places
}

// named are the folders, from dir up, that are called after us: …/inlay, or …/inlay/bin and then its parent.
func named(dir string) []string {
	var folders []string
	for filepath.Base(dir) == "inlay" || filepath.Base(filepath.Dir(dir)) == "inlay" {
		folders = append(folders, dir)
		dir = filepath.Dir(dir)
	}
	return folders
}

// Run takes everything away. It stops at the first place that cannot be cleared: what comes after it is what guards
// containers that could start by what is left. It may be called again.
func (n Node) Run(ctx context.Context) error {
	for _, p := range n.places(ctx) {
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
		return n.removeFolders(p)
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
		if err := remove(dir, st); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("%s: %w", p.dir, err))
			continue
		}
		n.say("removed", file)
	}
	errs = append(errs, n.removeFolders(p))
	return errors.Join(errs...)
}

// remove takes a file away, or a folder of links.
func remove(dir *os.Root, e fs.FileInfo) error {
	if e.IsDir() {
		return dir.RemoveAll(e.Name())
	}
	return dir.Remove(e.Name())
}

// removeFolders takes empty folders of ours away. One that somebody else uses, or that is mounted here, stays.
func (n Node) removeFolders(p place) error {
	if p.left != "" {
		return nil
	}
	for _, dir := range p.folders {
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
	}
	return nil
}

func (n Node) say(what, of string) { fmt.Fprintf(n.Out, "%-8s %s\n", what, of) }

// What is ours by its name. Writers that were killed leave what begins with a dot.
var (
	resourceSocket  = regexp.MustCompile(`^fpga\.intel\.com-.+\.sock$`)
	familySocket    = regexp.MustCompile(`^(` + strings.Join(config.Known(), "|") + `)\.intel\.com-.+\.sock$`)
	temporarySocket = regexp.MustCompile(`^\.[0-9]+-[0-9a-f]{8}\.sock$`)
	cdiFile         = regexp.MustCompile(`^intel\.cdi\.k8s\.io-fpga-.+\.yaml$`)
	cdiTemporary    = regexp.MustCompile(`^\.intel\.cdi\.k8s\.io-fpga-.+\.yaml\.[0-9]+$`)
	hooksDFile      = regexp.MustCompile(`^(inlay-fpga\.json|\.inlay-fpga\.json\.[0-9]+)$`)
	runFile         = regexp.MustCompile(`^(lock-.+|load-.+\.json|claim-.+|touched|programs\.jsonl|node\.json|nri\.sock)$`)
	runTemporary    = regexp.MustCompile(`^\.(load-.+\.json|claim-.+|programs\.jsonl|node\.json)\.[0-9]+$`)
	hookTemporary   = regexp.MustCompile(`^\.inlay-hook\.[0-9]+$`)
	cardsLinks      = regexp.MustCompile(`^(card[0-9]+|\.card[0-9]+~[0-9]+)$`)
	joinedLinks     = regexp.MustCompile(`^([0-9a-f]{32}|\.new-[0-9]+)$`)
)

// socketMode is that of the sockets that unixsock makes. Other plugins leave theirs the mode that it was born with, which
// lets others look at it.
const socketMode = 0o600

// isResourceSocket knows the sockets of our resources. An earlier FPGA plugin's have the same names, and go as ours do. Of
// the other families another plugin may serve its own on this node, now or later: those are told by their mode.
func isResourceSocket(_ *os.Root, e fs.FileInfo) bool {
	switch name := e.Name(); {
	case e.Mode().Type() != fs.ModeSocket:
		return false
	case resourceSocket.MatchString(name), temporarySocket.MatchString(name):
		return true
	default:
		return familySocket.MatchString(name) && e.Mode().Perm() == socketMode
	}
}

func isHooksD(_ *os.Root, e fs.FileInfo) bool { return !e.IsDir() && hooksDFile.MatchString(e.Name()) }

// isCDI knows our files by name and by the hook that they name: an earlier FPGA plugin's have such names too.
func isCDI(dir *os.Root, e fs.FileInfo) bool {
	if !e.Mode().IsRegular() {
		return false
	}
	return cdiTemporary.MatchString(e.Name()) || cdiFile.MatchString(e.Name()) && mentions(dir, e.Name(), hookfile.Name)
}

// isCDIOf knows the files of another family's kind, as they are collected while that family is offered.
func isCDIOf(kind string) func(*os.Root, fs.FileInfo) bool {
	temporary := regexp.MustCompile(`^\.` + regexp.QuoteMeta(strings.TrimSuffix(cdi.FileName(kind, ""), ".yaml")) + `.+\.yaml\.[0-9]+$`)
	return func(dir *os.Root, e fs.FileInfo) bool {
		if !e.Mode().IsRegular() {
			return false
		}
		return temporary.MatchString(e.Name()) || cdi.IsFile(kind, e.Name(), read(dir, e.Name()))
	}
}

func mentions(dir *os.Root, name, word string) bool {
	return bytes.Contains(read(dir, name), []byte(word))
}

// maxRead bounds what is read of a file, in bytes.
const maxRead = 1 << 20

// read gives what a file says, nothing where that cannot be told.
func read(dir *os.Root, name string) []byte {
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRead))
	if err != nil {
		return nil
	}
	return b
}

func isCardsLinks(dir *os.Root, e fs.FileInfo) bool {
	return cardsLinks.MatchString(e.Name()) && holdsLinksAlone(dir, e)
}

func isJoinedLinks(dir *os.Root, e fs.FileInfo) bool {
	return joinedLinks.MatchString(e.Name()) && holdsLinksAlone(dir, e)
}

func holdsLinksAlone(dir *os.Root, e fs.FileInfo) bool {
	if !e.IsDir() {
		return false
	}
	entries, err := fs.ReadDir(dir.FS(), e.Name())
	return err == nil && !slices.ContainsFunc(entries, func(in fs.DirEntry) bool { return in.Type() != fs.ModeSymlink })
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

// isWritten knows files and what a writer of one that was killed leaves.
func isWritten(files []string) func(*os.Root, fs.FileInfo) bool {
	return func(_ *os.Root, e fs.FileInfo) bool {
		return !e.IsDir() && slices.ContainsFunc(files, func(file string) bool {
			left, cut := strings.CutPrefix(e.Name(), "."+file+".")
			return e.Name() == file || cut && strings.Trim(left, "0123456789") == ""
		})
	}
}
