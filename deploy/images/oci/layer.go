package oci

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// Window is how far back compression looks, and the memory in bytes that a runtime takes to unpack a layer. Decoders
// accept at least 128 MiB unless they are told otherwise.
const Window = 32 << 20

// File is a regular file of an image. It belongs to root.
type File struct {
	Path string // absolute and clean
	Mode int64  // permission bits
	Data []byte
}

// layer is a v1.Layer of known content.
type layer struct {
	packed         []byte
	digest, diffID v1.Hash
}

// newLayer packs the files and the folders above them, each entry with the given time.
func newLayer(files []File, created time.Time) (*layer, error) {
	var plain bytes.Buffer
	if err := writeTar(&plain, files, created); err != nil {
		return nil, err
	}
	l := &layer{}
	var err error
	if l.diffID, _, err = v1.SHA256(bytes.NewReader(plain.Bytes())); err != nil {
		return nil, err
	}
	if l.packed, err = compress(plain.Bytes()); err != nil {
		return nil, err
	}
	l.digest, _, err = v1.SHA256(bytes.NewReader(l.packed))
	return l, err
}

// compress is the same function of its input everywhere: one thread, and everything that the result depends on given.
func compress(plain []byte) ([]byte, error) {
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithWindowSize(Window), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// writeTar writes the files in the order of their names, folders before what is in them.
func writeTar(out io.Writer, files []File, created time.Time) error {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	w := tar.NewWriter(out)
	entry := func(kind byte, name string, mode int64, data []byte) error {
		err := w.WriteHeader(&tar.Header{
			Typeflag: kind, Name: name, Mode: mode, Size: int64(len(data)), ModTime: created, Format: tar.FormatUSTAR,
		})
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
		return nil
	}
	made := map[string]bool{"/": true}
	for i, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
			return fmt.Errorf("file %q: not a clean absolute path", f.Path)
		}
		if i > 0 && files[i-1].Path == f.Path {
			return fmt.Errorf("file %s is there twice", f.Path)
		}
		for _, dir := range above(f.Path) {
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := entry(tar.TypeDir, dir[1:]+"/", 0o755, nil); err != nil {
				return err
			}
		}
		if err := entry(tar.TypeReg, f.Path[1:], f.Mode, f.Data); err != nil {
			return err
		}
	}
	return w.Close()
}

// above lists the folders above a path, the outermost first, without the root.
func above(p string) []string {
	var dirs []string
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}

func (l *layer) Digest() (v1.Hash, error) { return l.digest, nil }

func (l *layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

func (l *layer) Size() (int64, error) { return int64(len(l.packed)), nil }

func (l *layer) MediaType() (types.MediaType, error) { return types.OCILayerZStd, nil }

func (l *layer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.packed)), nil
}

func (l *layer) Uncompressed() (io.ReadCloser, error) {
	r, err := zstd.NewReader(bytes.NewReader(l.packed))
	if err != nil {
		return nil, err
	}
	return r.IOReadCloser(), nil
}
