package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga/bitstream"
)

// installReport is what install did.
type installReport struct {
	From   string `json:"from"`
	To     string `json:"to"`
	DryRun bool   `json:"dryRun"`
	Copied bool   `json:"copied"`
}

func (t *tool) install(context.Context) error {
	b, err := t.openBitstream()
	if err != nil {
		return err
	}
	defer b.Close()
	info := b.Info()
	to := t.installPath(info)
	if to == "" {
		return fmt.Errorf("%s does not say where it belongs: no interface id or no hash", info.Path)
	}
	dir, err := t.storeFolder(filepath.Dir(to))
	if err != nil {
		return err
	}
	target := filepath.Join(dir, filepath.Base(to))
	if _, err := os.Lstat(target); err == nil && !t.options.force {
		return fmt.Errorf("%s is there already; -force replaces it", to)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r := installReport{From: info.Path, To: to, DryRun: t.options.dryRun}
	if !t.options.dryRun {
		if err := copyInto(b, target, t.options.force); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
		r.Copied = true
	}
	return t.printInstall(r)
}

func (t *tool) printInstall(r installReport) error {
	switch {
	case t.options.json():
		return t.printJSON(r)
	case t.options.quiet:
		return nil
	}
	_, err := fmt.Fprintf(t.stdout, "Installing %s -> %s\n", printable(r.From), printable(r.To))
	if err == nil && r.DryRun {
		_, err = fmt.Fprintln(t.stdout, "Dry run: nothing was copied")
	}
	return err
}

// storeFolder gives the folder that a path of the store leads to, links followed inside the host root as the hook will
// follow them. It need not exist yet.
func (t *tool) storeFolder(dir string) (string, error) {
	host, err := t.root.HostPath(dir)
	if err != nil {
		return "", err
	}
	missing := ""
	for {
		real, err := t.root.Resolve(host)
		if err == nil {
			return filepath.Join(t.root.Join(real), missing), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || host == "/" {
			return "", err
		}
		host, missing = path.Dir(host), filepath.Join(path.Base(host), missing)
	}
}

// copyInto puts a verified file at target so that a reader sees all of it or nothing: a temporary file beside it,
// written out to the disk, then renamed. Without replace a file that has come meanwhile is left alone.
func copyInto(b *bitstream.Bitstream, target string, replace bool) (err error) {
	dir := filepath.Dir(target)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(target)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if _, err := io.Copy(tmp, b.Source()); err != nil {
		return err
	}
	// What was verified must be what was copied.
	if err := b.Unchanged(); err != nil {
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := rename(tmp.Name(), target, replace); err != nil {
		return err
	}
	return syncFolder(dir)
}

func rename(from, to string, replace bool) error {
	if replace {
		return os.Rename(from, to)
	}
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not every file system can, NFS for one
		if err = os.Link(from, to); err == nil {
			err = os.Remove(from)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return errors.New("is there already; -force replaces it")
	}
	return err
}

// syncFolder makes the rename last over a power cut.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
