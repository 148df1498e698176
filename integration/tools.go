package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/inlay-project/inlay/integration/components"
	"github.com/inlay-project/inlay/integration/ocitest"
)

// module is this project's import path; programs are built by it from any folder of
// the project.
const module = "github.com/inlay-project/inlay/"

// Tools are the programs that nodes are made of, by their file name, and the archive
// of the test images.
type Tools struct {
	paths  map[string]string
	images string
}

// programs are our own programs and the packages that they are built from.
func programs() map[string]string {
	return map[string]string{
		"inlay-nri":          "nri-plugin",
		"inlay-deviceplugin": "deviceplugins",
		"inlay-hook":         "oci-hook",
		"fpga-emulator":      "fpga/cmd/fpga-emulator",
	}
}

// BuildRuntime gives the tools for nodes without Inlay: containerd, runc and the test
// images. What it makes itself goes into dir.
func BuildRuntime(ctx context.Context, dir string, log io.Writer) (Tools, error) {
	if err := components.EnsureDebian(ctx, log, "busybox-static"); err != nil {
		return Tools{}, err
	}
	cacheDir, err := components.DefaultDir()
	if err != nil {
		return Tools{}, err
	}
	cache, err := components.Open(cacheDir, log)
	if err != nil {
		return Tools{}, err
	}
	paths, err := cache.Ensure(ctx, "containerd", "runc")
	if err != nil {
		return Tools{}, err
	}
	paths["afu-read"] = filepath.Join(dir, "afu-read")
	t := Tools{paths: paths, images: filepath.Join(dir, "images.tar")}
	return t, t.writeImages(ctx)
}

// WithRuntime adds what nodes with that runtime need, built if it is not there yet.
func (t Tools) WithRuntime(ctx context.Context, name RuntimeName, log io.Writer) (Tools, error) {
	all := maps.Clone(t.paths)
	if name != Containerd {
		if err := components.EnsureDebian(ctx, log, "conmon", "skopeo"); err != nil {
			return Tools{}, err
		}
		all["conmon"], all["skopeo"] = "/usr/bin/conmon", "/usr/bin/skopeo"
	}
	cacheDir, err := components.DefaultDir()
	if err != nil {
		return Tools{}, err
	}
	cache, err := components.Open(cacheDir, log)
	if err != nil {
		return Tools{}, err
	}
	paths, err := cache.Ensure(ctx, string(name))
	if err != nil {
		return Tools{}, err
	}
	maps.Copy(all, paths)
	return Tools{paths: all, images: t.images}, nil
}

// WithInlay adds Inlay's own programs and the emulator: those in the folder bin, e.g. a
// release to be tested, or if bin is empty compiled from this source tree into dir.
func (t Tools) WithInlay(ctx context.Context, bin, dir string) (Tools, error) {
	all := maps.Clone(t.paths)
	for name, pkg := range programs() {
		if bin != "" {
			all[name] = filepath.Join(bin, name)
			if _, err := os.Stat(all[name]); err != nil {
				return Tools{}, err
			}
			continue
		}
		all[name] = filepath.Join(dir, name)
		if err := goBuild(ctx, all[name], pkg, ""); err != nil {
			return Tools{}, err
		}
	}
	return Tools{paths: all, images: t.images}, nil
}

// WithVersion compiles Inlay's programs from this source tree into dir, stamped as
// another version than the one that the tools have.
func (t Tools) WithVersion(ctx context.Context, version, dir string) (Tools, error) {
	all := maps.Clone(t.paths)
	for name, pkg := range programs() {
		if name == "fpga-emulator" {
			continue // no part of Inlay
		}
		all[name] = filepath.Join(dir, name)
		if err := goBuild(ctx, all[name], pkg, version); err != nil {
			return Tools{}, err
		}
	}
	return Tools{paths: all, images: t.images}, nil
}

// Path is where the program of that name is; empty if these tools do not have it.
func (t Tools) Path(name string) string { return t.paths[name] }

func (t Tools) writeImages(ctx context.Context) error {
	if err := goBuild(ctx, t.Path("afu-read"), "integration/workload/afuread", ""); err != nil {
		return err
	}
	busybox, err := ocitest.FromHost(ocitest.Busybox, ocitest.Busybox)
	if err != nil {
		return err
	}
	afuRead, err := ocitest.FromHost("/bin/afu-read", t.Path("afu-read"))
	if err != nil {
		return err
	}
	f, err := os.Create(t.images)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := ocitest.WriteArchive(f, ocitest.Pause(busybox), ocitest.Workload(busybox, afuRead)); err != nil {
		return err
	}
	return f.Close()
}

// goBuild compiles a main package of this project as a release does: static, and stamped
// with a version if there is one.
func goBuild(ctx context.Context, out, pkg, version string) error {
	var stderr bytes.Buffer
	flags := "-ldflags=-s -w"
	if version != "" {
		flags += " -X " + module + "internal/buildinfo.version=" + version
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", flags, "-o", out, module+pkg)
	cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, stderr.Bytes())
	}
	return nil
}
