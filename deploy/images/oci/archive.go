package oci

import (
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotation keys of an archive's index.json: containerd names an imported image by the first, other tools by the second.
const (
	keyContainerdName = "io.containerd.image.name"
	keyRefName        = "org.opencontainers.image.ref.name"
)

// WriteArchive writes the image in OCI layout as one tar. Nothing in the archive carries a time: the tar is as
// reproducible as the image.
func (b *Built) WriteArchive(w io.Writer) error {
	blobs := map[v1.Hash][]byte{b.Digest: b.index}
	for i, image := range b.images {
		if err := addBlobs(blobs, image); err != nil {
			return fmt.Errorf("%s, %s: %w", b.Name, b.Platforms[i].Platform, err)
		}
	}
	top, err := marshalIndex([]descriptor{{
		MediaType: types.OCIImageIndex, Digest: b.Digest, Size: int64(len(b.index)),
		Annotations: map[string]string{keyContainerdName: b.Name, keyRefName: b.Name},
	}}, nil)
	if err != nil {
		return err
	}
	entries := []File{
		{Path: "/oci-layout", Mode: 0o644, Data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{Path: "/index.json", Mode: 0o644, Data: top},
	}
	for digest, data := range blobs {
		entries = append(entries, File{Path: "/blobs/" + digest.Algorithm + "/" + digest.Hex, Mode: 0o644, Data: data})
	}
	return writeTar(w, entries, time.Unix(0, 0))
}

// addBlobs adds everything that an image's manifest leads to, and the manifest.
func addBlobs(blobs map[v1.Hash][]byte, image v1.Image) error {
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	if blobs[digest], err = image.RawManifest(); err != nil {
		return err
	}
	config, err := image.ConfigName()
	if err != nil {
		return err
	}
	if blobs[config], err = image.RawConfigFile(); err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return err
		}
		r, err := l.Compressed()
		if err != nil {
			return err
		}
		if blobs[digest], err = io.ReadAll(r); err != nil {
			return err
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	return nil
}
