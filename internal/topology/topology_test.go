package topology

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/internal/hostfs"
)

// tree makes a host tree: a text that begins with "-> " is a link.
func tree(t *testing.T, files map[string]string) *hostfs.Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if len(text) > 3 && text[:3] == "-> " {
			err = os.Symlink(text[3:], file)
		} else {
			err = os.WriteFile(file, []byte(text+"\n"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

const pci = "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0"

func TestNUMANodes_F9(t *testing.T) {
	port := map[string]string{
		"dev/dfl-port.0":                                      "",
		"sys/class/fpga_region/region0":                       "-> ../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/fpga_region/region0",
		"sys/dev/char/243:1":                                  "-> ../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/fpga_region/region0/dfl-port.0",
		pci + "/fpga_region/region0/dfl-port.0/dev":           "243:1",
		pci + "/fpga_region/region0/dfl-port.0/power/control": "auto",
	}
	for name, tc := range map[string]struct {
		files map[string]string
		node  string
		want  []int
		fails bool
	}{
		"of the PCI device above":      {files: map[string]string{pci + "/numa_node": "1", pci + "/local_cpulist": "8-15"}, want: []int{1}},
		"hardware that does not say":   {files: map[string]string{pci + "/numa_node": "-1", pci + "/local_cpulist": ""}, want: []int{}},
		"CPUs without a node":          {files: map[string]string{pci + "/numa_node": "-1", pci + "/local_cpulist": "0-7"}, want: []int{}},
		"a comma list, sorted, unique": {files: map[string]string{pci + "/numa_node": "3,1,3", pci + "/local_cpulist": "0-7"}, want: []int{1, 3}},
		"a socket's number is no node": {files: map[string]string{pci + "/numa_node": "1"}, want: []int{}},
		"a parent with CPUs goes first": {files: map[string]string{
			pci + "/numa_node": "1", "sys/devices/pci0000:3a/0000:3a:00.0/numa_node": "0", "sys/devices/pci0000:3a/0000:3a:00.0/local_cpulist": "0-3",
		}, want: []int{0}},
		"a parent with CPUs only": {files: map[string]string{
			pci + "/numa_node": "1", "sys/devices/pci0000:3a/0000:3a:00.0/local_cpulist": "0-3",
		}, want: []int{1}},
		"not a number":  {files: map[string]string{pci + "/numa_node": "many", pci + "/local_cpulist": "0"}, fails: true},
		"negative":      {files: map[string]string{pci + "/numa_node": "-2", pci + "/local_cpulist": "0"}, fails: true},
		"no such node":  {node: "/dev/dfl-port.9", fails: true},
		"not in sysfs":  {files: map[string]string{"dev/stray": ""}, node: "/dev/stray", fails: true},
		"no numa files": {want: []int{}},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for _, more := range []map[string]string{port, tc.files} {
				for k, v := range more {
					files[k] = v
				}
			}
			node := tc.node
			if node == "" {
				node = "/dev/dfl-port.0"
			}
			got, err := OfNodes(tree(t, files), node)
			if (err != nil) != tc.fails {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" && !tc.fails {
				t.Error(diff)
			}
		})
	}
}

func TestStackedDevicesAreAskedToo(t *testing.T) {
	root := tree(t, map[string]string{
		"sys/devices/virtual/vfio/42/dev":                 "235:0",
		"sys/kernel/iommu_groups/42/devices/0000:3b:00.0": "-> ../../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0",
		pci + "/numa_node":                                "1",
		pci + "/local_cpulist":                            "8-15",
		"sys/devices/virtual/block/dm-0/slaves/sda":       "-> ../../../../pci0000:3a/0000:3a:00.0/0000:3b:00.0",
		"sys/devices/virtual/block/loop/slaves/loop":      "-> ../../loop",
	})
	for _, dir := range []string{"/sys/devices/virtual/vfio/42", "/sys/devices/virtual/block/dm-0"} {
		if got, err := OfDevices(root, dir); err != nil || !cmp.Equal(got, []int{1}) {
			t.Errorf("%s: %v, %v", dir, got, err)
		}
	}
	if _, err := OfDevices(root, "/sys/devices/virtual/block/loop"); err == nil {
		t.Error("a device that stands on itself is followed for ever or believed")
	}
}

func TestNodesOfVFIO(t *testing.T) {
	root := tree(t, map[string]string{
		"dev/vfio/42":                                       "",
		"dev/vfio/noiommu-7":                                "",
		"dev/vfio/vfio":                                     "",
		"dev/vfio/devices/vfio3":                            "",
		"sys/class/vfio/42":                                 "-> ../../devices/virtual/vfio/42",
		"sys/class/vfio/noiommu-7":                          "-> ../../devices/virtual/vfio/noiommu-7",
		"sys/class/misc/vfio":                               "-> ../../devices/virtual/misc/vfio",
		"sys/class/vfio-dev/vfio3":                          "-> ../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/vfio-dev/vfio3",
		"sys/devices/virtual/vfio/42/dev":                   "235:0",
		"sys/devices/virtual/vfio/noiommu-7/dev":            "235:1",
		"sys/devices/virtual/misc/vfio/dev":                 "10:196",
		pci + "/vfio-dev/vfio3/dev":                         "511:3",
		"sys/kernel/iommu_groups/42/devices/0000:3b:00.0":   "-> ../../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0",
		"sys/kernel/iommu_groups/7/devices/0000:3c:00.0":    "-> ../../../../devices/pci0000:3a/0000:3c:00.0",
		"sys/devices/pci0000:3a/0000:3c:00.0/numa_node":     "0",
		"sys/devices/pci0000:3a/0000:3c:00.0/local_cpulist": "0-7",
		pci + "/numa_node":                                  "1",
		pci + "/local_cpulist":                              "8-15",
	})
	for nodes, want := range map[string][]int{
		"/dev/vfio/42 /dev/vfio/vfio":        {1},
		"/dev/vfio/noiommu-7 /dev/vfio/vfio": {0},
		"/dev/vfio/devices/vfio3":            {1},
		"/dev/vfio/42 /dev/vfio/noiommu-7":   {0, 1},
		"/dev/vfio/vfio":                     {},
	} {
		got, err := OfNodes(root, strings.Fields(nodes)...)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", nodes, err, diff)
		}
	}
}

func TestARealNodeIsFoundByItsNumbers(t *testing.T) {
	root, err := hostfs.New("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	got, err := OfNodes(root, "/dev/null")
	if err != nil {
		t.Skipf("this machine's sysfs does not show /dev/null: %v", err)
	}
	if len(got) != 0 {
		t.Errorf("/dev/null is on NUMA nodes %v", got)
	}
}
