package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/internal/buildinfo"
	"github.com/inlay-project/inlay/internal/hookfile"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/record"
	"github.com/inlay-project/inlay/nri-plugin/fpga"
)

// sourceAuto is the default of --hook-source.
const sourceAuto = "auto"

// programHook is the hook that containers get, and what looks after its other versions, if there can be any.
type programHook struct {
	fpga.Hook
	versions *versions
}

// programHook says which inlay-hook the runtime is to run, and how.
func (o *options) programHook() (programHook, error) {
	call, err := o.hook.New(o.Common, o.maxBitstream)
	if err != nil {
		return programHook{}, err
	}
	h := programHook{Hook: fpga.Hook{Root: call.Root, Path: call.Path, Args: call.Args, Timeout: o.hook.Timeout}}
	source, err := o.source(h.Hook)
	if err != nil {
		return h, fmt.Errorf("--hook-source: %w", err)
	}
	if source == nil {
		return h, nil
	}
	defer source.Close()
	digest, err := hookfile.Sum(source)
	if err != nil {
		return h, fmt.Errorf("--hook-source: %w", err)
	}
	folder, own := path.Dir(call.Path), hookfile.FileName(buildinfo.Get().Version, digest)
	cdi, err := o.HostPath("cdi-dir", o.cdiDir)
	if err != nil {
		return h, err
	}
	h.Path, h.Program = path.Join(folder, own), hookfile.Pin(digest)
	h.versions = &versions{own: own, tree: call.Root, folder: folder, root: o.Root, cdi: cdi, unnamed: 2 * o.hook.Timeout, log: o.Log}
	if below, err := o.HostPath("hook-path", o.hook.Path); err == nil {
		h.versions.tree, h.versions.folder = o.Root, path.Dir(below) // also where the hook itself is called by a longer path
	}
	o.Log.WithField("hook", h.Path).Info("containers get the hook that this inlay-nri was shipped with")
	return h, nil
}

// source opens the hook that this process was shipped with; nil where it was installed without one of its own. By itself
// it is the one beside this program, if the hook folder is kept by inlay-hook install-host: --hook-path is a link then.
func (o *options) source(h fpga.Hook) (*os.File, error) {
	switch o.hookSource {
	case "":
		return nil, nil
	case sourceAuto:
	default:
		f, err := os.Open(o.hookSource)
		if err != nil {
			return nil, err
		}
		if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
			f.Close()
			return nil, fmt.Errorf("%s is not a program", o.hookSource)
		}
		return f, nil
	}
	if st, err := os.Lstat(h.Root.Join(h.Path)); err != nil || st.Mode()&fs.ModeSymlink == 0 {
		return nil, nil //nolint:nilerr // no link of install-host's: --hook-path is taken as it is, and looked at then
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	beside := filepath.Join(filepath.Dir(self), hookfile.Name)
	st, err := os.Stat(beside)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// Installed by hand into the hook folder itself: it is no copy of our own.
	if at, err := os.Stat(h.Root.Join(h.Path)); err == nil && os.SameFile(st, at) {
		return nil, nil
	}
	return os.Open(beside)
}

// sweepLimit bounds the wait for somebody who changes the hook folder, and with it the sweep.
const sweepLimit = 5 * time.Second

// versions are the files of inlay-hook on this host.
type versions struct {
	own    string       // the file that containers get from us
	tree   *hostfs.Root // in which the hook folder is found
	folder string       // host path
	root   *hostfs.Root // in which the CDI folder is found
	cdi    string       // host path
	// unnamed is how long nobody must have named a version before it goes: the gate and the hook behind it may each take
	// --hook-timeout.
	unnamed time.Duration
	log     logrus.FieldLogger

	last   context.CancelFunc // ends the wait of the last sweepLater
	sweeps sync.WaitGroup
}

// sweepLater takes the versions away that nobody needs any more. A container needs the one that its hooks name as long as
// the runtime knows it: it may be created and not started. One that is being created may not be in the list yet: containerd
// holds new plugins off meanwhile, CRI-O does not. An inlay-nri before us may have named a version in it, and its hooks run
// soon or never; so versions go some time after the list was made, and not by an older list once there is a newer one.
// Where something cannot be told everything stays, and the next connection tries again. Not for concurrent use.
func (v *versions) sweepLater(ctx context.Context, containers []*api.Container) {
	v.stop()
	needed, err := v.needed(containers)
	if err != nil {
		v.log.WithError(err).Info("other versions of the hook stay")
		return
	}
	ctx, v.last = context.WithCancel(ctx)
	v.sweeps.Go(func() {
		timer := time.NewTimer(v.unnamed)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
			v.sweep(ctx, needed)
		}
	})
}

// stop ends the wait for the last sweep, and waits for that sweep itself.
func (v *versions) stop() {
	if v.last != nil {
		v.last()
	}
	v.sweeps.Wait()
}

// sweep takes away what is not needed. What a CDI file names by now is needed too, and so is what came after the list.
func (v *versions) sweep(ctx context.Context, needed map[string]bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, sweepLimit, errors.New("no end of it"))
	defer cancel()
	if err := v.namedByCDI(needed); err != nil {
		v.log.WithError(err).Info("other versions of the hook stay")
		return
	}
	folder, err := hookfile.OpenFolder(v.tree.Dir(), v.folder, false)
	if errors.Is(err, fs.ErrNotExist) {
		return // no hook at all is what every FPGA container's refusal says
	}
	if err == nil {
		defer folder.Close()
		var gone []string
		gone, err = folder.Sweep(ctx, func(name string, written time.Time) bool {
			return needed[name] || time.Since(written) < v.unnamed
		})
		for _, name := range gone {
			v.log.WithField("hook", path.Join(v.folder, name)).Info("a version of the hook that no container names is taken away")
		}
	}
	if err != nil {
		v.log.WithError(err).Warn("versions of the hook that no container names stay")
	}
}

// needed are the versions that a container or a CDI file names, and our own.
func (v *versions) needed(containers []*api.Container) (map[string]bool, error) {
	needed := map[string]bool{v.own: true}
	for _, c := range containers {
		hooks := c.GetHooks()
		if hooks == nil && record.Present(c.GetAnnotations()) {
			return nil, fmt.Errorf("the runtime does not say which hooks container %s (%s) has", c.GetName(), c.GetId())
		}
		for _, list := range [][]*api.Hook{
			hooks.GetPrestart(), hooks.GetCreateRuntime(), hooks.GetCreateContainer(), hooks.GetStartContainer(),
			hooks.GetPoststart(), hooks.GetPoststop(),
		} {
			for _, h := range list {
				needed[path.Base(h.GetPath())] = true
			}
		}
	}
	return needed, v.namedByCDI(needed)
}

// namedByCDI adds what the CDI files name: words that look like a version's name.
func (v *versions) namedByCDI(needed map[string]bool) error {
	files, err := v.root.ReadDir(v.cdi)
	if err != nil {
		return fmt.Errorf("which of them CDI files name cannot be told: %w", err)
	}
	for _, name := range files {
		switch path.Ext(name) {
		case ".yaml", ".json":
		default:
			continue
		}
		text, err := v.root.ReadFile(path.Join(v.cdi, name))
		if err != nil {
			return fmt.Errorf("which of them CDI files name cannot be told: %w", err)
		}
		for word := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return strings.ContainsRune(" \t\r\n\"',:[]{}/", r) }) {
			if hookfile.Versioned(word) {
				needed[word] = true
			}
		}
	}
	return nil
}
