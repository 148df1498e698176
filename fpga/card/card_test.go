package card_test

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

var update = flag.Bool("update", false, "write the inventories beside the golden trees anew")

// golden opens one of the trees under testdata.
func golden(t *testing.T, name string) *hostfs.Root {
	t.Helper()
	dir := t.TempDir()
	if err := hostfstest.ExtractFile(dir, filepath.Join("testdata", name+".txtar")); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func open(t testing.TB, dir string) *hostfs.Root {
	t.Helper()
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// inventory is the JSON form of what discovery finds: errors are their text, paths those of the host.
type inventory struct {
	FMEs    []fme
	Skipped []string `json:",omitempty"`
}

type fme struct {
	Name, Driver, Node, Dev string
	PCI                     fpga.PCI
	Interface, InterfaceErr string `json:",omitempty"`
	Ports                   []port
}

type port struct {
	Name, Node, Dev, PCI string
	PhysFn               string `json:",omitempty"`
	ID                   uint32
	AFU, AFUErr          string `json:",omitempty"`
}

func describe(inv card.Inventory, root *hostfs.Root) inventory {
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return strings.ReplaceAll(err.Error(), root.Dir()+"/", "/")
	}
	out := inventory{FMEs: []fme{}}
	for _, f := range inv.FMEs {
		d := fme{
			Name: f.Name, Driver: f.Driver, Node: f.Node, Dev: f.Dev.String(), PCI: f.PCI, Interface: string(f.Interface),
			InterfaceErr: text(f.InterfaceErr), Ports: []port{},
		}
		for _, p := range f.Ports {
			d.Ports = append(d.Ports, port{
				Name: p.Name, Node: p.Node, Dev: p.Dev.String(), PCI: p.PCI.Address, PhysFn: p.PCI.PhysFn, ID: p.ID, AFU: string(p.AFU),
				AFUErr: text(p.AFUErr),
			})
		}
		out.FMEs = append(out.FMEs, d)
	}
	for _, s := range inv.Skipped {
		out.Skipped = append(out.Skipped, s.Path+": "+text(errors.New(s.Reason)))
	}
	return out
}

func TestInventoriesOfGoldenTrees(t *testing.T) {
	trees, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(trees) < 20 {
		t.Fatalf("golden trees: %d, %v", len(trees), err)
	}
	for _, file := range trees {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			root := golden(t, name)
			got := describe(card.DescribeAll(root), root)
			expected := filepath.Join("testdata", name+".json")
			if *update {
				b, err := json.MarshalIndent(got, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(expected, append(b, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(expected)
			if err != nil {
				t.Fatalf("%v (go test -update writes it; read it before you commit it)", err)
			}
			var want inventory
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			// What a scan sees is the same cards, less their details.
			if brief := card.Discover(root); len(brief.FMEs) != len(want.FMEs) || len(brief.Skipped) != len(want.Skipped) {
				t.Errorf("Discover: %d FMEs, %d left out; DescribeAll has %d and %d", len(brief.FMEs), len(brief.Skipped), len(want.FMEs), len(want.Skipped))
			}
			// The same from the other door: each device by its name.
			for _, f := range want.FMEs {
				if one, err := card.FindFME(root, f.Name); err != nil || one.Node != f.Node || len(one.Ports) != len(f.Ports) {
					t.Errorf("FindFME(%s): %+v, %v", f.Name, one, err)
				}
				for _, p := range f.Ports {
					of, one, err := card.FindPort(root, p.Name)
					if err != nil || of.Name != f.Name || one.ID != p.ID {
						t.Errorf("FindPort(%s): %+v, %v", p.Name, one, err)
					}
				}
			}
		})
	}
}

func TestANodeWithOtherNumbersThanSysfsIsSkipped(t *testing.T) {
	root := golden(t, "dfl-two-ports")
	if _, err := root.Node("/dev/dfl-port.0"); errors.Is(err, hostfs.ErrPlainNode) {
		t.Skip("SKIPPED: nodes cannot be made here (mknod is not permitted)")
	}
	node := root.Join("/dev/dfl-port.0")
	if err := os.Remove(node); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	inv := card.Discover(root)
	if len(inv.FMEs) != 1 || len(inv.FMEs[0].Ports) != 1 || inv.FMEs[0].Ports[0].Name != "dfl-port.1" {
		t.Errorf("inventory %+v", inv.FMEs)
	}
	if len(inv.Skipped) != 1 || !strings.Contains(inv.Skipped[0].Reason, "is 1:3, sysfs says 243:0") {
		t.Errorf("skipped %+v", inv.Skipped)
	}
}

func TestADeviceThatCannotBeFoundSaysWhy(t *testing.T) {
	root := golden(t, "fme-node-missing")
	for name, want := range map[string]string{
		"dfl-fme.0":        "dev/dfl-fme.0: no such file",
		"dfl-port.0":       "its FME dfl-fme.0 cannot be used: open " + root.Join("/dev/dfl-fme.0") + ": no such file",
		"dfl-port.1":       "no such FPGA device",
		"intel-fpga-fme.0": "no such FPGA device",
	} {
		_, _, err := card.FindPort(root, name)
		if !errors.Is(err, fpga.ErrNoDevice) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	for _, name := range []string{"", "null", "../dfl-port.0", "dfl-port.", "dfl-port.0x", "dfl-port.00", "dfl-port.-1", "region0"} {
		if _, err := card.FindFME(root, name); err == nil || errors.Is(err, fpga.ErrNoDevice) {
			t.Errorf("%q: %v", name, err)
		}
	}
	twins := golden(t, "port-number-twice")
	for name, other := range map[string]string{"dfl-port.0": "dfl-port.1", "dfl-port.1": "dfl-port.0"} {
		_, _, err := card.FindPort(twins, name)
		if want := name + ": " + other + " has port number 0 too"; !errors.Is(err, fpga.ErrNoDevice) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	two := golden(t, "second-fme")
	for _, name := range []string{"dfl-fme.0", "dfl-fme.1", "dfl-port.0", "dfl-port.1"} {
		_, err := card.FindFME(two, name)
		if want := name + ": its card 0000:3b:00.0 has the FMEs dfl-fme.0, dfl-fme.1"; !errors.Is(err, fpga.ErrNoDevice) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	whole := golden(t, "dfl-two-ports")
	if _, _, err := card.FindPort(whole, "dfl-fme.0"); !errors.Is(err, fpga.ErrNoDevice) {
		t.Errorf("an FME as port: %v", err)
	}
	if f, err := card.FindFME(whole, "dfl-port.1"); err != nil || f.Name != "dfl-fme.0" {
		t.Errorf("the FME of a port: %v, %v", f, err)
	}
}

func TestDriversByName(t *testing.T) {
	for name, want := range map[string]string{
		"dfl-fme.0": "dfl", "dfl-port.12": "dfl", "intel-fpga-fme.3": "opae", "intel-fpga-port.0": "opae",
		"dfl-fme": "", "dfl-port.": "", "dfl-port.1.2": "", "null": "", "": "",
	} {
		got := ""
		if d, ok := card.DriverOf(name); ok {
			got = d.Layout().Driver
		}
		if got != want || card.IsPort(name) != (want != "" && strings.Contains(name, "port")) {
			t.Errorf("%q: driver %q, port %v", name, got, card.IsPort(name))
		}
	}
}

func TestTheManagersStatusIsReported(t *testing.T) {
	root := golden(t, "dfl-two-ports")
	fme, err := card.FindFME(root, "dfl-fme.0")
	if err != nil {
		t.Fatal(err)
	}
	if s := card.ManagerStatus(root, fme); s != "" {
		t.Errorf("without a manager: %q", s)
	}
	dir := root.Join(fme.SysPath + "/dfl-fme-mgr.0/fpga_manager/fpga0")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "status"), []byte("reconfig CRC error\nreconfig IP protocol error\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if s := card.ManagerStatus(root, fme); s != "reconfig CRC error reconfig IP protocol error" {
		t.Errorf("status %q", s)
	}
	if s := card.ManagerStatus(root, &fpga.FME{Name: "intel-fpga-fme.0"}); s != "" {
		t.Errorf("OPAE has no manager: %q", s)
	}
}

// The values of sysfs come from hardware and firmware that may be broken: whatever they are, discovery ends, keeps what
// is whole and tells what is not.
func FuzzSysfsValues(f *testing.F) {
	f.Add("242:0", "0", "d8424dc4a4a3c413f89e433683f9040b\n", "69528db6eb31577a8c3668f9faa081f6\n", "0x8086")
	f.Add("243:0", "4294967296", strings.Repeat("f", 32), strings.Repeat("0", 32), "-1")
	f.Add(":", "-0", "", "../../x", "\x00\xff")
	f.Add("1:2:3", " 7 ", strings.Repeat("x", 9000), "\n", "")
	f.Fuzz(func(t *testing.T, dev, id, afu, iface, pci string) {
		dir := t.TempDir()
		card0 := "sys/devices/pci0000:3a/0000:3b:00.0"
		for name, text := range map[string]string{
			"vendor": pci, "numa_node": pci, "class": pci,
			"fpga_region/region0/dfl-fme.0/dev": "242:0", "fpga_region/region0/dfl-fme.0/ports_num": id,
			"fpga_region/region0/dfl-fme.0/dfl-fme-region.1/fpga_region/region1/compat_id": iface,
			"fpga_region/region0/dfl-port.0/dev":                                           dev, "fpga_region/region0/dfl-port.0/id": id,
			"fpga_region/region0/dfl-port.0/afu_id": afu,
		} {
			write(t, filepath.Join(dir, card0, name), text)
		}
		write(t, filepath.Join(dir, "dev/dfl-fme.0"), "")
		write(t, filepath.Join(dir, "dev/dfl-port.0"), "")
		if err := os.MkdirAll(filepath.Join(dir, "sys/class/fpga_region"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../devices/pci0000:3a/0000:3b:00.0/fpga_region/region0", filepath.Join(dir, "sys/class/fpga_region/region0")); err != nil {
			t.Fatal(err)
		}
		inv := card.DescribeAll(open(t, dir))
		if len(inv.FMEs) != 1 {
			t.Fatalf("the FME is lost: %+v", inv)
		}
		fme := inv.FMEs[0]
		if (fme.Interface == "") != (fme.InterfaceErr != nil) {
			t.Errorf("interface %q, error %v", fme.Interface, fme.InterfaceErr)
		}
		if len(fme.Ports)+len(inv.Skipped) != 1 {
			t.Fatalf("the port is neither there nor skipped: %+v", inv)
		}
		for _, p := range fme.Ports {
			if (p.AFU == "") != (p.AFUErr != nil) || errors.Is(p.AFUErr, fs.ErrNotExist) {
				t.Errorf("AFU %q, error %v", p.AFU, p.AFUErr)
			}
		}
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
