package fpga

import (
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

func TestACardThatNoDriverMadeADeviceOfIsNamed(t *testing.T) {
	const pci = "\n-- sys/bus/pci/devices/0000:3b:00.0/vendor --\n0x8086\n-- sys/bus/pci/devices/0000:3b:00.0/device --\n0x09c4\n"
	for _, tt := range []struct {
		name, tree string
		want       []string // in reason and remedy
	}{
		{"no driver", pci, []string{"an FPGA card (8086:09c4) without a driver: the module dfl-pci is not loaded", "modprobe dfl-pci"}},
		{
			"another driver", pci + "-- sys/bus/pci/devices/0000:3b:00.0/driver --\n-> ../../drivers/vfio-pci\n-- sys/bus/pci/drivers/vfio-pci/bind --\n",
			[]string{"that is bound to vfio-pci, which offers it to virtual machines", "drivers/vfio-pci/unbind"},
		},
		{
			"a driver that made nothing", pci + "-- sys/bus/pci/devices/0000:3b:00.0/driver --\n-> ../../drivers/dfl-pci\n-- sys/bus/pci/drivers/dfl-pci/bind --\n",
			[]string{"the driver dfl-pci has made no FME of this FPGA card", "dmesg"},
		},
		{"another vendor's", strings.Replace(pci, "0x8086", "0x10ee", 1), nil},
		{"another device", strings.Replace(pci, "0x09c4", "0x1533", 1), nil},
		{"a function whose values cannot be read", strings.Replace(pci, "/vendor", "/x", 1), nil},
		{"no PCI", "\n-- dev/null --\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := hostfstest.Extract(dir, []byte(tt.tree), hostfstest.PlainNodes()); err != nil {
				t.Fatal(err)
			}
			root, err := hostfs.New(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			log, _ := test.NewNullLogger()
			var text []string
			for _, f := range New(Config{Root: root, Log: log}, ModeAF).Diagnose(t.Context()) {
				text = append(text, f.Path, f.Reason, f.Remedy)
			}
			if len(tt.want) == 0 != (len(text) == 0) {
				t.Errorf("%q", text)
			}
			for _, want := range tt.want {
				if !slices.ContainsFunc(text, func(s string) bool { return strings.Contains(s, want) }) {
					t.Errorf("no %q in %q", want, text)
				}
			}
		})
	}
}

func TestACardThatIsServedHasNoFinding(t *testing.T) {
	dir := t.TempDir()
	if err := hostfstest.ExtractFile(dir, "../../fpga/card/testdata/dfl-two-ports.txtar", hostfstest.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	log, _ := test.NewNullLogger()
	if got := New(Config{Root: root, Log: log}, ModeAF).Diagnose(t.Context()); len(got) > 0 {
		t.Errorf("%+v", got)
	}
}
