package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/components"
	"github.com/inlay-project/inlay/integration/ocitest"
)

const module = "github.com/inlay-project/inlay"

// Tools are the programs and images that clusters are made of. Making them takes minutes the first time on a machine,
// and a minute each time after that: tests share one.
type Tools struct {
	// Tree is the source tree whose deploy/ is applied.
	Tree string
	// Images is the folder of Inlay's own images, NAME.tar.
	Images string

	dir string
	log io.Writer

	mu    sync.Mutex
	paths map[string]string // tests that run at once add to it
}

// ToolOptions choose what is tested.
type ToolOptions struct {
	// Images is a folder as `make images` writes it; empty means that they are built from the source tree, for this
	// machine only.
	Images string
	// Log gets what is being built; nil is standard error.
	Log io.Writer
}

// debian are the packages of the distribution that every cluster needs.
func debian() []string {
	return []string{"busybox-static", "containernetworking-plugins", "iproute2", "util-linux", "mount"}
}

// BuildTools makes what clusters of every runtime need. What it makes itself goes into dir, which must stay as long as
// the Tools are used.
func BuildTools(ctx context.Context, dir string, o ToolOptions) (*Tools, error) {
	t := &Tools{dir: dir, log: o.Log, Images: o.Images, paths: map[string]string{}}
	if t.log == nil {
		t.log = os.Stderr
	}
	var err error
	if t.Tree, err = sourceTree(ctx); err != nil {
		return nil, err
	}
	if err := components.EnsureDebian(ctx, t.log, debian()...); err != nil {
		return nil, err
	}
	if err := t.ensure(ctx, "etcd", "kubernetes", "kubelet", "runc"); err != nil {
		return nil, err
	}
	for name, folder := range map[string]string{
		"fpga-emulator": "fpga/cmd/fpga-emulator", "afu-read": "integration/workload/afuread", "clampoom": "integration/cluster/clampoom",
	} {
		if err := t.compile(ctx, name, folder); err != nil {
			return nil, err
		}
	}
	// The wrapper's runtime stands beside it: CRI-O gives it no arguments of ours.
	if err := os.WriteFile(t.Path("clampoom")+".runtime", []byte(t.Path("runc")), 0o644); err != nil {
		return nil, err
	}
	if err := t.writeTestImages(); err != nil {
		return nil, err
	}
	if t.Images == "" {
		t.Images = filepath.Join(dir, "images")
		err = BuildImages(ctx, t.Tree, t.Images, ImageVersion)
	}
	return t, err
}

// forRuntime adds a container runtime. It is built at its first use.
func (t *Tools) forRuntime(ctx context.Context, name integration.RuntimeName) error {
	if name != integration.Containerd {
		if err := components.EnsureDebian(ctx, t.log, "conmon", "skopeo"); err != nil {
			return err
		}
	}
	return t.ensure(ctx, string(name))
}

func (t *Tools) ensure(ctx context.Context, names ...string) error {
	dir, err := components.DefaultDir()
	if err != nil {
		return err
	}
	cache, err := components.Open(dir, t.log)
	if err != nil {
		return err
	}
	paths, err := cache.Ensure(ctx, names...)
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.Copy(t.paths, paths)
	return err
}

// Path is where a program is.
func (t *Tools) Path(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return cmp.Or(t.paths[name], filepath.Join("/usr/bin", name))
}

// sourceTree is the folder of this project's go.mod.
func sourceTree(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("the source tree of %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (t *Tools) compile(ctx context.Context, name, folder string) error {
	program := filepath.Join(t.dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, module+"/"+folder)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", folder, err, out)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paths[name] = program
	return nil
}

func (t *Tools) testImages() string { return filepath.Join(t.dir, "test-images.tar") }

func (t *Tools) writeTestImages() error {
	busybox, err := ocitest.FromHost(ocitest.Busybox, ocitest.Busybox)
	if err != nil {
		return err
	}
	afuRead, err := ocitest.FromHost("/bin/afu-read", t.Path("afu-read"))
	if err != nil {
		return err
	}
	f, err := os.Create(t.testImages())
	if err != nil {
		return err
	}
	err = ocitest.WriteArchive(f, ocitest.Pause(busybox), ocitest.Workload(busybox, afuRead))
	return errors.Join(err, f.Close())
}

// ImageVersion is the tag of the images that deploy/ names.
const ImageVersion = "devel"

// BuildImages makes Inlay's images as `make images` does, for this machine, with the tag version.
func BuildImages(ctx context.Context, tree, dir, version string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", "./deploy/images", "-tree", tree, "-o", dir, "-version", version, "-tags", "grpcnotrace",
		"-platforms", "linux/"+runtime.GOARCH)
	cmd.Dir, cmd.Env = tree, append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the images: %w\n%s", err, out)
	}
	return nil
}

// archives are Inlay's images in a folder.
func archives(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s: no images (*.tar)", dir)
	}
	return files, err
}

// NodeImageTag is the tag of the node's image in a folder of images.
func NodeImageTag(ctx context.Context, dir string) (string, error) {
	reference, err := Reference(ctx, filepath.Join(dir, "inlay-node.tar"))
	if err != nil {
		return "", err
	}
	_, tag, _ := strings.Cut(filepath.Base(reference), ":")
	return tag, nil
}

// Reference is how the image in an archive is called, e.g. docker.io/inlay/inlay-node:devel.
func Reference(ctx context.Context, archive string) (string, error) {
	out, err := exec.CommandContext(ctx, "tar", "-xOf", archive, "index.json").Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", archive, err)
	}
	var index struct {
		Manifests []struct{ Annotations map[string]string }
	}
	if err := json.Unmarshal(out, &index); err != nil || len(index.Manifests) == 0 {
		return "", fmt.Errorf("%s: index.json names no image: %w", archive, err)
	}
	return index.Manifests[0].Annotations["io.containerd.image.name"], nil
}
