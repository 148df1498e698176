//go:build integration

package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/integration"
)

// twoRounds and uninstallOwn are the parts of docs/install.md behind the usual uninstallation.
const (
	twoRounds    = "#### Uninstall where the runtime starts inlay-nri"
	uninstallOwn = "#### Uninstall with images and folders of your own"
)

// modeLabel is inlay-deviceplugin's on the Node; the last of the page's commands takes it away.
const modeLabel = "fpga.intel.com/mode"

// made are folders of others that an overlay's pods make where they are missing, as on a host that has none. The page says
// that they stay.
var made = map[string][]string{"all": {"run/cdi"}, "preinstalled-nri": {"opt/nri", "etc/nri"}}

func TestTheUninstallJobLeavesNothingOfOtherOverlays(t *testing.T) {
	t.Parallel()
	for overlay, options := range map[string]Options{
		"all":              {},
		"crio-hooks":       {Runtime: integration.CRIO, NoNRI: true},
		"preinstalled-nri": {NRITimeout: patient},
	} {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			if overlay != "all" {
				long(t)
			}
			c := kit.Start(t, options)
			if tag, err := c.ImageTag(t.Context()); err != nil || tag != ImageVersion {
				t.Skipf("the page's commands name images of the tag %s; those of INLAY_IMAGES have %s (%v)", ImageVersion, tag, err)
			}
			page := c.uninstallPage(t, overlay)
			c.StoreBitstream(integration.NLB3)
			c.must(c.ImportImages(t.Context(), c.tools.Images))
			for _, folder := range made[overlay] {
				if err := os.RemoveAll(c.HostPath(folder)); err != nil {
					t.Fatal(err)
				}
			}
			before := c.hostPaths(t)
			c.InstallInlay(Install{Overlay: overlay})
			c.WaitAllocatable(region, 1)
			if overlay == "preinstalled-nri" {
				c.must(c.Runtime.Restart(t.Context()))
			}
			c.readsNLB3()
			if node, err := c.Node(t.Context()); err != nil || node.Labels[modeLabel] == "" {
				t.Errorf("the Node has no label %s before: %v", modeLabel, err)
			}

			var ran string
			if overlay == "preinstalled-nri" {
				ran = c.uninstallInTwoRounds(t, page)
			} else {
				ran = c.follow(t, page.first+page.rest)
			}

			for _, path := range c.hostPaths(t) {
				if !slices.Contains(before, path) && !slices.Contains(page.stays, "/"+path) {
					t.Errorf("left on the node: /%s", path)
				}
			}
			if t.Failed() {
				t.Log(ran)
			}
			c.nothingOfInlay(t)
			if node, err := c.Node(t.Context()); err != nil || node.Labels[modeLabel] != "" {
				t.Errorf("the Node's label %s: %q, %v", modeLabel, node.Labels[modeLabel], err)
			}
		})
	}
}

// uninstallInTwoRounds is the page's way where the runtime starts inlay-nri, and before it the Job of a node that still
// has a pod: it refuses, and the plugin stays.
func (c *Test) uninstallInTwoRounds(t *testing.T, page uninstallPage) string {
	t.Helper()
	program := c.HostPath("opt/nri/plugins/40-inlay")
	pod := PodSpec{Name: "holder", Resources: map[string]int64{"fpga.intel.com/nlb3": 1}}
	c.RunPod(pod)
	ran := c.follow(t, page.first+page.loop+page.failed)
	log, err := c.Script(t.Context(), "kubectl -n inlay-node logs -l app.kubernetes.io/name=inlay-uninstall --all-containers --ignore-errors --tail=-1 --prefix")
	if want := "nothing was taken away (--force does it all the same): pods hold FPGAs, delete them first: default/holder"; err != nil || !strings.Contains(log, want) {
		t.Errorf("%v: the log has no %q:\n%s", err, want, log)
	}
	if _, err := os.Stat(program); err != nil {
		t.Errorf("refused, and yet: %v", err)
	}
	c.Delete(pod)
	ran += c.follow(t, page.again)

	ran += c.follow(t, page.loop+page.failed)
	if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the first round: %v", err)
	}
	c.must(c.Runtime.Restart(t.Context()))
	return ran + c.follow(t, page.again+page.rest)
}

// uninstallPage is what docs/install.md says of the uninstallation, in pieces.
type uninstallPage struct {
	first, rest   string   // the first step, the others
	loop          string   // of the second step without what comes behind it
	failed, again string   // of the two rounds: the wait for the first, and what comes before the second
	stays         []string // folders that may be left
}

func (c *Test) uninstallPage(t *testing.T, overlay string) uninstallPage {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.tools.Tree, "docs", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	usual := section(t, string(text), "### Uninstall", twoRounds)
	usual = strings.ReplaceAll(usual, "deploy/overlays/region", "deploy/overlays/"+overlay)
	usual = strings.ReplaceAll(usual, "kubectl delete -f deploy/demo/region.yaml\n", "true # no demo\n")
	cut := func(text, at string) (string, string) {
		before, after, found := strings.Cut(text, at)
		if !found {
			t.Fatalf("docs/install.md does not say %q", at)
		}
		return before, after
	}
	var p uninstallPage
	p.first, p.rest = cut(usual, "\n2. ")
	_, p.loop = cut(p.rest, "```\n")
	p.loop, _ = cut(p.loop, "done\n")
	p.loop = "```\n" + p.loop + "done\n```\n"
	p.failed, p.again = cut(section(t, string(text), twoRounds, uninstallOwn), "\n2. ")
	_, stays := cut(usual, "Folders that others use too stay")
	stays, _ = cut(stays, "\n")
	for _, folder := range regexp.MustCompile("`(/[^`]+)`").FindAllStringSubmatch(stays, -1) {
		p.stays = append(p.stays, strings.Replace(folder[1], "/var/run/", "/run/", 1))
	}
	return p
}

// notInlays are what the kubelet, the runtime and its network plugins keep for pods that come and go.
var notInlays = []string{
	".fpga-emulator", "dev", "proc", "sys", "tmp", "var/log", "run/cni", "run/containerd", "run/crio", "run/netns", "var/lib/cni",
	"var/lib/kubelet/actuated_pods_state", "var/lib/kubelet/allocated_pods_state", "var/lib/kubelet/device-plugins/kubelet_internal_checkpoint",
	"var/lib/kubelet/plugins", "var/lib/kubelet/plugins_registry", "var/lib/kubelet/pods",
}

// hostPaths are all paths of the emulated host that Inlay may have to do with.
func (c *Test) hostPaths(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(c.HostRoot, func(path string, e fs.DirEntry, err error) error {
		name, _ := filepath.Rel(c.HostRoot, path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it has gone meanwhile
			return nil
		case err != nil:
			return err
		case slices.Contains(notInlays, name) && e.IsDir():
			return fs.SkipDir
		case slices.Contains(notInlays, name):
			return nil
		}
		paths = append(paths, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
