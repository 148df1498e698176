package idxd_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/deviceplugins/idxd"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/record"
)

const (
	dedicated = "dsa.intel.com/wq-user-dedicated"
	shared    = "dsa.intel.com/wq-user-shared"
	queues    = "/sys/devices/pci0000:6a/0000:6a:01.0/dsa0"
)

// write replaces an attribute; "" makes it unreadable, as a folder in its place is.
func (h *host) write(t testing.TB, hostPath, value string) {
	t.Helper()
	file := h.root.Join(hostPath)
	err := os.RemoveAll(file)
	if value == "" {
		err = errors.Join(err, os.MkdirAll(file, 0o755))
	} else {
		err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(value+"\n"), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (h *host) remove(t testing.TB, hostPaths ...string) {
	t.Helper()
	for _, p := range hostPaths {
		if err := os.RemoveAll(h.root.Join(p)); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *host) link(t testing.TB, hostPath, target string) {
	t.Helper()
	if err := os.Symlink(target, h.root.Join(hostPath)); err != nil {
		t.Fatal(err)
	}
}

// want compares the ids of the DSA resources; a resource without any is left out.
func (h *host) want(t testing.TB, ids map[string][]string) {
	t.Helper()
	if diff := cmp.Diff(ids, h.ids(t)); diff != "" {
		t.Errorf("offered (-want +got):\n%s", diff)
	}
}

func TestAQueueThatCannotBeReadForAMomentCostsNothingElse_D1(t *testing.T) {
	one, other := []string{"wq-user-dedicated-wq0.0-0"}, []string{"wq-user-shared-wq0.1-0"}
	both := map[string][]string{dedicated: one, shared: other}
	without := map[string][]string{dedicated: one}
	const queue = queues + "/wq0.1"
	for name, c := range map[string]struct {
		breaks, mends func(h *host, t *testing.T)
		silent        bool // as somebody may want it: no word about it
	}{
		"state flips": {
			func(h *host, t *testing.T) { h.write(t, queue+"/state", "disabled") },
			func(h *host, t *testing.T) { h.write(t, queue+"/state", "enabled") }, true,
		},
		"state unreadable": {
			func(h *host, t *testing.T) { h.write(t, queue+"/state", "") },
			func(h *host, t *testing.T) { h.write(t, queue+"/state", "enabled") }, false,
		},
		"mode not written yet": {
			func(h *host, t *testing.T) { h.remove(t, queue+"/mode") },
			func(h *host, t *testing.T) { h.write(t, queue+"/mode", "shared") }, false,
		},
		"type unreadable": {
			func(h *host, t *testing.T) { h.write(t, queue+"/type", "") },
			func(h *host, t *testing.T) { h.write(t, queue+"/type", "user") }, false,
		},
		"disabled between two reads": {
			func(h *host, t *testing.T) { h.write(t, queue+"/type", "none") },
			func(h *host, t *testing.T) { h.write(t, queue+"/type", "user") }, false,
		},
		"node not made yet": {
			func(h *host, t *testing.T) { h.remove(t, "/dev/dsa/wq0.1") },
			func(h *host, t *testing.T) { h.write(t, "/dev/dsa/wq0.1", "x") }, false,
		},
		"companion link not made yet": {
			func(h *host, t *testing.T) { h.remove(t, "/dev/char/235:1") },
			func(h *host, t *testing.T) { h.link(t, "/dev/char/235:1", "../dsa/wq0.1") }, false,
		},
		"companion link still the old one": {
			func(h *host, t *testing.T) {
				h.remove(t, "/dev/char/235:1")
				h.link(t, "/dev/char/235:1", "../dsa/wq0.0")
			},
			func(h *host, t *testing.T) {
				h.remove(t, "/dev/char/235:1")
				h.link(t, "/dev/char/235:1", "../dsa/wq0.1")
			}, false,
		},
		"device number makes no sense": {
			func(h *host, t *testing.T) { h.write(t, queue+"/dsa!wq0.1/dev", "235:x") },
			func(h *host, t *testing.T) { h.write(t, queue+"/dsa!wq0.1/dev", "235:1") }, false,
		},
		"device number unreadable": {
			func(h *host, t *testing.T) { h.write(t, queue+"/dsa!wq0.1/dev", "") },
			func(h *host, t *testing.T) { h.write(t, queue+"/dsa!wq0.1/dev", "235:1") }, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, "dsa", "--dsa-shared-dev-num=1")
			h.want(t, both)
			for range 2 {
				c.breaks(h, t)
				h.want(t, without)
				if _, skipped := h.scan(t); (len(skipped) == 0) != c.silent || !c.silent && skipped[0].Path != "/sys/bus/dsa/devices/dsa0/wq0.1" {
					t.Errorf("skipped: %v", skipped)
				}
				c.mends(h, t)
				h.want(t, both)
			}
		})
	}
}

func TestQueuesOfTheKernelAreNoDevicesAndTheDoctorSaysSo_D2(t *testing.T) {
	for _, kind := range []string{"kernel", "mdev", "of tomorrow"} {
		h := newHost(t, "dsa")
		for _, q := range []string{"/wq0.0", "/wq0.1"} {
			h.write(t, queues+q+"/type", kind)
		}
		list, skipped := h.scan(t)
		if len(list) > 0 || len(skipped) > 0 {
			t.Errorf("type %s: offered %v, skipped %v", kind, list, skipped)
		}
		said := h.doctor(t)
		for _, q := range []string{"wq0.0", "wq0.1"} {
			if !strings.Contains(said, q+": its type is \""+kind+"\"") || !strings.Contains(said, "accel-config disable-wq dsa0/"+q) {
				t.Errorf("type %s, queue %s: the doctor says\n%s", kind, q, said)
			}
		}
	}
}

// doctor is all findings, a line each.
func (h *host) doctor(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for _, f := range h.families {
		for _, finding := range f.Diagnose(t.Context()) {
			b.WriteString(f.Name() + ": " + finding.Path + ": " + finding.Reason + " → " + finding.Remedy + "\n")
		}
	}
	return b.String()
}

func TestDevicesPastNineAreToldApart_D3(t *testing.T) {
	h := newHost(t, "several")
	want := map[string][]string{
		dedicated:                         {"wq-user-dedicated-wq10.10-0", "wq-user-dedicated-wq10.2-0", "wq-user-dedicated-wq2.0-0"},
		"iaa.intel.com/wq-user-dedicated": {"wq-user-dedicated-wq11.0-0", "wq-user-dedicated-wq9.0-0"},
	}
	h.want(t, want)
}

func TestOneUnboundFunctionTakesNobodyDown_D4(t *testing.T) {
	h := newHost(t, "vfio-both")
	const resource = "dsa.intel.com/vfio"
	all := []string{"0000:6a:01.0", "0000:e7:01.0", "10000:01:00.0"}
	if got := h.ids(t)[resource]; !slices.Equal(got, all) {
		t.Fatalf("offered %v", got)
	}
	const sick = "/sys/devices/pci0000:6a/0000:6a:01.0"
	for name, c := range map[string]struct {
		path string
		how  func(path string)
	}{
		"unbound":              {"/driver", func(p string) { h.remove(t, p) }},
		"with another driver":  {"/driver", func(p string) { h.remove(t, p); h.link(t, p, "../../../bus/pci/drivers/idxd") }},
		"no driver link":       {"/driver", func(p string) { h.write(t, p, "") }},
		"without IOMMU group":  {"/iommu_group", func(p string) { h.remove(t, p) }},
		"another vendor's":     {"/vendor", func(p string) { h.write(t, p, "0x1234") }},
		"no vendor":            {"/vendor", func(p string) { h.write(t, p, "") }},
		"no device id":         {"/device", func(p string) { h.write(t, p, "") }},
		"an id of other cards": {"/device", func(p string) { h.write(t, p, "0x09c4") }},
	} {
		t.Run(name, func(t *testing.T) {
			saved := h.root.Join(sick + c.path)
			if err := os.Rename(saved, saved+".saved"); err != nil {
				t.Fatal(err)
			}
			c.how(sick + c.path)
			if got := h.ids(t)[resource]; !slices.Equal(got, all[1:]) {
				t.Errorf("offered %v", got)
			}
			h.remove(t, sick+c.path)
			if err := os.Rename(saved+".saved", saved); err != nil {
				t.Fatal(err)
			}
			if got := h.ids(t)[resource]; !slices.Equal(got, all) {
				t.Errorf("offered %v when it is well again", got)
			}
		})
	}
}

func TestBothKindsHaveAVFIOModeOfTheirOwn_D5(t *testing.T) {
	h := newHost(t, "vfio-both")
	ids := h.ids(t)
	if got := ids["iaa.intel.com/vfio"]; !slices.Equal(got, []string{"0000:6a:02.0", "0000:e7:02.0"}) {
		t.Errorf("IAA: %v", got)
	}
	if len(ids) != 2 || len(ids["dsa.intel.com/vfio"]) != 3 {
		t.Errorf("offered %v", ids)
	}
	// One kind's mode is not the other's.
	h = newHost(t, "vfio-both", "--dsa-driver=idxd")
	if ids := h.ids(t); len(ids) != 1 || len(ids["iaa.intel.com/vfio"]) != 2 {
		t.Errorf("with DSA on idxd: %v", ids)
	}
}

func TestANodeWithOtherNumbersThanSysfsIsNotTheQueue(t *testing.T) {
	h := newHost(t, "dsa")
	node := h.root.Join("/dev/dsa/wq0.0")
	mknod := func(minor uint32) {
		t.Helper()
		if err := os.Remove(node); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(235, minor))); err != nil {
			t.Skipf("no device nodes here: %v", err)
		}
	}
	mknod(0)
	if got := h.ids(t)[dedicated]; len(got) != 1 {
		t.Errorf("a true node: %v", got)
	}
	mknod(9)
	_, skipped := h.scan(t)
	if got := h.ids(t)[dedicated]; len(got) != 0 || len(skipped) != 1 || !strings.Contains(skipped[0].Reason, "is 235:9, sysfs says 235:0") {
		t.Errorf("a stale node: %v, %v", got, skipped)
	}
	// Without a number in sysfs the node's own counts.
	h.remove(t, queues+"/wq0.0/dsa!wq0.0", queues+"/wq0.0/cdev_minor")
	mknod(0)
	if got := h.ids(t)[dedicated]; len(got) != 1 {
		t.Errorf("a true node without a number in sysfs: %v", got)
	}
	// A tree made for tests may have the number in the queue's own folder.
	h.write(t, queues+"/wq0.0/dev", "235:9")
	if got := h.ids(t)[dedicated]; len(got) != 0 {
		t.Errorf("a stale node, by the queue's own folder: %v", got)
	}
	mknod(9)
	h.remove(t, "/dev/char/235:0")
	h.link(t, "/dev/char/235:9", "../dsa/wq0.0")
	if got := h.ids(t)[dedicated]; len(got) != 1 {
		t.Errorf("a true node, by the queue's own folder: %v", got)
	}
}

