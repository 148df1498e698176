package oci

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image says what an image is, on every platform alike.
type Image struct {
	Name            string            // whole reference with registry and tag, as a runtime looks it up
	Labels          map[string]string // labels of the configuration, annotations of the manifests
	User            string            // "uid:gid"
	Env             []string
	Entrypoint, Cmd []string
	Created         time.Time // of the image and of every file in it
}

// Built is an image with its content.
type Built struct {
	Name      string
	Digest    v1.Hash // of the index: what is signed, and by what a deployment may pin the image
	Platforms []BuiltPlatform

	index  []byte
	images []v1.Image
}

// BuiltPlatform is the image of one platform.
type BuiltPlatform struct {
	Platform v1.Platform
	Digest   v1.Hash
	Size     int64 // bytes that a node downloads: manifest, configuration and layer
}

// Content is what one platform gets.
type Content struct {
	Platform v1.Platform
	Files    []File
}

// Build makes the image of all platforms.
func Build(i Image, contents []Content) (*Built, error) {
	// Strict: without a registry and a tag each runtime would complete the name by rules of its own.
	if _, err := name.NewTag(i.Name, name.StrictValidation); err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Name, err)
	}
	if len(contents) == 0 {
		return nil, fmt.Errorf("image %s: no platform", i.Name)
	}
	b := &Built{Name: i.Name}
	var list []descriptor
	for _, c := range contents {
		image, err := i.platform(c)
		if err != nil {
			return nil, fmt.Errorf("image %s, %s: %w", i.Name, c.Platform, err)
		}
		digest, err := image.Digest()
		if err != nil {
			return nil, fmt.Errorf("image %s, %s: %w", i.Name, c.Platform, err)
		}
		manifest, err := image.Size()
		if err != nil {
			return nil, fmt.Errorf("image %s, %s: %w", i.Name, c.Platform, err)
		}
		size, err := downloaded(image)
		if err != nil {
			return nil, fmt.Errorf("image %s, %s: %w", i.Name, c.Platform, err)
		}
		list = append(list, descriptor{MediaType: types.OCIManifestSchema1, Digest: digest, Size: manifest, Platform: &c.Platform})
		b.images = append(b.images, image)
		b.Platforms = append(b.Platforms, BuiltPlatform{Platform: c.Platform, Digest: digest, Size: manifest + size})
	}
	var err error
	if b.index, err = marshalIndex(list, i.Labels); err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Name, err)
	}
	b.Digest, _, err = v1.SHA256(bytes.NewReader(b.index))
	return b, err
}

func (i Image) platform(c Content) (v1.Image, error) {
	created := v1.Time{Time: i.Created.UTC()}
	l, err := newLayer(c.Files, created.Time)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base, err = mutate.ConfigFile(base, &v1.ConfigFile{
		OS: c.Platform.OS, Architecture: c.Platform.Architecture, Variant: c.Platform.Variant, Created: created,
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{User: i.User, Env: i.Env, Entrypoint: i.Entrypoint, Cmd: i.Cmd, Labels: i.Labels, WorkingDir: "/"},
	})
	if err != nil {
		return nil, err
	}
	image, err := mutate.Append(base, mutate.Addendum{Layer: l, History: v1.History{Created: created, CreatedBy: "deploy/images"}})
	if err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(image, i.Labels).(v1.Image)
	if !ok {
		return nil, errors.New("annotating the image did not give an image")
	}
	return annotated, nil
}

// downloaded is the size of what a manifest names.
func downloaded(image v1.Image) (int64, error) {
	m, err := image.Manifest()
	if err != nil {
		return 0, err
	}
	size := m.Config.Size
	for _, l := range m.Layers {
		size += l.Size
	}
	return size, nil
}
