package devices

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/nri/pkg/api"

	"github.com/inlay-project/inlay/internal/record"
)

const (
	// byPath is where programs look for a GPU by its PCI address.
	byPath = "/dev/dri/by-path"
	// gpuNodes is the host's folder of the nodes that links in byPath lead to.
	gpuNodes = "/dev/dri"
	// cardsFolder in the run folder has a folder a card with its links; inlay-deviceplugin keeps it.
	cardsFolder = "gpu/by-path"
	// joinedFolder in the run folder has a folder a set of cards; made here.
	joinedFolder = "gpu/joined"
	// unusedFor is how long a joined folder stays that no container has: it may have been made for one that is being
	// created.
	unusedFor = 10 * time.Minute
)

// joinLinks gives a container with GPUs one folder of links in place of the single files that Allocate mounts. Where there
// is no folder for a card (its links are not wanted, or inlay-deviceplugin is older), the files stay. So they do where the
// pod has a mount of its own among them, or in the folder's place: it would be gone, or have no place in what is read-only.
func (a *Adjuster) joinLinks(ctr *api.Container, adjust *api.ContainerAdjustment) error {
	allocations, err := record.ParseOf(gpuDomain, ctr.GetAnnotations())
	if err != nil {
		return err
	}
	var files []string
	own := ""
	for _, m := range ctr.GetMounts() {
		switch destination := m.GetDestination(); {
		case !strings.HasPrefix(destination+"/", byPath+"/"):
		case isLink(m, allocations):
			files = append(files, destination)
		default:
			own = destination
		}
	}
	if len(files) == 0 {
		return nil
	}
	if own != "" {
		a.c.Log.WithField("mount", own).Debug("the pod has a mount of its own, so links below " + byPath + " stay single files")
		return nil
	}
	var cards []string
	for _, allocation := range allocations {
		for _, d := range allocation.Devices {
			card, _, _ := strings.Cut(d.ID, "-") // card0-1 is a share of card0
			cards = append(cards, card)
		}
	}
	slices.Sort(cards)
	folder, err := a.folderOf(slices.Compact(cards))
	if errors.Is(err, fs.ErrNotExist) {
		a.c.Log.WithError(err).Debug("links below " + byPath + " stay single files")
		return nil
	}
	if err != nil {
		return fmt.Errorf("links of %s: %w", strings.Join(cards, ", "), err)
	}
	source, err := a.c.Root.HostPath(folder)
	if err != nil {
		return err
	}
	for _, file := range files {
		adjust.RemoveMount(file)
	}
	adjust.AddMount(&api.Mount{
		Destination: byPath, Source: source, Type: "bind", Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"},
	})
	return nil
}

// isLink tells whether a mount is one of Allocate's: a name that udev gives an allocated card, of what is in the host's
// folder. A runtime may have followed the link already, so that the source is the node.
func isLink(m *api.Mount, allocations []record.Allocation) bool {
	name, below := strings.CutPrefix(m.GetDestination(), byPath+"/")
	if !below || !strings.HasPrefix(m.GetSource(), gpuNodes+"/") {
		return false
	}
	for _, allocation := range allocations {
		for _, d := range allocation.Devices {
			if strings.HasPrefix(name, "pci-"+d.Address) {
				return true
			}
		}
	}
	return false
}

// folderOf gives a folder with the links of all cards. It is one of our own for a single card too: that of the card is
// another when its links are, and a container keeps what it has mounted.
func (a *Adjuster) folderOf(cards []string) (string, error) {
	links := map[string]string{}
	for _, card := range cards {
		folder := filepath.Join(a.c.RunDir, cardsFolder, card)
		entries, err := os.ReadDir(folder)
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			if links[e.Name()], err = os.Readlink(filepath.Join(folder, e.Name())); err != nil {
				return "", err
			}
		}
	}
	return joined(filepath.Join(a.c.RunDir, joinedFolder), links)
}

// joined makes a folder with these links, or finds it: its name is made of what is in it, so that one which is in use never
// changes, and one that is there is whole.
func joined(parent string, links map[string]string) (string, error) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(links)) {
		fmt.Fprintf(h, "%s\x00%s\x00", name, links[name])
	}
	folder := filepath.Join(parent, hex.EncodeToString(h.Sum(nil)[:16]))
	if now := time.Now(); os.Chtimes(folder, now, now) == nil { // in use from now on
		return folder, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	made, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(made) // nothing is left of it, or it has its name
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(made, name)); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(made, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(made, folder); err != nil && !errors.Is(err, fs.ErrExist) { // somebody else made the same
		return "", err
	}
	return folder, nil
}

// Sweep removes joined folders that none of the containers has.
func (a *Adjuster) Sweep(ctx context.Context, containers []*api.Container) {
	parent := filepath.Join(a.c.RunDir, joinedFolder)
	entries, err := os.ReadDir(parent)
	if err != nil {
		return // none was ever made
	}
	used := map[string]bool{}
	for _, c := range containers {
		for _, m := range c.GetMounts() {
			if m.GetDestination() == byPath {
				used[filepath.Base(m.GetSource())] = true
			}
		}
	}
	for _, e := range entries {
		info, err := e.Info()
		if ctx.Err() != nil {
			return
		}
		if err != nil || used[e.Name()] || time.Since(info.ModTime()) < unusedFor {
			continue
		}
		if err := os.RemoveAll(filepath.Join(parent, e.Name())); err != nil {
			a.c.Log.WithError(err).Warn("links of GPUs that no container has any more cannot be removed")
		}
	}
}