func TestAllSharesAreOneValue(t *testing.T) {
	h := newHost(t, "dsa", "--dsa-shared-dev-num=1000")
	inv, _, _ := h.families[0].Scan(t.Context())
	list := inv[shared]
	if len(list) != 1000 || len(inv[dedicated]) != 1 {
		t.Fatalf("%d shared, %d dedicated", len(list), len(inv[dedicated]))
	}
	for _, d := range list {
		if &d.Grant.Nodes[0] != &list[0].Grant.Nodes[0] || &d.NUMA[0] != &list[0].NUMA[0] {
			t.Fatalf("%s has nodes of its own", d.ID)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		flags []string
		wrong string
	}{
		{nil, ""},
		{[]string{"--dsa-shared-dev-num=1", "--iaa-shared-dev-num=1000", "--dsa-driver=vfio-pci", "--iaa-driver=idxd"}, ""},
		{[]string{"--dsa-shared-dev-num=0"}, "dsa-shared-dev-num: 0 is not 1 to 1000"},
		{[]string{"--iaa-shared-dev-num=-1"}, "iaa-shared-dev-num: -1 is not"},
		{[]string{"--iaa-shared-dev-num=1001"}, "iaa-shared-dev-num: 1001"},
		{[]string{"--dsa-driver=vfio"}, `dsa-driver: "vfio" is neither idxd nor vfio-pci`},
		{[]string{"--iaa-driver="}, `iaa-driver: ""`},
	} {
		var errs []error
		for kind, o := range options(t, c.flags...) {
			errs = append(errs, o.Validate(kind))
		}
		err := errors.Join(errs...)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.HasPrefix(err.Error(), c.wrong) {
			t.Errorf("%v: %v, want %q", c.flags, err, c.wrong)
		}
	}
	if o := options(t)[idxd.DSA]; o != (idxd.Options{SharedDevNum: 1, Driver: idxd.DriverIDXD}) {
		t.Errorf("without flags: %+v", o)
	}
	if (idxd.Options{}).Validate(idxd.DSA) == nil {
		t.Error("the zero value passes")
	}
}

func TestConfigureIsSeenByTheNextScan(t *testing.T) {
	h := newHost(t, "dsa", "--dsa-shared-dev-num=2")
	f := h.families[0]
	if n := len(h.ids(t)[shared]); n != 2 {
		t.Fatalf("%d shares", n)
	}
	if f.Configure(idxd.Options{SharedDevNum: 2, Driver: idxd.DriverIDXD}) {
		t.Error("the same options are a change")
	}
	if !f.Configure(idxd.Options{SharedDevNum: 5, Driver: idxd.DriverIDXD}) {
		t.Error("other options are none")
	}
	if n := len(h.ids(t)[shared]); n != 5 {
		t.Errorf("%d shares", n)
	}
	h.logs.Reset()
	f.Configure(idxd.Options{SharedDevNum: 5, Driver: idxd.DriverVFIO})
	if n := len(h.ids(t)); n != 0 {
		t.Errorf("%d resources of functions that are bound to idxd", n)
	}
	if e := h.logs.AllEntries()[0]; e.Level.String() != "warning" || !strings.Contains(e.Message, "dsa-shared-dev-num 5 is ignored") {
		t.Errorf("said: %s %s", e.Level, e.Message)
	}
	if w := f.Watch(); !slices.Contains(w.Subsystems, "pci") {
		t.Errorf("watched are still %v", w.Subsystems)
	}
}

func TestAllocateGivesBothPathsOfAQueueOnce(t *testing.T) {
	h := newHost(t, "dsa")
	f := h.families[0]
	inv, _, _ := f.Scan(t.Context())
	answer, err := f.Allocate(t.Context(), shared, inv[shared][:3])
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range answer.GetDevices() {
		if d.GetHostPath() != d.GetContainerPath() {
			t.Errorf("%v", d)
		}
		got = append(got, d.GetHostPath()+" "+d.GetPermissions())
	}
	if diff := cmp.Diff([]string{"/dev/dsa/wq0.1 rw", "/dev/char/235:1 rw"}, got); diff != "" {
		t.Error(diff)
	}
	if len(answer.GetEnvs()) > 0 || len(answer.GetMounts()) > 0 || len(answer.GetAnnotations()) > 0 {
		t.Errorf("more than nodes: %v", answer)
	}
}

func TestAllocateNumbersFunctionsInOrderOfTheirAddresses(t *testing.T) {
	h := newHost(t, "vfio-both")
	f := h.families[0]
	inv, _, _ := f.Scan(t.Context())
	const resource = "dsa.intel.com/vfio"
	byID := map[string]plugin.Device{}
	for _, d := range inv[resource] {
		byID[d.ID] = d
	}
	for _, c := range []struct {
		ids    []string
		env    map[string]string
		record string
		nodes  string
	}{
		{
			[]string{"10000:01:00.0", "0000:6a:01.0"},
			map[string]string{"VFIO_BDF0": "0000:6a:01.0", "VFIO_BDF1": "10000:01:00.0"},
			"10000:01:00.0@10000:01:00.0,0000:6a:01.0@0000:6a:01.0", "/dev/vfio/40 /dev/vfio/vfio /dev/vfio/12",
		},
		{
			[]string{"0000:e7:01.0"},
			map[string]string{"VFIO_BDF0": "0000:e7:01.0"},
			"0000:e7:01.0@0000:e7:01.0", "/dev/vfio/31 /dev/vfio/vfio",
		},
	} {
		var devices []plugin.Device
		for _, id := range c.ids {
			devices = append(devices, byID[id])
		}
		answer, err := f.Allocate(t.Context(), resource, devices)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.env, answer.GetEnvs()); diff != "" {
			t.Errorf("%v: %s", c.ids, diff)
		}
		if diff := cmp.Diff(map[string]string{"allocated.dsa.intel.com/vfio": c.record}, answer.GetAnnotations()); diff != "" {
			t.Errorf("%v: %s", c.ids, diff)
		}
		if read, err := record.ParseOf("dsa.intel.com", answer.GetAnnotations()); err != nil || len(read) != 1 || len(read[0].Devices) != len(c.ids) {
			t.Errorf("%v: inlay-nri reads %v, %v", c.ids, read, err)
		}
		var nodes []string
		for _, d := range answer.GetDevices() {
			nodes = append(nodes, d.GetHostPath())
		}
		if got := strings.Join(nodes, " "); got != c.nodes {
			t.Errorf("%v: nodes %s", c.ids, got)
		}
	}
}
