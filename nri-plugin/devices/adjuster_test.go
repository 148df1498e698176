package devices_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	logrustest "github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/record"
	"github.com/inlay-project/inlay/nri-plugin/devices"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

// node is a host whose inlay-deviceplugin keeps the links of three cards.
type node struct {
	t        *testing.T
	dir      string
	adjuster *devices.Adjuster
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	log, _ := logrustest.NewNullLogger()
	n := &node{t: t, dir: dir, adjuster: devices.New(devices.Config{Root: root, RunDir: filepath.Join(dir, "run/inlay"), Log: log})}
	for i, address := range []string{"0000:00:02.0", "0000:3d:00.1", "0000:3d:00.2"} {
		folder := n.path(fmt.Sprintf("run/inlay/gpu/by-path/card%d", i))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, link := range [][2]string{{"card", fmt.Sprintf("../card%d", i)}, {"render", fmt.Sprintf("../renderD%d", 128+i)}} {
			if err := os.Symlink(link[1], filepath.Join(folder, "pci-"+address+"-"+link[0])); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

// link0 is the mount of one link of the card at 0000:00:02.0.
const link0 = "/dev/dri/by-path/pci-0000:00:02.0-card"

func (n *node) path(p string) string { return filepath.Join(n.dir, p) }

// create has a container created and gives what it would be started with. A mount is a path of the host and that in the
// container, or one path for both.
func (n *node) create(annotations map[string]string, env []string, mounts ...string) *rspec.Spec {
	n.t.Helper()
	spec := &rspec.Spec{Version: rspec.Version, Process: &rspec.Process{Env: env}, Linux: &rspec.Linux{}}
	for _, m := range mounts {
		source, destination, two := strings.Cut(m, " ")
		if !two {
			destination = source
		}
		spec.Mounts = append(spec.Mounts, rspec.Mount{Destination: destination, Source: source, Type: "bind", Options: []string{"bind", "ro"}})
	}
	pod := &api.PodSandbox{Id: "p", Name: "p", Namespace: "default"}
	ctr := enginetest.ContainerFromSpec(pod, "c", "c", spec, annotations)
	adjust, err := n.adjuster.Adjust(n.t.Context(), pod, ctr)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := enginetest.ApplyAdjustment(spec, adjust, nil); err != nil {
		n.t.Fatal(err)
	}
	return spec
}

func records(resources ...string) map[string]string {
	annotations := map[string]string{}
	for i := 0; i < len(resources); i += 2 {
		annotations[record.KeyFor(resources[i])] = resources[i+1]
	}
	return annotations
}

func TestVariablesAreNumberedOverAllResourcesOfAContainer(t *testing.T) {
	for _, tt := range []struct {
		name        string
		annotations map[string]string
		env, want   []string
	}{
		{
			"two resources of which the kubelet kept one QAT0",
			records("qat.intel.com/cy", "0000:6b:00.2@0000:6b:00.2", "qat.intel.com/dc", "0000:6b:00.1@0000:6b:00.1"),
			[]string{"A=1", "QAT0=0000:6b:00.2", "B=2"},
			[]string{"A=1", "QAT0=0000:6b:00.1", "B=2", "QAT1=0000:6b:00.2"},
		},
		{
			"one resource is right already",
			records("qat.intel.com/cy", "0000:6b:00.2@0000:6b:00.2,0000:6b:00.1@0000:6b:00.1"),
			[]string{"QAT1=0000:6b:00.2", "QAT0=0000:6b:00.1"},
			[]string{"QAT1=0000:6b:00.2", "QAT0=0000:6b:00.1"},
		},
		{
			"long domains come last",
			records("qat.intel.com/cy", "10000:01:00.0@10000:01:00.0", "qat.intel.com/dc", "fffe:01:00.0@fffe:01:00.0"),
			nil,
			[]string{"QAT0=fffe:01:00.0", "QAT1=10000:01:00.0"},
		},
		{
			"VFIO over families, and queues have no variable",
			records("dsa.intel.com/vfio", "0000:6a:01.0@0000:6a:01.0", "iaa.intel.com/vfio", "0000:6a:00.0@0000:6a:00.0",
				"dsa.intel.com/wq-user-shared", "wq-user-shared-wq0.1-0@0000:6a:02.0"),
			[]string{"VFIO_BDF0=0000:6a:01.0"},
			[]string{"VFIO_BDF0=0000:6a:00.0", "VFIO_BDF1=0000:6a:01.0"},
		},
		{"a container of another family", records("fpga.intel.com/region-x", "dfl-fme.0@0000:82:00.0"), []string{"A=1"}, []string{"A=1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := newNode(t).create(tt.annotations, tt.env).Process.Env
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAContainerGetsTheLinksOfAllItsCards(t *testing.T) {
	classic := []string{"/dev/dri/by-path/pci-0000:00:02.0-card", "/dev/dri/by-path/pci-0000:00:02.0-render"}
	for _, tt := range []struct {
		name        string
		annotations map[string]string
		mounts      []string
		want        map[string]string // link → target
		otherwise   int               // mounts, where no folder is
	}{
		{
			name: "one card, two shares", mounts: classic,
			annotations: records("gpu.intel.com/i915", "card0-0@0000:00:02.0,card0-1@0000:00:02.0"),
			want:        map[string]string{"pci-0000:00:02.0-card": "../card0", "pci-0000:00:02.0-render": "../renderD128"},
		},
		{
			name: "cards of two resources", mounts: classic,
			annotations: records("gpu.intel.com/i915", "card0-0@0000:00:02.0", "gpu.intel.com/xe", "card2-0@0000:3d:00.2"),
			want: map[string]string{
				"pci-0000:00:02.0-card": "../card0", "pci-0000:00:02.0-render": "../renderD128",
				"pci-0000:3d:00.2-card": "../card2", "pci-0000:3d:00.2-render": "../renderD130",
			},
		},
		{
			name:        "as a runtime has them that follows links",
			mounts:      []string{"/dev/dri/card0 " + classic[0], "/dev/dri/renderD128 " + classic[1]},
			annotations: records("gpu.intel.com/i915", "card0-0@0000:00:02.0"),
			want:        map[string]string{"pci-0000:00:02.0-card": "../card0", "pci-0000:00:02.0-render": "../renderD128"},
		},
		{
			name: "no links are wanted", annotations: records("gpu.intel.com/i915", "card0-0@0000:00:02.0"),
		},
		{
			name: "all links are wanted", mounts: []string{"/dev/dri/by-path"}, otherwise: 1,
			annotations: records("gpu.intel.com/i915", "card0-0@0000:00:02.0"),
		},
		{
			name: "no folder was prepared", mounts: classic, otherwise: 2,
			annotations: records("gpu.intel.com/i915", "card7-0@0000:00:02.0"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			mounts := n.create(tt.annotations, nil, tt.mounts...).Mounts
			if tt.want == nil {
				if len(mounts) != tt.otherwise {
					t.Errorf("mounts %v", mounts)
				}
				return
			}
			if len(mounts) != 1 || mounts[0].Destination != "/dev/dri/by-path" {
				t.Fatalf("mounts %v", mounts)
			}
			if options := strings.Join(mounts[0].Options, ","); options != "bind,ro,nosuid,nodev,noexec" {
				t.Errorf("options %s", options)
			}
			if d := cmp.Diff(tt.want, n.links(mounts[0].Source)); d != "" {
				t.Error(d)
			}
		})
	}
}

// Every mount below the folder was taken for one of Allocate's, and a container started without its own volume.
func TestAMountOfThePodsOwnStays(t *testing.T) {
	for name, own := range map[string]string{
		"below the folder":              "/var/lib/kubelet/pods/u/volumes/v /dev/dri/by-path/mine",
		"in the folder's place":         "/var/lib/kubelet/pods/u/volumes/v /dev/dri/by-path",
		"called as a link of the card":  "/srv/file /dev/dri/by-path/pci-0000:00:02.0-render",
		"of a node":                     "/dev/dri/card1 /dev/dri/by-path/mine",
		"of a link of another card":     "/dev/dri/card1 /dev/dri/by-path/pci-0000:3d:00.1-card",
		"of the folder of links itself": "/dev/dri/by-path",
	} {
		for with, links := range map[string][]string{"beside links": {link0}, "alone": nil} {
			t.Run(name+", "+with, func(t *testing.T) {
				var want, got []string
				for _, m := range append(links, own) {
					source, destination, two := strings.Cut(m, " ")
					if !two {
						destination = source
					}
					want = append(want, source+" "+destination)
				}
				for _, m := range newNode(t).create(records("gpu.intel.com/i915", "card0-0@0000:00:02.0"), nil, append(links, own)...).Mounts {
					got = append(got, m.Source+" "+m.Destination)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
			})
		}
	}
}

// links reads a folder that a container has mounted.
func (n *node) links(source string) map[string]string {
	n.t.Helper()
	entries, err := os.ReadDir(n.path(source))
	if err != nil {
		n.t.Fatal(err)
	}
	links := map[string]string{}
	for _, e := range entries {
		if links[e.Name()], err = os.Readlink(filepath.Join(n.path(source), e.Name())); err != nil {
			n.t.Fatal(err)
		}
	}
	return links
}

func TestAJoinedFolderStaysForAsLongAsAContainerHasIt(t *testing.T) {
	n := newNode(t)
	two := func(a, b int) map[string]string {
		return records("gpu.intel.com/i915", fmt.Sprintf("card%d-0@0000:00:02.0,card%d-0@0000:3d:00.1", a, b))
	}
	first := n.create(two(0, 1), nil, link0).Mounts[0].Source
	second := n.create(two(1, 2), nil, link0).Mounts[0].Source
	third := n.create(two(0, 2), nil, link0).Mounts[0].Source
	long := time.Now().Add(-time.Hour)
	for _, folder := range []string{first, second} {
		if err := os.Chtimes(n.path(folder), long, long); err != nil {
			t.Fatal(err)
		}
	}
	n.adjuster.Sweep(t.Context(), []*api.Container{{Mounts: []*api.Mount{{Destination: "/dev/dri/by-path", Source: first}}}})
	for folder, want := range map[string]bool{first: true, second: false, third: true} { // the third may be for one that is being created
		if _, err := os.Stat(n.path(folder)); (err == nil) != want {
			t.Errorf("%s is there: %v", folder, err == nil)
		}
	}
}

// A card's own folder went with the card, or was another after its links were, and took the links of the containers along.
func TestAContainerKeepsItsLinksWhenTheFolderOfItsCardGoes(t *testing.T) {
	n := newNode(t)
	source := n.create(records("gpu.intel.com/i915", "card0-0@0000:00:02.0"), nil, link0).Mounts[0].Source
	before := n.links(source)
	if len(before) != 2 {
		t.Fatalf("links %v", before)
	}
	if err := os.RemoveAll(n.path("run/inlay/gpu/by-path/card0")); err != nil {
		t.Fatal(err)
	}
	n.adjuster.Sweep(t.Context(), []*api.Container{{Mounts: []*api.Mount{{Destination: "/dev/dri/by-path", Source: source}}}})
	if d := cmp.Diff(before, n.links(source)); d != "" {
		t.Errorf("(-before +after):\n%s", d)
	}
}

func TestTwoContainersAtATimeMakeOneFolder(t *testing.T) {
	n := newNode(t)
	var made sync.Map
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			annotations := records("gpu.intel.com/i915", "card0-0@0000:00:02.0,card1-0@0000:3d:00.1")
			made.Store(n.create(annotations, nil, link0).Mounts[0].Source, true)
		})
	}
	all.Wait()
	entries, err := os.ReadDir(n.path("run/inlay/gpu/joined"))
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	if _, ok := made.Load("/run/inlay/gpu/joined/" + entries[0].Name()); !ok {
		t.Errorf("nobody has %s", entries[0].Name())
	}
}

func TestWhatOnlyTheDevicePluginMaySetIsRefusedFromAPod(t *testing.T) {
	n := newNode(t)
	for _, tt := range []struct {
		name string
		pod  *api.PodSandbox
		ctr  *api.Container
		want string
	}{
		{
			"the pod's own annotation",
			&api.PodSandbox{Annotations: records("qat.intel.com/cy", "0000:6b:00.2@0000:6b:00.2")}, &api.Container{},
			"only the device plugin may set",
		},
		{
			"a record that no device plugin wrote",
			&api.PodSandbox{}, &api.Container{Annotations: records("gpu.intel.com/i915", "../../etc@0000:00:02.0")},
			"is not <device>@<PCI address>",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !n.adjuster.Wants(tt.pod, tt.ctr) {
				t.Error("passes unseen")
			}
			_, err := n.adjuster.Adjust(t.Context(), tt.pod, tt.ctr)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestAContainerOfNoneOfTheFamiliesCostsNothing(t *testing.T) {
	n := newNode(t)
	pod := &api.PodSandbox{Annotations: map[string]string{"a": "b"}}
	ctr := &api.Container{Annotations: records("fpga.intel.com/region-x", "dfl-fme.0@0000:82:00.0")}
	if n.adjuster.Wants(pod, ctr) {
		t.Error("an FPGA container is claimed")
	}
	if got := testing.AllocsPerRun(100, func() { n.adjuster.Wants(pod, ctr) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
