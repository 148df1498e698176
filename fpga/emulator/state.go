package emulator

import (
	"errors"
	"path/filepath"
)

// The methods here bring the tree in line with what is wrong and what is released. board.mu is held by the caller.

// applyFaults sets the faults that concern devices rather than calls.
func (b *board) applyFaults(faults *faultFile) error {
	var errs []error
	for _, f := range b.fmes {
		e := faults.of(f.name)
		if f.removed != e.removed {
			f.removed = e.removed
			errs = append(errs, b.placeCard(f))
		}
		if f.dead != e.dead {
			f.dead = e.dead
			errs = append(errs, f.publish())
			for _, p := range f.ports {
				errs = append(errs, p.publish())
			}
		}
	}
	for _, p := range b.ports {
		e := faults.of(p.name)
		if p.removed != e.removed {
			p.removed = e.removed
		}
		errs = append(errs, b.place(p))
		if p.dead != e.dead {
			p.dead = e.dead
			errs = append(errs, p.publish())
		}
	}
	return errors.Join(errs...)
}

// settleAll leaves the tree whole when the emulator ends: what was out comes back, what was dead reads its ids again.
func (b *board) settleAll() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.ports {
		p.released = false
	}
	err := b.applyFaults(&faultFile{})
	for _, p := range b.ports {
		if p.stuck {
			p.stuck = false
			err = errors.Join(err, p.publish())
		}
		err = errors.Join(err, p.mem.Close())
	}
	for _, f := range b.fmes {
		err = errors.Join(err, f.mem.Close())
	}
	return err
}

// placeCard takes a whole card, with its VFs, out of the tree or puts it back.
func (b *board) placeCard(f *fme) error {
	if !f.removed {
		if f.stash == nil {
			return nil
		}
		w := f.stash
		f.stash = nil
		errs := []error{w.restore(), f.publish()}
		for _, p := range f.ports {
			errs = append(errs, p.publish())
		}
		return errors.Join(errs...)
	}
	dirs, names := []string{f.pci}, []string{f.name}
	for _, p := range f.ports {
		if p.stash == nil {
			names = append(names, p.name)
		}
	}
	vfs, _ := filepath.Glob(filepath.Join(f.pci, "virtfn*")) // the pattern is a constant
	for _, vf := range vfs {
		if dir, err := filepath.EvalSymlinks(vf); err == nil {
			dirs = append(dirs, dir)
		}
	}
	w, err := b.withdraw(dirs, names)
	f.stash = w
	return err
}

// place takes a port out of the tree if it is released or removed, else puts it back. While its card is out it waits.
func (b *board) place(p *port) error {
	if p.parent != nil && p.parent.stash != nil {
		return nil
	}
	out := p.released || p.removed
	switch {
	case out && p.stash == nil:
		w, err := b.withdraw([]string{p.dir}, []string{p.name})
		p.stash = w
		return err
	case !out && p.stash != nil:
		w := p.stash
		p.stash = nil
		return errors.Join(w.restore(), p.publish())
	}
	return nil
}

// recover gives a port back its afu_id after an emulator was killed in the middle of a PR: what it holds now nobody knows.
func (p *port) recover() error {
	if !p.lost {
		return nil
	}
	running, err := p.parent.locked(turnByte, 1)
	if err != nil || running {
		return err
	}
	p.lost = false
	return p.publish()
}
