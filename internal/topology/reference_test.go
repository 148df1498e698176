package topology

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// reference is the tree of the reference's own tests; numa replaces the NUMA node of its PCI device, if it is not empty.
func reference(t *testing.T, numa string, opts ...hostfstest.Option) *hostfs.Root {
	t.Helper()
	archive, err := os.ReadFile("testdata/reference.txtar")
	if err != nil {
		t.Fatal(err)
	}
	text := string(archive)
	if numa != "" {
		const file = "0000:00:02.0/numa_node --\n"
		changed := strings.Replace(text, file+"-1\n", file+numa+"\n", 1)
		if changed == text {
			t.Fatal("the tree's PCI device has another NUMA node")
		}
		text = changed
	}
	dir := t.TempDir()
	if err := hostfstest.Extract(dir, []byte(text), opts...); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// The hints are those of the reference (plugins.md, tree T), by the numbers of real nodes and by the names of plain files.
func TestTheHintsOfTheReferencesTree(t *testing.T) {
	for name, opts := range map[string][]hostfstest.Option{"real nodes": nil, "plain files": {hostfstest.PlainNodes()}} {
		for _, tt := range []struct {
			nodes []string
			numa  string // of the PCI device; empty: -1, as it is
			want  []int  // nil: an error
		}{
			{nodes: []string{"/dev/null"}, want: []int{1, 2, 3}},
			{nodes: []string{"/dev/null", "/dev/null"}, want: []int{1, 2, 3}},
			{nodes: []string{"/dev/tty", "/dev/null"}, want: []int{1, 2, 3, 4, 5, 6}},
			{nodes: []string{"/dev/random"}, want: []int{}},
			{nodes: []string{"/dev/random", "/dev/tty"}, want: []int{4, 5, 6}},
			{nodes: []string{"/dev/dri/card1", "/dev/dri/renderD129"}, want: []int{}},
			{nodes: []string{"/dev/dri/card1", "/dev/dri/renderD129"}, numa: "1", want: []int{1}},
			{nodes: []string{"/dev/vfio/42"}, want: []int{}},
			{nodes: []string{"/dev/vfio/42"}, numa: "1", want: []int{1}},
			{nodes: []string{"/dev/vfio/42", "/dev/tty"}, numa: "5", want: []int{4, 5, 6}},
			{nodes: []string{"/dev/non-existing-device"}},
			{nodes: []string{""}},
			{nodes: []string{"/dev/null", "/dev/non-existing-device"}},
		} {
			got, err := OfNodes(reference(t, tt.numa, opts...), tt.nodes...)
			if (err != nil) != (tt.want == nil) {
				t.Errorf("%s: %q: %v", name, tt.nodes, err)
			}
			if diff := cmp.Diff(tt.want, got); err == nil && diff != "" {
				t.Errorf("%s: %q, PCI device on %q (-want +got):\n%s", name, tt.nodes, tt.numa, diff)
			}
		}
	}
}

// Where a class holds plain folders, as trees of tests do, the numbers of the nodes say where a device is.
func TestADeviceInAPlainFolderIsFoundByItsNode(t *testing.T) {
	const hardware, place = "sys/devices/pci0000:3a/0000:3b:00.0", "-> ../../devices/pci0000:3a/0000:3b:00.0/dlb2/"
	base := map[string]string{
		"dev/dlb0": "", "sys/class/dlb2/dlb0/device/sriov_numvfs": "0",
		hardware + "/numa_node": "1", hardware + "/local_cpulist": "8-15", hardware + "/dlb2/dlb0/uevent": "", hardware + "/dlb2/other/uevent": "",
	}
	for name, tt := range map[string]struct {
		more map[string]string
		node string
		want []int
	}{
		"by its name":           {more: map[string]string{"sys/dev/char/240:0": place + "dlb0"}, want: []int{1}},
		"by its number":         {more: map[string]string{"sys/dev/char/240:0": place + "other", "sys/class/dlb2/dlb0/dev": "240:0"}, want: []int{1}},
		"by nothing":            {},
		"a number of no device": {more: map[string]string{"sys/class/dlb2/dlb0/dev": "240:0"}},
		"a number that is none": {more: map[string]string{"sys/class/dlb2/dlb0/dev": ""}},
		"no node":               {more: map[string]string{"sys/dev/char/240:0": place + "dlb0"}, node: "/dev/dlb9"},
		"a folder of its own":   {more: map[string]string{"sys/dev/char/240:0": "-> ../../class/dlb2/dlb0"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(base)
			maps.Copy(files, tt.more)
			if tt.node == "" {
				tt.node = "/dev/dlb0"
			}
			got, err := Of(tree(t, files), "/sys/class/dlb2/dlb0", tt.node)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%v, %v, want %v", got, err, tt.want)
			}
		})
	}
	// The tree of the reference with a class beside it: nodes that are real have their numbers themselves.
	root := reference(t, "")
	if _, err := root.Node("/dev/tty"); err != nil {
		t.Skipf("real nodes cannot be made here: %v", err)
	}
	if got, err := Of(root, "/dev", "/dev/tty", "/dev/null"); err != nil || !slices.Equal(got, []int{1, 2, 3, 4, 5, 6}) {
		t.Errorf("%v, %v", got, err)
	}
	// A folder below /sys/devices is believed, whatever the node says.
	if got, err := Of(root, "/sys/devices/virtual/tty/tty", "/dev/null"); err != nil || !slices.Equal(got, []int{4, 5, 6}) {
		t.Errorf("%v, %v", got, err)
	}
}
