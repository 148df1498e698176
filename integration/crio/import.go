package crio

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// Import brings all images from an OCI archive (see package ocitest). CRI-O must have
// started once: it wipes a store that another version has left, or none.
func (d *Daemon) Import(ctx context.Context, archive string) error {
	names, err := imagesOf(archive)
	if err != nil {
		return fmt.Errorf("import %s: %w", archive, err)
	}
	for _, name := range names {
		to := fmt.Sprintf("containers-storage:[overlay@%s+%s]%s", d.root(), d.state(), name)
		// Skopeo keeps a cache below /var/lib that has no option; here it goes into our folder.
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", `mount --bind "$0" /var/lib && exec "$@"`, d.skopeoCache(),
			d.Skopeo, "copy", "--insecure-policy", "--quiet", "oci-archive:"+archive+":"+name, to)
		cmd.Env = d.env()
		// For that mount, and since the overlay driver mounts its own folder over itself.
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("import %s from %s: %w: %s", name, archive, err, out)
		}
	}
	return nil
}

// imagesOf are the names of an archive's images.
func imagesOf(archive string) ([]string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it has no index.json")
		}
		if err != nil {
			return nil, err
		}
		if h.Name != "index.json" {
			continue
		}
		var index struct {
			Manifests []struct{ Annotations map[string]string }
		}
		if err := json.NewDecoder(r).Decode(&index); err != nil {
			return nil, fmt.Errorf("index.json: %w", err)
		}
		var names []string
		for _, m := range index.Manifests {
			names = append(names, m.Annotations["org.opencontainers.image.ref.name"])
		}
		return names, nil
	}
}
