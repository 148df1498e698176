package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/inlay-project/inlay/deploy/images/modules"
	"github.com/inlay-project/inlay/deploy/images/oci"
	"github.com/inlay-project/inlay/deploy/images/sbom"
	"github.com/inlay-project/inlay/internal/atomicfile"
)

// source is where the code of a released image is found.
const source = "https://github.com/inlay-project/inlay"

// release is what all images of a run have in common.
type release struct {
	Tree, Dir, Prefix       string
	Version, Revision, Tags string
	Created                 time.Time
	Platforms               []v1.Platform
	Out                     io.Writer // what was made, a line an image
}

// write builds the images and puts them into the folder.
func (r release) write(ctx context.Context, recipes []recipe) error {
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "inlay-images-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	digests, sums := map[string]string{}, map[string]string{} // by image, by file
	for _, recipe := range recipes {
		built, bom, err := r.build(ctx, scratch, recipe)
		if err != nil {
			return fmt.Errorf("image %s: %w", recipe.name, err)
		}
		var archive bytes.Buffer
		if err := built.WriteArchive(&archive); err != nil {
			return fmt.Errorf("image %s: %w", recipe.name, err)
		}
		for _, file := range []struct {
			suffix string
			data   []byte
		}{{".tar", archive.Bytes()}, {".spdx.json", bom}} {
			if err := atomicfile.Write(filepath.Join(r.Dir, recipe.name+file.suffix), file.data, 0o644); err != nil {
				return err
			}
			name := recipe.name + file.suffix
			sums[name] = fmt.Sprintf("%x  %s", sha256.Sum256(file.data), name)
		}
		digests[recipe.name] = fmt.Sprintf("%s/%s@%s", r.Prefix, recipe.name, built.Digest)
		for _, p := range built.Platforms {
			fmt.Fprintf(r.Out, "%-14s %-12s %6.2f MB  %s\n", recipe.name, p.Platform.String(), float64(p.Size)/1e6, p.Digest)
		}
		fmt.Fprintf(r.Out, "%-14s %-12s %6.2f MB  %s\n", recipe.name, "all", float64(archive.Len())/1e6, built.Digest)
	}
	if err := r.list("digests.txt", digests, nameOfReference, func(name string) string { return name + ".tar" }); err != nil {
		return err
	}
	return r.list("SHA256SUMS", sums, fileOfSum, func(file string) string { return file })
}

// list writes a line for each image or file of this run, and keeps those of an earlier run whose file is in the folder
// still. of says what a line is about, and file which file that is.
func (r release) list(name string, lines map[string]string, of func(line string) string, file func(about string) string) error {
	old, err := os.ReadFile(filepath.Join(r.Dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(old)) {
		line = strings.TrimSpace(line)
		about := of(line)
		if _, anew := lines[about]; anew || about == "" {
			continue
		}
		switch _, err := os.Stat(filepath.Join(r.Dir, file(about))); {
		case err == nil:
			lines[about] = line
		case !errors.Is(err, os.ErrNotExist):
			return err
		}
	}
	var text strings.Builder
	for _, about := range slices.Sorted(maps.Keys(lines)) {
		text.WriteString(lines[about] + "\n")
	}
	return atomicfile.Write(filepath.Join(r.Dir, name), []byte(text.String()), 0o644)
}

// nameOfReference is the image of a line of digests.txt, wherever its registry is.
func nameOfReference(line string) string {
	image, _, _ := strings.Cut(line, "@")
	return path.Base(image)
}

// fileOfSum is the file of a line of SHA256SUMS.
func fileOfSum(line string) string {
	_, file, _ := strings.Cut(line, "  ")
	return file
}

// build makes one image and its SBOM.
func (r release) build(ctx context.Context, scratch string, recipe recipe) (*oci.Built, []byte, error) {
	var platforms []sbom.Platform
	var contents []oci.Content
	var licences []string
	for _, p := range r.Platforms {
		content := oci.Content{Platform: p}
		platform := sbom.Platform{Platform: p.String()}
		for _, program := range recipe.programs {
			compiled, err := r.compile(ctx, scratch, p, program)
			if err != nil {
				return nil, nil, err
			}
			platform.Programs = append(platform.Programs, compiled)
			content.Files = append(content.Files, oci.File{Path: compiled.Path, Mode: 0o755, Data: compiled.Data})
		}
		files, expressions := licenceFiles(platform.Programs)
		content.Files = append(content.Files, files...)
		licences = append(licences, expressions...)
		contents, platforms = append(contents, content), append(platforms, platform)
	}
	built, err := oci.Build(oci.Image{
		Name: r.Prefix + "/" + recipe.name + ":" + r.Version, User: recipe.user, Entrypoint: recipe.entrypoint, Cmd: recipe.cmd,
		Env: []string{"PATH=" + strings.TrimSuffix(bin, "/")}, Created: r.Created, Labels: r.labels(recipe, licences),
	}, contents)
	if err != nil {
		return nil, nil, err
	}
	for i, p := range built.Platforms {
		if recipe.limit > 0 && p.Size > recipe.limit {
			return nil, nil, fmt.Errorf("%s has %d bytes to download, its limit is %d", p.Platform, p.Size, recipe.limit)
		}
		platforms[i].Digest = p.Digest.Hex
	}
	var bom bytes.Buffer
	err = sbom.Write(&bom, sbom.Image{
		Name: built.Name, Version: r.Version, Digest: built.Digest.Hex, Source: source, Creator: "Inlay",
		Created: r.Created, Platforms: platforms,
	})
	return built, bom.Bytes(), err
}

// labels are the labels that the OCI image specification names.
func (r release) labels(recipe recipe, licences []string) map[string]string {
	const prefix = "org.opencontainers.image."
	labels := map[string]string{
		prefix + "title":       recipe.title,
		prefix + "description": recipe.description,
		prefix + "version":     r.Version,
		prefix + "source":      source,
		prefix + "licenses":    sbom.Licence(licences),
		prefix + "created":     r.Created.Format(time.RFC3339),
	}
	if r.Revision != "" {
		labels[prefix+"revision"] = r.Revision
	}
	return labels
}

// licenceFiles are the files below /licenses, each module's once, and the licence expressions of all modules.
func licenceFiles(programs []sbom.Program) (files []oci.File, expressions []string) {
	seen := map[string]bool{}
	for _, p := range programs {
		for _, m := range p.Modules {
			if seen[m.Path] {
				continue
			}
			seen[m.Path] = true
			expressions = append(expressions, m.Expression())
			for _, f := range m.Files {
				files = append(files, oci.File{Path: licencePath(m, f), Mode: 0o644, Data: f.Text})
			}
		}
	}
	return files, expressions
}

func licencePath(m modules.Module, f modules.LicenceFile) string {
	return "/licenses/" + m.Path + "/" + f.Name
}
