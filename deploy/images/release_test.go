package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// tree writes a small module with one program into a folder of its own.
func tree(t *testing.T, licence string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"go.mod":       "module example.test/tiny\n\ngo 1.26.0\n",
		"cmd/tiny.go":  "package main\n\nfunc main() { println(\"tiny\") }\n",
		"LICENSE":      licence,
		"ignored/data": "not part of any image\n",
	}
	for name, text := range files {
		if text == "" {
			continue
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const apache = "Licensed under the Apache License, Version 2.0"

func tiny(dir, out string) release {
	return release{
		Tree: dir, Dir: out, Prefix: "registry.test/inlay", Version: "v1.2.3", Revision: "0123abc", Created: time.Unix(1_700_000_000, 0).UTC(),
		Platforms: []v1.Platform{{OS: "linux", Architecture: "amd64"}}, Out: &bytes.Buffer{},
	}
}

func recipeOfTiny() recipe {
	return recipe{name: "tiny", title: "Tiny", description: "A test", user: "65532:65532", programs: []program{{"tiny", "cmd"}}}
}

func TestTwoBuildsInDifferentFoldersGiveTheSameFiles(t *testing.T) {
	t.Setenv("GOFLAGS", "-buildvcs=false")
	made := make([]map[string]string, 2)
	for i := range made {
		out := filepath.Join(t.TempDir(), "dist")
		if err := tiny(tree(t, apache), out).write(t.Context(), []recipe{recipeOfTiny()}); err != nil {
			t.Fatal(err)
		}
		made[i] = map[string]string{}
		for _, name := range []string{"tiny.tar", "tiny.spdx.json", "digests.txt", "SHA256SUMS"} {
			data, err := os.ReadFile(filepath.Join(out, name))
			if err != nil {
				t.Fatal(err)
			}
			made[i][name] = string(data)
		}
	}
	for name := range made[0] {
		if made[0][name] != made[1][name] {
			t.Errorf("%s differs", name)
		}
	}
	if d := made[0]["digests.txt"]; !strings.HasPrefix(d, "registry.test/inlay/tiny@sha256:") || !strings.HasSuffix(d, "\n") {
		t.Errorf("digests.txt: %q", d)
	}
	if s := made[0]["SHA256SUMS"]; strings.Count(s, "\n") != 2 || !strings.Contains(s, "  tiny.spdx.json\n") {
		t.Errorf("SHA256SUMS: %q", s)
	}
	if !strings.Contains(made[0]["tiny.tar"], `"org.opencontainers.image.licenses":"Apache-2.0 AND BSD-3-Clause"`) {
		t.Error("the label of the licences does not name those of Go and of the program")
	}
}

// lists are digests.txt and SHA256SUMS of a folder, without the hashes: "image", "file".
func lists(t *testing.T, dir string) (names []string, hashes map[string]string) {
	t.Helper()
	hashes = map[string]string{}
	for list, cut := range map[string]string{"digests.txt": "@sha256:", "SHA256SUMS": "  "} {
		data, err := os.ReadFile(filepath.Join(dir, list))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			a, b, found := strings.Cut(strings.TrimSpace(line), cut)
			if !found {
				t.Fatalf("%s: line %q", list, line)
			}
			if list == "SHA256SUMS" {
				a, b = b, a
			}
			names, hashes[a] = append(names, a), b
		}
	}
	slices.Sort(names)
	return names, hashes
}

func TestWhatIsBuiltAloneDoesNotForgetTheOthers(t *testing.T) {
	t.Setenv("GOFLAGS", "-buildvcs=false")
	out, source := filepath.Join(t.TempDir(), "dist"), tree(t, apache)
	first, second := recipeOfTiny(), recipeOfTiny()
	second.name = "other"
	if err := tiny(source, out).write(t.Context(), []recipe{first, second}); err != nil {
		t.Fatal(err)
	}
	all, before := lists(t, out)
	want := []string{"other.spdx.json", "other.tar", "registry.test/inlay/other", "registry.test/inlay/tiny", "tiny.spdx.json", "tiny.tar"}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	alone := tiny(source, out)
	alone.Version = "v9"
	if err := alone.write(t.Context(), []recipe{second}); err != nil {
		t.Fatal(err)
	}
	all, after := lists(t, out)
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("after one image alone (-want +got):\n%s", diff)
	}
	for name := range before {
		if anew := strings.Contains(name, "other"); (before[name] != after[name]) != anew {
			t.Errorf("%s: built anew: %v, %s → %s", name, anew, before[name], after[name])
		}
	}
	// Another registry's: one line an image. What has no file any more has none.
	if err := os.Remove(filepath.Join(out, "tiny.tar")); err != nil {
		t.Fatal(err)
	}
	alone.Prefix = "elsewhere.test"
	if err := alone.write(t.Context(), []recipe{second}); err != nil {
		t.Fatal(err)
	}
	all, _ = lists(t, out)
	if diff := cmp.Diff([]string{"elsewhere.test/other", "other.spdx.json", "other.tar", "tiny.spdx.json"}, all); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnImageIsNotMade(t *testing.T) {
	t.Setenv("GOFLAGS", "-buildvcs=false")
	tooSmall, missing := recipeOfTiny(), recipeOfTiny()
	tooSmall.limit = 1000
	missing.programs = []program{{"gone", "nowhere"}}
	for _, tt := range []struct {
		name, licence string
		recipe        recipe
		want          string
	}{
		{"with more to download than its limit", apache, tooSmall, "its limit is 1000"},
		{"of a module without a licence", "", recipeOfTiny(), "licence of example.test/tiny"},
		{"of a program that does not compile", apache, missing, "gone for linux/amd64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "dist")
			err := tiny(tree(t, tt.licence), out).write(t.Context(), []recipe{tt.recipe})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if made, _ := os.ReadDir(out); len(made) > 0 {
				t.Errorf("left behind: %v", made)
			}
		})
	}
}

func TestTheTimeIsGivenOrThatOfTheLastCommit(t *testing.T) {
	if got, err := created(t.Context(), ".", "1700000000"); err != nil || got.Unix() != 1_700_000_000 {
		t.Errorf("SOURCE_DATE_EPOCH: %v, %v", got, err)
	}
	for _, bad := range []string{"now", "-1", "1.5", "17 "} {
		if _, err := created(t.Context(), ".", bad); err == nil {
			t.Errorf("SOURCE_DATE_EPOCH=%q was taken", bad)
		}
	}
	if _, err := created(t.Context(), t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("outside of a repository: %v", err)
	}
}

func TestPlatformsAndImagesAreChosenByName(t *testing.T) {
	got, err := parsePlatforms("linux/amd64,linux/arm64")
	want := []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"", "linux", "windows/amd64", "linux/arm/v7", "linux/amd64,"} {
		if _, err := parsePlatforms(bad); err == nil {
			t.Errorf("platforms %q were taken", bad)
		}
	}
	if r, err := choose(recipes(), "inlay-webhook"); err != nil || len(r) != 1 || r[0].name != "inlay-webhook" {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := choose(recipes(), ""); err != nil || len(r) != len(recipes()) {
		t.Errorf("%d images, %v", len(r), err)
	}
	if _, err := choose(recipes(), "inlay-nod"); err == nil || !strings.Contains(err.Error(), "inlay-nod") {
		t.Errorf("an image that there is not: %v", err)
	}
}
