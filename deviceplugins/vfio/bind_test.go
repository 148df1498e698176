package vfio

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/internal/hostfs"
)

// kernelVF is the VF as its kernel driver has it.
func kernelVF(changes ...map[string]string) []map[string]string {
	return append([]map[string]string{{
		dir + "/driver": "-> ../../../bus/pci/drivers/4xxxvf", dir + "/driver_override": "(null)\n",
	}}, changes...)
}

// content reads what a write left in a file of the tree.
func content(t *testing.T, root *hostfs.Root, file string) string {
	t.Helper()
	b, err := os.ReadFile(root.Join(file))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestBindWritesTheOverrideTheUnbindAndTheBind(t *testing.T) {
	for name, c := range map[string]struct {
		changes                []map[string]string
		override, unbind, bind string
		fails                  string
	}{
		"from the kernel's driver": {kernelVF(), "vfio-pci", vf, vf, ""},
		"from none":                {kernelVF(map[string]string{dir + "/driver": "absent"}), "vfio-pci", "", vf, ""},
		"a kernel without driver_override": {
			kernelVF(map[string]string{dir + "/driver_override": "absent"}), "", vf, vf, "",
		},
		"override cannot be set": { // nothing is unbound then
			kernelVF(map[string]string{dir + "/driver_override": "absent", dir + "/driver_override/": ""}), "", "", "",
			"driver_override cannot be set",
		},
		"unbind fails": {
			kernelVF(map[string]string{"sys/bus/pci/drivers/4xxxvf/unbind": "absent"}), "vfio-pci", "", "",
			"cannot be unbound from 4xxxvf: /sys/bus/pci/drivers/4xxxvf/unbind: no such file",
		},
		"bind fails": {
			kernelVF(map[string]string{"sys/bus/pci/drivers/vfio-pci/bind": "absent"}), "vfio-pci", vf, "",
			"cannot be bound to vfio-pci: /sys/bus/pci/drivers/vfio-pci/bind: no such file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, vfTree(), c.changes...)
			d, err := Look(root, vf)
			if err != nil {
				t.Fatal(err)
			}
			if err := Bindable(root, d, DriverPCI, "4xxxvf"); err != nil {
				t.Fatal(err)
			}
			err = Bind(root, d, DriverPCI)
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
			for file, want := range map[string]string{
				"/sys/bus/pci/drivers/4xxxvf/unbind": c.unbind, "/sys/bus/pci/drivers/vfio-pci/bind": c.bind,
			} {
				if got := content(t, root, file); got != want {
					t.Errorf("%s: %q, want %q", file, got, want)
				}
			}
			if c.override != "" && content(t, root, "/"+dir+"/driver_override") != c.override {
				t.Errorf("driver_override %q", content(t, root, "/"+dir+"/driver_override"))
			}
		})
	}
}

func TestWhatIsNotBound(t *testing.T) {
	denylist := map[string]string{"sys/module/vfio_pci/parameters/disable_denylist": "N\n"}
	for name, c := range map[string]struct {
		changes []map[string]string
		want    string
	}{
		"nothing amiss":             {kernelVF(denylist), ""},
		"a PF":                      {kernelVF(map[string]string{dir + "/sriov_totalvfs": "16\n"}), "is a PF"},
		"the driver is not loaded":  {kernelVF(map[string]string{"sys/bus/pci/drivers/vfio-pci/bind": "absent", "sys/bus/pci/drivers/vfio-pci/" + vf + "/here": "absent"}), "vfio-pci is not loaded"},
		"another user space driver": {kernelVF(map[string]string{dir + "/driver": "-> ../../../bus/pci/drivers/igb_uio"}), "bound to igb_uio, and who uses it"},
		"denylist":                  {kernelVF(denylist, map[string]string{dir + "/device": "0x37c9\n"}), "denylist"},
		"denylist disabled": {kernelVF(map[string]string{
			"sys/module/vfio_pci/parameters/disable_denylist": "Y\n", dir + "/device": "0x37c9\n",
		}), ""},
		"a kernel without denylist":             {kernelVF(map[string]string{dir + "/device": "0x37c9\n"}), ""},
		"on the denylist of newer kernels only": {kernelVF(denylist, map[string]string{dir + "/device": "0x0b25\n"}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, vfTree(), c.changes...)
			log, _ := test.NewNullLogger()
			d, err := Look(root, vf)
			if err != nil {
				t.Fatal(err)
			}
			err = NewBinder(root, log).Bind(t.Context(), d, DriverPCI, "4xxxvf", "c6xxvf")
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if got := content(t, root, "/sys/bus/pci/drivers/4xxxvf/unbind"); (got == "") != (err != nil) {
				t.Errorf("unbind was told %q", got)
			}
		})
	}
}

func TestAFailedBindIsTriedAgainLaterAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := tree(t, vfTree(), kernelVF(map[string]string{
			"sys/bus/pci/drivers/vfio-pci/bind": "absent", "sys/bus/pci/drivers/vfio-pci/bind/": "", dir + "/device": "0x0b25\n",
			"sys/module/vfio_pci/parameters/disable_denylist": "N\n",
		})...)
		log, logged := test.NewNullLogger()
		b := NewBinder(root, log)
		d, err := Look(root, vf)
		if err != nil {
			t.Fatal(err)
		}
		unbind := root.Join("/sys/bus/pci/drivers/4xxxvf/unbind")
		tries := 0
		for second := range 16 * 60 {
			if err := os.WriteFile(unbind, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			err := b.Bind(t.Context(), d, DriverPCI, "4xxxvf")
			if err == nil || Finding("", err, Subsystem).Remedy != denylistRemedy {
				t.Fatalf("after %d s: %v, remedy %q", second, err, Finding("", err, Subsystem).Remedy)
			}
			if content(t, root, "/sys/bus/pci/drivers/4xxxvf/unbind") != "" {
				tries++
			}
			time.Sleep(time.Second)
		}
		if tries != 9 { // at 0, 5, 15, 35, 75, 155, 315, 615, 915 s
			t.Errorf("%d tries in 16 minutes", tries)
		}
		if n := len(logged.AllEntries()); n != 1 {
			t.Errorf("%d log lines for one failure", n)
		}
		// The driver is another one now: that is worth a try.
		other := d
		other.Driver = ""
		if err := os.Remove(root.Join("/sys/bus/pci/drivers/vfio-pci/bind")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root.Join("/sys/bus/pci/drivers/vfio-pci/bind"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := b.Bind(t.Context(), other, DriverPCI, "4xxxvf"); err != nil {
			t.Errorf("after the obstacle has gone: %v", err)
		}
	})
}

func TestTwoWhoDoNotAgreePauseInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := tree(t, vfTree(), kernelVF()...)
		log, _ := test.NewNullLogger()
		b := NewBinder(root, log)
		d, err := Look(root, vf)
		if err != nil {
			t.Fatal(err)
		}
		unbind := root.Join("/sys/bus/pci/drivers/4xxxvf/unbind")
		tries := func(seconds int) (n int) {
			for range seconds {
				if err := os.WriteFile(unbind, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := b.Bind(t.Context(), d, DriverPCI, "4xxxvf"); err != nil {
					t.Fatal(err)
				}
				if content(t, root, "/sys/bus/pci/drivers/4xxxvf/unbind") != "" {
					n++
				}
				b.Bound(vf) // it has our driver for a moment
				time.Sleep(time.Second)
			}
			return n
		}
		if n := tries(60); n != 4 { // at 0, 5, 15, 35 s
			t.Errorf("%d times in a minute", n)
		}
		time.Sleep(time.Hour)
		b.Bound(vf)
		if n := tries(4); n != 1 {
			t.Errorf("%d times, long after", n)
		}
	})
}

func TestABindThatTheKernelTookIsNotRepeatedAtOnce(t *testing.T) {
	root := tree(t, vfTree(), kernelVF()...)
	log, _ := test.NewNullLogger()
	b := NewBinder(root, log)
	d, err := Look(root, vf)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := b.Bind(t.Context(), d, DriverPCI, "4xxxvf"); err != nil {
			t.Fatal(err)
		}
		file := "/sys/bus/pci/drivers/4xxxvf/unbind"
		if got := content(t, root, file); (got != "") != (i == 0) {
			t.Errorf("call %d: unbind was told %q", i, got)
		}
		if err := os.WriteFile(root.Join(file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.Keep(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Bind(ctx, d, DriverPCI, "4xxxvf"); err == nil {
		t.Error("bound after the end")
	}
	if err := b.Bind(t.Context(), d, DriverPCI, "4xxxvf"); err != nil || content(t, root, "/sys/bus/pci/drivers/4xxxvf/unbind") != vf {
		t.Errorf("a function that came back is not bound: %v", err)
	}
}
