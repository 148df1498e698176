//go:build integration

package integration

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/integration/cri"
)

// productImages gives the archives of Inlay's own images, as `make images` writes them. INLAY_IMAGES names a folder of
// images to be tested, e.g. a release's; without it they are built from this tree, for this machine.
func productImages(t *testing.T) (dir string) {
	t.Helper()
	if dir = os.Getenv("INLAY_IMAGES"); dir != "" {
		return dir
	}
	dir = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	builder := filepath.Join(t.TempDir(), "images")
	if err := goBuild(ctx, builder, "deploy/images", ""); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, builder, "-tree", "..", "-o", dir, "-version", "v0.0.0-integration", "-tags", "grpcnotrace",
		"-platforms", "linux/"+runtime.GOARCH)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("built:\n%s", out)
	return dir
}

// reference reads from an archive how its image is called. Runtimes are asked for it by that name.
func reference(t *testing.T, archive string) string {
	t.Helper()
	index, err := exec.CommandContext(t.Context(), "tar", "-xOf", archive, "index.json").Output()
	if err != nil {
		t.Fatalf("%s: %v", archive, err)
	}
	_, rest, _ := strings.Cut(string(index), `"io.containerd.image.name":"`)
	name, _, found := strings.Cut(rest, `"`)
	if !found {
		t.Fatalf("%s does not name its image: %s", archive, index)
	}
	return name
}

func TestOurImagesAreImportedAsTheyAreAndTheirProgramsRun(t *testing.T) {
	dir := productImages(t)
	on(t, onBoth, func(t *testing.T, name RuntimeName) {
		n := StartNode(t, inlayTools(t, name), NodeOptions{Runtime: name})
		references := map[string]string{}
		for _, image := range []string{"inlay-node", "inlay-webhook"} {
			archive := filepath.Join(dir, image+".tar")
			references[image] = reference(t, archive)
			if err := n.Runtime.Import(n.ctx(), archive); err != nil {
				t.Fatal(err)
			}
		}
		pod := n.RunPod("images")
		for _, tt := range []struct {
			name, image   string
			command, args []string
		}{
			{"inlay-deviceplugin", "inlay-node", []string{"inlay-deviceplugin"}, []string{"--version"}},
			{"inlay-nri", "inlay-node", []string{"inlay-nri"}, []string{"--version"}},
			{"inlay-hook", "inlay-node", []string{"inlay-hook"}, []string{"--version"}},
			{"fpga_tool", "inlay-node", []string{"fpga_tool"}, []string{"--version"}},
			{"inlay-webhook", "inlay-webhook", nil, []string{"--version"}}, // by the image's entrypoint
		} {
			ref := references[tt.image]
			got := pod.Run(cri.ContainerSpec{
				Name: strings.ReplaceAll(tt.name, "_", "-"), Image: ref, Command: tt.command, Args: tt.args,
			}).Wait()
			_, version, _ := strings.Cut(filepath.Base(ref), ":")
			if got.ExitCode != 0 || !strings.HasPrefix(got.Output, tt.name) || !strings.Contains(got.Output, version) {
				t.Errorf("%s from %s: exit code %d, it says %q", tt.name, ref, got.ExitCode, got.Output)
			}
		}
	})
}

// The digest that is signed is that of the archive; a registry gets the image by a copy.
func TestTheDigestOfAnImageSurvivesACopy(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("needs skopeo")
	}
	dir := productImages(t)
	digests, err := os.ReadFile(filepath.Join(dir, "digests.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(digests)) {
		name, digest, _ := strings.Cut(strings.TrimSpace(line), "@sha256:")
		archive, copied := filepath.Join(dir, filepath.Base(name)+".tar"), filepath.Join(t.TempDir(), "copy")
		out, err := exec.CommandContext(t.Context(), skopeo, "copy", "--insecure-policy", "--quiet", "--all", "--preserve-digests",
			"oci-archive:"+archive, "dir:"+copied).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		manifest, err := os.ReadFile(filepath.Join(copied, "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(manifest)); got != digest {
			t.Errorf("%s: the digest of the copy is %s, digests.txt has %s", name, got, digest)
		}
	}
}
