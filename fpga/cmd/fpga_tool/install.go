package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// installReport is what install did.
type installReport struct {
	From   string `json:"from"`
	To     string `json:"to"`
	DryRun bool   `json:"dryRun"`
	Copied bool   `json:"copied"`
}

func (t *tool) install(ctx context.Context) error {
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
	host, err := t.root.HostPath(filepath.Dir(to))
	if err != nil {
		return err
	}
	f, err := openFolder(t.root, host, !t.options.dryRun)
	if err != nil {
		return err
	}
	defer f.close()
	if there, err := f.has(filepath.Base(to)); err != nil {
		return err
	} else if there && !t.options.force {
		return fmt.Errorf("%s is there already; -force replaces it", to)
	}
	r := installReport{From: info.Path, To: to, DryRun: t.options.dryRun}
	if !t.options.dryRun {
		f.sweep()
		if err := f.copy(ctx, b, filepath.Base(to), t.options.force); err != nil {
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
