package vfio

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

const (
	vf  = "0000:6b:00.1"
	dir = "sys/devices/pci0000:6b/" + vf
)

// vfTree is a VF that vfio-pci has, with its nodes.
func vfTree() map[string]string {
	return map[string]string{
		"sys/bus/pci/devices/" + vf:                    "-> ../../../devices/pci0000:6b/" + vf,
		dir + "/vendor":                                "0x8086\n",
		dir + "/device":                                "0x4941\n",
		dir + "/driver":                                "-> ../../../bus/pci/drivers/vfio-pci",
		dir + "/iommu_group":                           "-> ../../../kernel/iommu_groups/318",
		"sys/kernel/iommu_groups/318/name":             "\n",
		"sys/kernel/iommu_groups/318/devices/" + vf:    "-> ../../../../devices/pci0000:6b/" + vf,
		"sys/class/vfio/318/dev":                       "239:0\n",
		"sys/class/misc/vfio/dev":                      "10:196\n",
		"dev/vfio/318":                                 "c 239:0",
		"dev/vfio/vfio":                                "c 10:196",
		"sys/bus/pci/drivers/vfio-pci/bind":            "",
		"sys/bus/pci/drivers/4xxxvf/unbind":            "",
		"sys/bus/pci/drivers/vfio-pci/" + vf + "/here": "",
	}
}

