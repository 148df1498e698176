package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/inlay-project/inlay/deploy/images/modules"
	"github.com/inlay-project/inlay/deploy/images/sbom"
)

// parsePlatforms reads a comma list of os/architecture.
func parsePlatforms(list string) ([]v1.Platform, error) {
	var platforms []v1.Platform
	for text := range strings.SplitSeq(list, ",") {
		p, err := v1.ParsePlatform(text)
		if err != nil {
			return nil, err
		}
		if p.OS != "linux" || p.Architecture == "" || p.Variant != "" || p.OSVersion != "" {
			return nil, fmt.Errorf("%q is not linux/ and an architecture", text)
		}
		platforms = append(platforms, *p)
	}
	return platforms, nil
}

// compile builds a program as `make build` does, statically, and says what is linked into it. Go's defaults of the
// environment that change the code are set here, or two machines would give two images.
func (r release) compile(ctx context.Context, scratch string, platform v1.Platform, p program) (sbom.Program, error) {
	file := filepath.Join(scratch, p.name+"-"+platform.Architecture)
	main := "./" + p.folder
	_, err := command(ctx, r.Tree, []string{
		"CGO_ENABLED=0", "GOOS=" + platform.OS, "GOARCH=" + platform.Architecture,
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off",
	}, "go", "build", "-trimpath", "-buildvcs=false", "-tags="+r.Tags, "-ldflags="+r.ldflags(), "-o", file, main)
	if err != nil {
		return sbom.Program{}, fmt.Errorf("%s for %s: %w", p.name, platform, err)
	}
	linked, err := modules.Linked(file)
	if err != nil {
		return sbom.Program{}, err
	}
	withLicences, err := modules.Source{Dir: r.Tree}.Load(ctx, linked)
	if err != nil {
		return sbom.Program{}, fmt.Errorf("%s for %s: %w", p.name, platform, err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return sbom.Program{}, err
	}
	return sbom.Program{Path: bin + p.name, Data: data, Modules: withLicences}, nil
}

func (r release) ldflags() string {
	const info = "github.com/inlay-project/inlay/internal/buildinfo."
	return fmt.Sprintf("-s -w -X %sversion=%s -X %scommit=%s", info, r.Version, info, r.Revision)
}

// command runs a program in a folder with more environment and gives what it printed.
func command(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr, cmd.Env = dir, &stderr, append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
