package emulator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

func TestParseCard(t *testing.T) {
	plain := Card{Driver: DFL, Ports: 1, Interface: DefaultInterface, AFUs: []string{DefaultAFU}}
	two := plain
	two.Ports, two.NUMA, two.VF, two.AFUs = 2, 1, true, []string{nlb0, nlb3}
	other := plain
	other.Driver, other.Interface, other.PCI = OPAE, "9926ab6d6c925a68aabca7d84c545738", "10000:3b:00.0"
	for _, tc := range []struct {
		text string
		want Card
		err  string
	}{
		{"dfl", plain, ""},
		{"dfl:ports=2,numa=1,vf=1,afu=" + nlb0 + "/" + nlb3, two, ""},
		{"opae:iface=9926AB6D-6C92-5A68-AABC-A7D84C545738,pci=10000:3b:00.0", other, ""},
		{"xilinx", Card{}, "want dfl or opae"},
		{"dfl:ports=0", Card{}, "want 1 to"},
		{"dfl:ports=x", Card{}, "ports:"},
		{"dfl:colour=red", Card{}, "unknown key"},
		{"dfl:ports", Card{}, "not key=value"},
		{"dfl:iface=12", Card{}, "32 hex digits"},
		{"dfl:afu=" + nlb0 + "/" + nlb3, Card{}, "2 afu ids for 1 ports"},
		{"dfl:pci=3b:00.0", Card{}, "dddd:bb:dd.f"},
	} {
		t.Run(tc.text, func(t *testing.T) {
			got, err := ParseCard(tc.text)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The tree of the sample in spec 1.7, attribute by attribute.
func TestTreeHoldsWhatTheDriversShow(t *testing.T) {
	root := t.TempDir()
	cards := []Card{{Driver: DFL, Ports: 2, AFUs: []string{nlb0, nlb3}, VF: true}, {Driver: DFL, Ports: 1, NUMA: 1}, {Driver: OPAE, Ports: 1, VF: true, NUMA: -1}}
	if err := WriteTree(root, cards, PlainNodes()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"sys/class/fpga_region/region0/dfl-fme.0/dev":                                   "242:0",
		"sys/class/fpga_region/region0/dfl-fme.0/ports_num":                             "2",
		"sys/class/fpga_region/region0/dfl-fme.0/bitstream_id":                          "0x23000410010310",
		"sys/class/fpga_region/region0/dfl-port.0/afu_id":                               nlb0,
		"sys/class/fpga_region/region1/compat_id":                                       DefaultInterface,
		"sys/class/fpga_region/region2/compat_id":                                       DefaultInterface,
		"sys/class/fpga_region/region0/dfl-fme.0/dfl-fme-mgr.0/fpga_manager/fpga0/name": "DFL FME FPGA Manager",
		"sys/dev/char/242:1/dev":                                                        "242:1",
		"sys/dev/char/243:2/id":                                                         "0",
		"sys/dev/char/243:3/id":                                                         "1",
		"sys/dev/char/243:3/afu_id":                                                     nlb3,
		"sys/bus/platform/devices/dfl-port.2/afu_id":                                    nlb0,
		"sys/bus/pci/devices/0000:3b:00.0/vendor":                                       "0x8086",
		"sys/bus/pci/devices/0000:3b:00.0/device":                                       "0x09c4",
		"sys/bus/pci/devices/0000:3b:00.0/class":                                        "0x120000",
		"sys/bus/pci/devices/0000:3b:00.0/numa_node":                                    "0",
		"sys/bus/pci/devices/0000:3b:00.0/local_cpulist":                                "0-15,32-47",
		"sys/bus/pci/devices/0000:3b:00.0/sriov_numvfs":                                 "1",
		"sys/bus/pci/devices/0000:3b:00.0/virtfn0/device":                               "0x09c5",
		"sys/bus/pci/devices/0000:3b:00.1/physfn/device":                                "0x09c4",
		"sys/bus/pci/devices/0000:3b:00.1/fpga_region/region5/dfl-port.3/dev":           "243:3",
		"sys/bus/pci/devices/0000:82:00.0/numa_node":                                    "1",
		"sys/bus/pci/devices/0000:82:00.0/sriov_numvfs":                                 "0",
		"sys/bus/pci/drivers/dfl-pci/0000:82:00.0/vendor":                               "0x8086",
		"sys/class/fpga/intel-fpga-dev.0/intel-fpga-fme.0/pr/interface_id":              DefaultInterface,
		"sys/class/fpga/intel-fpga-dev.1/intel-fpga-port.1/afu_id":                      nlb0,
		"sys/bus/pci/devices/0000:06:00.0/numa_node":                                    "-1",
	} {
		if got, err := readTrimmed(filepath.Join(root, path)); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	for _, path := range []string{
		"sys/class/fpga_region/region0/compat_id", "sys/class/fpga_region/region0/dfl-port.1", "dev/char", "dev/dfl-port.1",
		"sys/class/fpga/intel-fpga-dev.0/intel-fpga-port.0", "sys/bus/pci/devices/0000:3b:00.1/sriov_numvfs",
	} {
		if _, err := os.Lstat(filepath.Join(root, path)); err == nil {
			t.Errorf("%s is there", path)
		}
	}
	for _, dir := range append(baseDirs, "/var/run/inlay") {
		if st, err := os.Stat(filepath.Join(root, dir)); err != nil || !st.IsDir() {
			t.Errorf("%s: %v", dir, err)
		}
	}
	for link, want := range map[string]string{"driver": "../../../../bus/pci/drivers/dfl-pci", "virtfn0": "../0000:3b:00.1"} {
		if got, err := os.Readlink(filepath.Join(root, "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0", link)); err != nil || got != want {
			t.Errorf("%s -> %q, %v; want %q", link, got, err, want)
		}
	}
}

func TestManyCardsHaveDifferentAddressesAndNumbers(t *testing.T) {
	cards := make([]Card, 200)
	for i := range cards {
		cards[i] = Card{Driver: []Driver{DFL, OPAE}[i%2], Ports: 2}
	}
	cards[7].PCI = "0000:93:00.0" // one that would be given away later
	entries, err := layoutOf(cards)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	pci := map[string]bool{}
	for _, e := range entries {
		if e.kind != dirEntry && seen[e.path] {
			t.Errorf("%s is made twice", e.path)
		}
		seen[e.path] = true
		if filepath.Base(e.path) == "sriov_totalvfs" {
			pci[filepath.Base(filepath.Dir(e.path))] = true
		}
	}
	if len(pci) != len(cards) {
		t.Errorf("%d PCI addresses for %d cards", len(pci), len(cards))
	}
}

func TestTreeIsNotMixedWithAnother(t *testing.T) {
	root := t.TempDir()
	card := Card{Driver: DFL, Ports: 1}
	if err := WriteTree(root, []Card{card}, PlainNodes()); err != nil {
		t.Fatal(err)
	}
	if err := WriteTree(root, []Card{card}, PlainNodes()); err == nil {
		t.Fatal("written over another tree")
	}
	if err := os.RemoveAll(filepath.Join(root, "sys")); err != nil {
		t.Fatal(err)
	}
	if err := WriteTree(root, []Card{card}, PlainNodes()); err != nil {
		t.Errorf("after sys was removed: %v", err)
	}
	if err := WriteTree(t.TempDir(), []Card{{Driver: DFL, Ports: 1, PCI: "0000:01:00.0"}, {Driver: DFL, Ports: 1, PCI: "0000:01:00.0"}}); err == nil {
		t.Error("two cards at one address")
	}
}

func TestNodesBelongToRootAlone(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	if err := WriteTree(root, []Card{{Driver: DFL, Ports: 1}}); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(root, "dev/dfl-port.0"))
	if err != nil {
		t.Fatal(err)
	}
	if want := os.ModeDevice | os.ModeCharDevice | 0o600; st.Mode() != want {
		t.Errorf("mode %v, want %v", st.Mode(), want)
	}
}

func TestArchiveTextIsAGoldenTree(t *testing.T) {
	text, err := ArchiveText([]Card{{Driver: DFL, Ports: 1}})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range txtar.Parse([]byte(text)).Files {
		files[f.Name] = string(f.Data)
	}
	for name, want := range map[string]string{
		"dev/dfl-port.0":                "c 243:0\n",
		"sys/class/fpga_region/region0": "-> ../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/fpga_region/region0\n",
		"sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/fpga_region/region0/dfl-port.0/afu_id": nlb0 + "\n",
	} {
		if files[name] != want {
			t.Errorf("%s: %q, want %q", name, files[name], want)
		}
	}
}
