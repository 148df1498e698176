package crio

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/integration/ocitest"
)

func TestConfigKeepsToItsOwnFolder(t *testing.T) {
	o := Options{
		Dir: "/tmp/xyz", CRIO: "/tmp/xyz/bin/crio", Pinns: "/tmp/xyz/bin/pinns", Conmon: "/tmp/xyz/bin/conmon", Runc: "/tmp/xyz/bin/runc",
		PauseImage: "pause.test/p:1", CDIDirs: []string{"/tmp/xyz/cdi", "/tmp/xyz/etc"}, HooksDirs: []string{"/tmp/xyz/hooks.d"}, NoNRI: true,
	}
	text := o.config()
	for _, want := range []string{
		`pause_image = "pause.test/p:1"`, `cdi_spec_dirs = ["/tmp/xyz/cdi", "/tmp/xyz/etc"]`, `hooks_dir = ["/tmp/xyz/hooks.d"]`,
		"enable_nri = false", `nri_plugin_request_timeout = "2s"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the configuration lacks %s", want)
		}
	}
	for word := range strings.FieldsSeq(text + o.storage()) {
		if path := strings.Trim(word, `"[],`); strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "/tmp/xyz/") {
			t.Errorf("%s is outside the daemon's folder", path)
		}
	}
}

func TestSocketThatIsTooLongIsRefusedEarly(t *testing.T) {
	if _, err := New(Options{Dir: "/tmp/" + strings.Repeat("x", 100)}, nil); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("got %v", err)
	}
}

func TestAllImagesOfAnArchiveAreFound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "images.tar")
	var archive bytes.Buffer
	err := ocitest.WriteArchive(&archive, ocitest.Image{Name: "a.test/one:1"}, ocitest.Image{Name: "a.test/two:1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	names, err := imagesOf(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a.test/one:1", "a.test/two:1"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestArchiveWithoutIndexIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "images.tar")
	var archive bytes.Buffer
	if err := tar.NewWriter(&archive).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := imagesOf(file); err == nil || !strings.Contains(err.Error(), "index.json") {
		t.Errorf("got %v", err)
	}
}
