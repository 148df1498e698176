package ocitest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample() Image {
	bb := File{Path: "/bin/busybox", Mode: 0o755, Data: []byte("not really busybox")}
	return Workload(bb, File{Path: "/bin/afu-read", Mode: 0o755, Data: []byte("nor this")})
}

func archive(t *testing.T, images ...Image) map[string][]byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteArchive(&b, images...); err != nil {
		t.Fatal(err)
	}
	return untar(t, &b)
}

func untar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeSymlink {
			data = []byte("-> " + h.Linkname)
		}
		files[h.Name] = data
	}
}

func TestArchiveIsAChainOfTrueDigests(t *testing.T) {
	files := archive(t, sample())
	blob := func(d descriptor) []byte {
		t.Helper()
		data := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		if "sha256:"+hexSum(data) != d.Digest || len(data) != d.Size {
			t.Fatalf("%s: the blob does not have that digest and size", d.Digest)
		}
		return data
	}
	var index, man manifest
	var cfg config
	decode(t, files["index.json"], &index)
	if got := index.Manifests[0].Annotations[keyContainerdName]; got != WorkloadName {
		t.Errorf("image name %q", got)
	}
	decode(t, blob(index.Manifests[0]), &man)
	decode(t, blob(*man.Config), &cfg)
	gz, err := gzip.NewReader(bytes.NewReader(blob(man.Layers[0])))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(gz)
	if err != nil {
		t.Fatal(err)
	}
	if got := "sha256:" + hexSum(layer); got != cfg.RootFS.DiffIDs[0] {
		t.Errorf("diff id %s, layer %s", cfg.RootFS.DiffIDs[0], got)
	}
	content := untar(t, bytes.NewReader(layer))
	if got := string(content["bin/sh"]); got != "-> /bin/busybox" {
		t.Errorf("/bin/sh: %q", got)
	}
	if _, ok := content["etc/"]; !ok {
		t.Error("the layer has no entry for the folder /etc")
	}
}

func TestSameInputSameArchive(t *testing.T) {
	if diff := cmp.Diff(archive(t, sample()), archive(t, sample())); diff != "" {
		t.Error(diff)
	}
}

func TestPathThatIsNotCleanIsRefused(t *testing.T) {
	for _, p := range []string{"bin/x", "/bin/../x", "/bin//x", ""} {
		if err := WriteArchive(io.Discard, Image{Name: "a.test/b:1", Files: []File{{Path: p}}}); err == nil {
			t.Errorf("%q was accepted", p)
		}
	}
}

func decode(t *testing.T, data []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatalf("%v in %q", err, data)
	}
}