func tree(t testing.TB, base map[string]string, changes ...map[string]string) *hostfs.Root {
	t.Helper()
	files := maps.Clone(base)
	for _, more := range changes {
		for name, text := range more {
			if text == "absent" {
				delete(files, name)
			} else {
				files[name] = text
			}
		}
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b.WriteString("-- " + name + " --\n" + files[name])
		if !strings.HasSuffix(files[name], "\n") {
			b.WriteString("\n")
		}
	}
	host := t.TempDir()
	if err := hostfstest.Extract(host, []byte(b.String())); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// names are the host paths of nodes that are the same in the container, read and write.
func names(t *testing.T, nodes []plugin.Node) []string {
	t.Helper()
	var out []string
	for _, n := range nodes {
		if n.ContainerPath != n.HostPath || n.Permissions != "rw" {
			t.Errorf("node %+v", n)
		}
		out = append(out, n.HostPath)
	}
	return out
}

func TestWhichNodesAContainerGets(t *testing.T) {
	const cdevs, iommu = "/dev/vfio/devices/vfio3", "/dev/iommu"
	cdev := map[string]string{
		dir + "/vfio-dev/vfio3/dev": "511:3\n", "dev/vfio/devices/vfio3": "c 511:3",
		"sys/class/misc/iommu/dev": "10:125\n", "dev/iommu": "c 10:125",
	}
	noGroupNode := map[string]string{"dev/vfio/318": "absent", "sys/class/vfio/318/dev": "absent"}
	noVFIO := map[string]string{
		"dev/vfio/318": "absent", "dev/vfio/vfio": "absent", "sys/class/vfio/318/dev": "absent", "sys/class/misc/vfio/dev": "absent",
		"sys/kernel/iommu_groups/318/devices/" + vf: "absent",
	}
	for name, c := range map[string]struct {
		changes []map[string]string
		want    []string
		fails   string
	}{
		"group":            {nil, []string{"/dev/vfio/318", "/dev/vfio/vfio"}, ""},
		"group and cdev":   {[]map[string]string{cdev}, []string{"/dev/vfio/318", "/dev/vfio/vfio", cdevs, iommu}, ""},
		"cdev alone":       {[]map[string]string{cdev, noGroupNode}, []string{cdevs, iommu}, ""},
		"no numbers known": {[]map[string]string{{"sys/class/vfio/318/dev": "absent", "sys/class/misc/vfio/dev": "absent"}}, []string{"/dev/vfio/318", "/dev/vfio/vfio"}, ""},
		"cdev without a device number is none": {
			[]map[string]string{cdev, {dir + "/vfio-dev/vfio3/dev": "absent", dir + "/vfio-dev/vfio3/uevent": ""}},
			[]string{"/dev/vfio/318", "/dev/vfio/vfio"},
			"",
		},
		"cdev without /dev/iommu": {[]map[string]string{cdev, {"dev/iommu": "absent"}}, []string{"/dev/vfio/318", "/dev/vfio/vfio"}, ""},
		"cdev node missing":       {[]map[string]string{cdev, {"dev/vfio/devices/vfio3": "absent"}}, []string{"/dev/vfio/318", "/dev/vfio/vfio"}, ""},
		"no-IOMMU": {[]map[string]string{{
			"sys/kernel/iommu_groups/318/name": "vfio-noiommu\n", "dev/vfio/noiommu-318": "c 239:0", "sys/class/vfio/noiommu-318/dev": "239:0\n",
			"dev/vfio/318": "absent",
		}}, []string{"/dev/vfio/noiommu-318", "/dev/vfio/vfio"}, ""},
		"no group":           {[]map[string]string{{dir + "/iommu_group": "absent"}}, nil, "no IOMMU group"},
		"group node missing": {[]map[string]string{{"dev/vfio/318": "absent"}}, nil, "/dev/vfio/318 is missing"},
		"no container node":  {[]map[string]string{{"dev/vfio/vfio": "absent"}}, nil, "/dev/vfio/vfio is missing"},
		"no container node, no number known": {
			[]map[string]string{{"dev/vfio/vfio": "absent", "sys/class/misc/vfio/dev": "absent"}}, nil, "/dev/vfio/vfio is missing",
		},
		"no container node, and cdev":            {[]map[string]string{cdev, {"dev/vfio/vfio": "absent"}}, []string{cdevs, iommu}, ""},
		"cdev alone is not asked for containers": {[]map[string]string{cdev, noGroupNode, {"dev/vfio/vfio": "absent"}}, []string{cdevs, iommu}, ""},
		"the spec's tree D": {[]map[string]string{{
			"dev/vfio/vfio": "absent", "sys/class/misc/vfio/dev": "absent",
			"sys/kernel/iommu_groups/318/devices/" + vf: "absent", "sys/kernel/iommu_groups/318/name": "absent",
		}}, []string{"/dev/vfio/318", "/dev/vfio/vfio"}, ""},
		"nothing of VFIO shown, as in the reference's trees": {[]map[string]string{noVFIO}, []string{"/dev/vfio/318", "/dev/vfio/vfio"}, ""},
		"nothing of VFIO shown, and a group that is none": {
			[]map[string]string{noVFIO, {dir + "/iommu_group": "-> .."}}, nil, "/dev/vfio/.. is missing",
		},
		"nothing of VFIO but the class": {
			[]map[string]string{noVFIO, {"sys/class/vfio/318/dev": "239:0\n"}}, nil, "/dev/vfio/318 is missing",
		},
		"nothing of VFIO but the group": {
			[]map[string]string{noVFIO, {"sys/kernel/iommu_groups/318/devices/" + vf: "-> ../../../../devices/pci0000:6b/" + vf}},
			nil, "/dev/vfio/318 is missing",
		},
		"group shared with a kernel driver": {[]map[string]string{{
			"sys/kernel/iommu_groups/318/devices/0000:6b:00.0": "-> ../../../../devices/pci0000:6b/0000:6b:00.0",
			"sys/devices/pci0000:6b/0000:6b:00.0/driver":       "-> ../../../bus/pci/drivers/4xxx",
		}}, nil, "also holds 0000:6b:00.0 (4xxx)"},
		"group shared with a bridge": {[]map[string]string{{
			"sys/kernel/iommu_groups/318/devices/0000:6a:00.0": "-> ../../../../devices/pci0000:6b/0000:6a:00.0",
			"sys/devices/pci0000:6b/0000:6a:00.0/driver":       "-> ../../../bus/pci/drivers/pcieport",
		}}, []string{"/dev/vfio/318", "/dev/vfio/vfio"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, vfTree(), c.changes...)
			d, err := Look(root, vf)
			if err != nil {
				t.Fatal(err)
			}
			nodes, err := d.Nodes(root)
			if c.fails == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Fatalf("error %v, want %q", err, c.fails)
			}
			if err != nil && Finding(d.SysPath, err, Subsystem).Remedy == "" {
				t.Errorf("%v: no remedy", err)
			}
			if diff := cmp.Diff(c.want, names(t, nodes)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Both nodes of IOMMUFD, or a device of another number, must be told from the real ones where nodes are real.
func TestANodeOfAnotherNumberIsNotGiven(t *testing.T) {
	root := tree(t, vfTree(), map[string]string{"dev/vfio/318": "c 239:7"})
	if _, err := root.Node("/dev/vfio/318"); err != nil {
		t.Skipf("real nodes cannot be made here: %v", err)
	}
	d, err := Look(root, vf)
	if err != nil {
		t.Fatal(err)
	}
	if nodes, err := d.Nodes(root); err == nil || !strings.Contains(err.Error(), "is 239:7, sysfs says 239:0") {
		t.Errorf("%v, %v", nodes, err)
	}
	root = tree(t, vfTree(), map[string]string{
		dir + "/vfio-dev/vfio3/dev": "511:3\n", "dev/vfio/devices/vfio3": "c 511:4", "sys/class/misc/iommu/dev": "10:125\n", "dev/iommu": "c 10:125",
	})
	if d, err = Look(root, vf); err != nil || d.Cdev != "vfio3" {
		t.Fatal(d, err)
	}
	if nodes, err := d.Nodes(root); err != nil || len(nodes) != 2 {
		t.Errorf("%v, %v", nodes, err)
	}
}

func TestLook(t *testing.T) {
	root := tree(t, vfTree(), map[string]string{
		"sys/kernel/iommu_groups/318/devices/0000:6b:00.2": "-> ../../../../devices/pci0000:6b/0000:6b:00.2",
		"sys/devices/pci0000:6b/0000:6b:00.2/driver":       "-> ../../../bus/pci/drivers/vfio-pci",
		"sys/kernel/iommu_groups/318/devices/0000:6b:00.3": "-> ../../../../devices/pci0000:6b/0000:6b:00.3",
		"sys/devices/pci0000:6b/0000:6b:00.3/device":       "0x4941",
	})
	got, err := Look(root, vf)
	want := Device{
		Address: vf, SysPath: "/" + dir, ID: "0x4941", Driver: "vfio-pci", Group: "318", Beside: []string{"0000:6b:00.2"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for _, address := range []string{"0000:6b:00.9", "../6b", "", "0000:6c:00.1"} {
		if d, err := Look(root, address); err == nil {
			t.Errorf("%q: %+v", address, d)
		}
	}
	odd := tree(t, vfTree(), map[string]string{dir + "/driver": "a file"})
	if d, err := Look(odd, vf); err == nil {
		t.Errorf("driver that is no link: %+v", d)
	}
}

// TestDevicesOfOthersAreNobodysConcern_D4: an unreadable device file of any function once ended the process.
func TestDevicesOfOthersAreNobodysConcern_D4(t *testing.T) {
	root := tree(t, map[string]string{
		"sys/bus/pci/devices/0000:6a:01.0/vendor":  "0x8086\n",
		"sys/bus/pci/devices/0000:6a:01.0/device":  "0x0b25\n",
		"sys/bus/pci/devices/0000:3b:00.0/vendor":  "0x15b3\n",
		"sys/bus/pci/devices/0000:3b:00.0/device/": "",
		"sys/bus/pci/devices/0000:3c:00.0/vendor":  "0x15b3\n",
		"sys/bus/pci/devices/0000:3c:00.0/device":  "0x0b25\n",
		"sys/bus/pci/devices/0000:3d:00.0/vendor/": "",
		"sys/bus/pci/devices/0000:3e:00.0/vendor":  "0x8086\n",
		"sys/bus/pci/devices/0000:3e:00.0/device/": "",
		"sys/bus/pci/devices/10000:01:00.0/vendor": "0x8086\n",
		"sys/bus/pci/devices/10000:01:00.0/device": "0x0b25\n",
		"sys/bus/pci/devices/junk/vendor":          "0x8086\n",
		// No kernel leaves the vendor out; the reference's trees do.
		"sys/bus/pci/devices/0000:6b:01.0/device":  "0x0b25\n",
		"sys/bus/pci/devices/0000:6b:02.0/device":  "0x4941\n",
		"sys/bus/pci/devices/0000:6b:03.0/device/": "",
	})
	found, skipped := Functions(root, Intel, func(id string) bool { return id == "0x0b25" })
	if diff := cmp.Diff([]Function{{"0000:6a:01.0", "0x0b25"}, {"0000:6b:01.0", "0x0b25"}, {"10000:01:00.0", "0x0b25"}}, found); diff != "" {
		t.Error(diff)
	}
	if len(skipped) != 1 || !strings.HasSuffix(skipped[0].Path, "0000:3e:00.0") {
		t.Errorf("skipped %v", skipped)
	}
	if found, skipped := Functions(tree(t, map[string]string{"sys/x": ""}), Intel, nil); found != nil || skipped != nil {
		t.Errorf("a host without PCI: %v, %v", found, skipped)
	}
}

func TestVariablesAreNumberedInAddressOrder(t *testing.T) {
	in := []string{"10000:00:01.0", "0000:f0:00.1", "0000:6b:01.0", "0000:6b:00.7"}
	want := map[string]string{"QAT0": "0000:6b:00.7", "QAT1": "0000:6b:01.0", "QAT2": "0000:f0:00.1", "QAT3": "10000:00:01.0"}
	for range 4 {
		if diff := cmp.Diff(want, Variables("QAT", in)); diff != "" {
			t.Error(diff)
		}
		in = append(in[1:], in[0])
	}
	if in[0] != "10000:00:01.0" {
		t.Error("the caller's list was sorted")
	}
}

func TestDriversOfVFIO(t *testing.T) {
	for name, want := range map[string]bool{
		"vfio-pci": true, "qat_vfio_pci": true, "mlx5-vfio-pci": true, "4xxxvf": false, "igb_uio": false, "": false, "vfio_pci_core": false,
	} {
		if IsDriver(name) != want {
			t.Errorf("%q", name)
		}
	}
}
