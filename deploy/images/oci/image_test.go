package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const testName = "registry.test/inlay/sample:v1.2.3"

func sample() Image {
	return Image{
		Name: testName, User: "65532:65532", Entrypoint: []string{"/usr/bin/a"}, Cmd: []string{"serve"},
		Labels: map[string]string{"org.opencontainers.image.title": "Sample"}, Created: time.Unix(1_700_000_000, 0),
	}
}

func contents(files ...File) []Content {
	return []Content{
		{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, Files: files},
		{Platform: v1.Platform{OS: "linux", Architecture: "arm64"}, Files: files},
	}
}

func build(t *testing.T, i Image, c []Content) *Built {
	t.Helper()
	b, err := Build(i, c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func archive(t *testing.T, b *Built) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := b.WriteArchive(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type entry struct {
	header *tar.Header
	data   []byte
}

func untar(t *testing.T, r io.Reader) (entries []entry) {
	t.Helper()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry{h, data})
	}
}

func program(name string) File {
	return File{Path: "/usr/bin/" + name, Mode: 0o755, Data: []byte("program " + name)}
}

func TestEveryPlatformHasAValidImage(t *testing.T) {
	b := build(t, sample(), contents(program("a")))
	if len(b.Platforms) != 2 || b.Platforms[0].Digest == b.Platforms[1].Digest {
		t.Fatalf("platforms %+v", b.Platforms)
	}
	for i, p := range b.Platforms {
		image := b.images[i]
		// Fast: the library unpacks layers as gzip; what is in them is for the tests below.
		if err := validate.Image(image, validate.Fast); err != nil {
			t.Errorf("%s: %v", p.Platform, err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		want := v1.Config{
			User: "65532:65532", Entrypoint: []string{"/usr/bin/a"}, Cmd: []string{"serve"}, WorkingDir: "/",
			Labels: map[string]string{"org.opencontainers.image.title": "Sample"},
		}
		if diff := cmp.Diff(want, config.Config); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p.Platform, diff)
		}
		if config.Architecture != p.Platform.Architecture || config.Created.Unix() != 1_700_000_000 {
			t.Errorf("%s: configuration of %s, created %s", p.Platform, config.Architecture, config.Created)
		}
	}
}

func TestTheArchiveNamesTheIndexAndHoldsAllItLeadsTo(t *testing.T) {
	b := build(t, sample(), contents(program("a")))
	files := map[string][]byte{}
	for _, e := range untar(t, bytes.NewReader(archive(t, b))) {
		files[e.header.Name] = e.data
	}
	var top v1.IndexManifest
	if err := json.Unmarshal(files["index.json"], &top); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"io.containerd.image.name": testName, "org.opencontainers.image.ref.name": testName}
	if len(top.Manifests) != 1 || top.Manifests[0].Digest != b.Digest {
		t.Fatalf("index.json: %s", files["index.json"])
	}
	if diff := cmp.Diff(want, top.Manifests[0].Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	var list v1.IndexManifest
	if err := json.Unmarshal(files["blobs/sha256/"+b.Digest.Hex], &list); err != nil {
		t.Fatal(err)
	}
	for i, p := range b.Platforms {
		d := list.Manifests[i]
		if d.Digest != p.Digest || !d.Platform.Equals(p.Platform) || d.Size != int64(len(files["blobs/sha256/"+p.Digest.Hex])) {
			t.Errorf("the index has %+v for %+v", d, p)
		}
	}
	var blobs int
	for name, data := range files {
		if digest, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && digest != "" {
			blobs++
			if got, _, _ := v1.SHA256(bytes.NewReader(data)); got.Hex != digest {
				t.Errorf("%s has the digest %s", name, got)
			}
		}
	}
	// The index, and for each platform manifest and configuration; the layer is one, its content being the same.
	if blobs != 6 {
		t.Errorf("%d blobs", blobs)
	}
}

func TestALayerHasFoldersBeforeFilesAllOfRootAndOfOneTime(t *testing.T) {
	l, err := newLayer([]File{program("b"), {Path: "/licenses/x/LICENSE", Mode: 0o644, Data: []byte("text")}, program("a")}, time.Unix(1000, 0))
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var names []string
	for _, e := range untar(t, r) {
		names = append(names, e.header.FileInfo().Mode().String()+" "+e.header.Name)
		if e.header.Uid != 0 || e.header.Gid != 0 || e.header.ModTime.Unix() != 1000 {
			t.Errorf("%s: owner %d:%d, time %s", e.header.Name, e.header.Uid, e.header.Gid, e.header.ModTime)
		}
	}
	want := []string{
		"drwxr-xr-x licenses/", "drwxr-xr-x licenses/x/", "-rw-r--r-- licenses/x/LICENSE",
		"drwxr-xr-x usr/", "drwxr-xr-x usr/bin/", "-rwxr-xr-x usr/bin/a", "-rwxr-xr-x usr/bin/b",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheSameFilesInAnyOrderAreTheSameArchive(t *testing.T) {
	files := []File{program("a"), program("b"), program("c")}
	first := archive(t, build(t, sample(), contents(files...)))
	slices.Reverse(files)
	if !bytes.Equal(first, archive(t, build(t, sample(), contents(files...)))) {
		t.Error("the order of the files changed the archive")
	}
	files[0].Data = []byte("something else")
	if bytes.Equal(first, archive(t, build(t, sample(), contents(files...)))) {
		t.Error("another program, the same archive")
	}
}

// The node image has two programs of some 15 MB that share most of their code.
func TestWhatTwoProgramsShareIsStoredOnce(t *testing.T) {
	random := make([]byte, 2<<20)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	const apart = 12 << 20 // more than the window of 8 MiB that zstd has by itself
	l, err := newLayer([]File{
		{Path: "/a", Data: random}, {Path: "/b", Data: make([]byte, apart)}, {Path: "/c", Data: random},
	}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if got, limit := len(l.packed), len(random)+len(random)/10; got > limit {
		t.Errorf("%d bytes, want at most %d", got, limit)
	}
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, _, err := v1.SHA256(r); err != nil || got != l.diffID {
		t.Errorf("unpacked: %s, %v; the diff id is %s", got, err, l.diffID)
	}
}

func TestWhatCannotBeAnImageIsRefused(t *testing.T) {
	named := func(name string) Image {
		i := sample()
		i.Name = name
		return i
	}
	for _, tt := range []struct {
		name  string
		image Image
		files []Content
		want  string
	}{
		{"no tag", named("registry.test/a"), contents(program("a")), "registry.test/a"},
		{"no registry", named("a:1"), contents(program("a")), "a:1"},
		{"a tag that registries refuse", named("registry.test/a:v1+2"), contents(program("a")), "v1+2"},
		{"no platform", sample(), nil, "no platform"},
		{"relative path", sample(), contents(File{Path: "usr/bin/a"}), "clean absolute"},
		{"path out of the image", sample(), contents(File{Path: "/../a"}), "clean absolute"},
		{"one path twice", sample(), contents(program("a"), program("a")), "twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Build(tt.image, tt.files); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
