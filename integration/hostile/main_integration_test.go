//go:build integration

package hostile

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/ocitest"
)

// suite is what the nodes of one test run share. It is made at its first use.
var suite struct {
	dir   string
	tools func() (integration.Tools, error)
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "inlay-hostile-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	suite.dir = dir
	suite.tools = sync.OnceValues(func() (integration.Tools, error) {
		const buildLimit = 20 * time.Minute
		ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
		defer cancel()
		runtime, err := integration.BuildRuntime(ctx, dir, os.Stderr)
		if err != nil {
			return integration.Tools{}, err
		}
		if err := writeImages(ctx, dir); err != nil {
			return integration.Tools{}, err
		}
		if runtime, err = runtime.WithRuntime(ctx, integration.CRIO, os.Stderr); err != nil {
			return integration.Tools{}, err
		}
		return runtime.WithInlay(ctx, os.Getenv("INLAY_BIN"), dir)
	})
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// imageOf is the image of a case's container: its ENV is the attack, so each has one of its own.
func imageOf(caseIndex int, c Case, container string) string {
	if len(c.Outside.Image[container]) == 0 {
		return ocitest.WorkloadName
	}
	return fmt.Sprintf("inlay.test/hostile-%d-%s:1", caseIndex, container)
}

func imagesFile(dir string) string { return filepath.Join(dir, "hostile.tar") }

// writeImages writes the images whose ENV is part of a case.
func writeImages(ctx context.Context, dir string) error {
	workload := filepath.Join(dir, "afu-read-2")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", workload,
		"github.com/inlay-project/inlay/integration/workload/afuread")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build afu-read: %w\n%s", err, out)
	}
	busybox, err := ocitest.FromHost(ocitest.Busybox, ocitest.Busybox)
	if err != nil {
		return err
	}
	afuRead, err := ocitest.FromHost("/bin/afu-read", workload)
	if err != nil {
		return err
	}
	var images []ocitest.Image
	for i, c := range Cases() {
		for name, env := range c.Outside.Image {
			image := ocitest.Workload(busybox, afuRead)
			image.Name = imageOf(i, c, name)
			image.Env = append(image.Env, env...)
			images = append(images, image)
		}
	}
	f, err := os.Create(imagesFile(dir))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := ocitest.WriteArchive(f, images...); err != nil {
		return err
	}
	return f.Close()
}
