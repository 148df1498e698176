package ocitest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

// Image is what goes into an image of one layer.
type Image struct {
	// Name is the full reference, e.g. "inlay.test/workload:1".
	Name string
	// Files become the layer. Folders above them are made.
	Files []File
	// Env, Entrypoint, Cmd and User are the image's defaults.
	Env, Entrypoint, Cmd []string
	User                 string
	// StopSignal is what asks a container to end, e.g. SIGKILL; empty is SIGTERM.
	StopSignal string
}

// File is one entry of the layer: a regular file with Data, or a link with Target.
type File struct {
	Path   string // absolute path in the container
	Mode   int64  // permission bits; 0 means 0644
	Data   []byte
	Target string // text of a symbolic link
}

// FromHost reads a program of this machine into an executable file of the image.
func FromHost(containerPath, hostPath string) (File, error) {
	data, err := os.ReadFile(hostPath)
	if err != nil {
		return File{}, fmt.Errorf("image file %s: %w", containerPath, err)
	}
	return File{Path: containerPath, Mode: 0o755, Data: data}, nil
}

// Media types and annotation keys of the OCI image format, version 1.1.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"

	// containerd names an imported image by this key, other tools by ref.name.
	keyContainerdName = "io.containerd.image.name"
	keyRefName        = "org.opencontainers.image.ref.name"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
}

type config struct {
	Architecture string       `json:"architecture"`
	OS           string       `json:"os"`
	Config       configValues `json:"config"`
	RootFS       rootFS       `json:"rootfs"`
}

type configValues struct {
	User       string   `json:"User,omitempty"`
	Env        []string `json:"Env,omitempty"`
	Entrypoint []string `json:"Entrypoint,omitempty"`
	Cmd        []string `json:"Cmd,omitempty"`
	StopSignal string   `json:"StopSignal,omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// WriteArchive writes the images as one tar in OCI layout, which `ctr images import`
// and skopeo read.
func WriteArchive(w io.Writer, images ...Image) error {
	var index manifest
	blobs := map[string][]byte{}
	for _, img := range images {
		d, err := img.blobs(blobs)
		if err != nil {
			return fmt.Errorf("image %s: %w", img.Name, err)
		}
		index.Manifests = append(index.Manifests, d)
	}
	index.SchemaVersion, index.MediaType = 2, typeIndex
	indexJSON, err := json.Marshal(index)
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	files := []File{
		{Path: "/oci-layout", Data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{Path: "/index.json", Data: indexJSON},
	}
	for digest, data := range blobs {
		files = append(files, File{Path: "/blobs/sha256/" + digest, Data: data})
	}
	return errors.Join(writeTar(out, files), out.Close())
}

// blobs adds the image's layer, configuration and manifest to the store and returns
// the manifest's descriptor.
func (i Image) blobs(store map[string][]byte) (descriptor, error) {
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	if err := errors.Join(writeTar(tw, i.Files), tw.Close()); err != nil {
		return descriptor{}, err
	}
	var packed bytes.Buffer
	// Test images are used once on this machine: time matters more than size.
	gz, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return descriptor{}, err
	}
	if _, err := gz.Write(layer.Bytes()); err != nil {
		return descriptor{}, err
	}
	if err := gz.Close(); err != nil {
		return descriptor{}, err
	}
	cfg, err := json.Marshal(config{
		Architecture: runtime.GOARCH, OS: "linux",
		Config: configValues{User: i.User, Env: i.Env, Entrypoint: i.Entrypoint, Cmd: i.Cmd, StopSignal: i.StopSignal},
		RootFS: rootFS{Type: "layers", DiffIDs: []string{"sha256:" + hexSum(layer.Bytes())}},
	})
	if err != nil {
		return descriptor{}, err
	}
	configBlob := put(store, typeConfig, cfg)
	man, err := json.Marshal(manifest{
		SchemaVersion: 2, MediaType: typeManifest, Config: &configBlob,
		Layers: []descriptor{put(store, typeLayer, packed.Bytes())},
	})
	if err != nil {
		return descriptor{}, err
	}
	d := put(store, typeManifest, man)
	d.Annotations = map[string]string{keyContainerdName: i.Name, keyRefName: i.Name}
	return d, nil
}

func put(store map[string][]byte, mediaType string, data []byte) descriptor {
	sum := hexSum(data)
	store[sum] = data
	return descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: len(data)}
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// writeTar writes the files sorted by path, folders first, without times or owners.
func writeTar(w *tar.Writer, files []File) error {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	made := map[string]bool{"/": true, ".": true}
	for _, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
			return fmt.Errorf("file %q: not a clean absolute path", f.Path)
		}
		if err := writeFolders(w, made, path.Dir(f.Path)); err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path[1:], Mode: f.Mode, Size: int64(len(f.Data)), Format: tar.FormatUSTAR}
		if f.Mode == 0 {
			h.Mode = 0o644
		}
		if f.Target != "" {
			h.Typeflag, h.Linkname, h.Mode, h.Size = tar.TypeSymlink, f.Target, 0o777, 0
		}
		if err := w.WriteHeader(h); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
		if f.Target == "" {
			if _, err := w.Write(f.Data); err != nil {
				return fmt.Errorf("file %s: %w", f.Path, err)
			}
		}
	}
	return nil
}

func writeFolders(w *tar.Writer, made map[string]bool, dir string) error {
	if made[dir] {
		return nil
	}
	if err := writeFolders(w, made, path.Dir(dir)); err != nil {
		return err
	}
	made[dir] = true
	mode := int64(0o755)
	if dir == "/tmp" {
		mode = 0o1777
	}
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: mode, Format: tar.FormatUSTAR})
}
