package qat_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/qat"
	"github.com/inlay-project/inlay/internal/childtest"
)

const status6b = "/sys/kernel/debug/qat_4xxx_0000:6b:00.0/heartbeat/status"

func TestHealthFollowsTheHeartbeat(t *testing.T) {
	h := newHost(t, "gen4")
	well := map[string]string{"cy 0000:6b:00.1": "", "cy 0000:6b:00.2": ""}
	sick := map[string]string{"cy 0000:6b:00.1": "heartbeat status is -1", "cy 0000:6b:00.2": "heartbeat status is -1"}
	h.want(well)
	for _, c := range []struct {
		status string
		want   map[string]string
	}{
		{"-1\n\x00", sick}, {"0\n\x00", well}, {"-1", sick}, {"", well}, {"-1\n0\n", sick}, {"-10\n", well}, {"-1\r\n", sick}, {"1\n", well},
	} {
		h.write(status6b, c.status)
		h.want(c.want)
	}
}

// The kernel's driver says -1 of a healthy card that is asked again within its period, so the audits ask and Scan does not.
func TestOnlyTheAuditsAskACard(t *testing.T) {
	h := newHost(t, "gen4")
	well := map[string]string{"cy 0000:6b:00.1": "", "cy 0000:6b:00.2": ""}
	failed := strings.TrimSuffix(status6b, "status") + "queries_failed"
	h.write(failed, "4\n\x00")
	h.want(well)
	w := h.Watch()
	file := h.root.Join(status6b)
	if !slices.Equal(w.Queries, []string{file}) || slices.Contains(w.Values, file) || len(w.Values) == 0 {
		t.Fatalf("%+v", w)
	}
	h.write(failed, "5\n\x00")
	h.write(status6b, "-1\n") // what Scan would read if it did
	h.want(well)
	h.write(failed, "4\n\x00")
	for i, c := range []struct {
		failed, state, status string
		err                   error
		changed               bool
		reason                string
	}{
		{"4", "up", "0\n\x00", nil, false, ""},
		{"4", "up", "-1\n\x00", nil, false, ""}, // somebody else has asked just before
		{"5", "up", "-1\n\x00", nil, true, "does not respond"},
		{"6", "up", "-1\n\x00", nil, false, "does not respond"},
		{"6", "up", "-1\n\x00", nil, false, "does not respond"}, // not asked: what is known stays
		{"6", "up", "0\n\x00", nil, true, ""},
		{"6", "down", "-1\n\x00", nil, true, "state is down"},
		{"6", "up", "", os.ErrNotExist, true, ""},
		{"6", "up", "", os.ErrNotExist, false, ""},
	} {
		h.write(failed, c.failed)
		h.write("/sys/devices/pci0000:6b/0000:6b:00.0/qat/state", c.state)
		if got := w.Answered(file, []byte(c.status), c.err); got != c.changed {
			t.Errorf("%d: changed %v", i, got)
		}
		h.want(map[string]string{"cy 0000:6b:00.1": c.reason, "cy 0000:6b:00.2": c.reason})
	}
	if w.Answered(file+"x", []byte("-1"), nil) {
		t.Error("a card that is not known has changed")
	}
}

// The driver counts each query as sent that it does not refuse for being too early. Where none was sent for longer than its
// period, it has another reason for its -1.
func TestACardThatItsDriverDoesNotAskIsSick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, "heartbeat-kernel")
		folder := strings.TrimSuffix(status6b, "status")
		health := func(reason string) {
			t.Helper()
			h.want(map[string]string{"dc 0000:6b:00.1": reason, "dc 0000:70:00.1": "state is down", "dc 0000:75:00.1": ""})
		}
		health("")
		w := h.Watch()
		for i, c := range []struct {
			after        time.Duration
			sent, status string
			changed      bool
			reason       string
		}{
			{299 * time.Millisecond, "7", "-1\n\x00", false, ""}, // too early
			{5 * time.Second, "8", "-1\n\x00", false, ""},        // somebody else has asked, and the card has answered
			{5 * time.Second, "8", "-1\n\x00", true, "does not ask it"},
			{5 * time.Second, "9", "-1\n\x00", false, "does not ask it"}, // no answer for us: what is known stays
			{5 * time.Second, "10", "0\n\x00", true, ""},
			{5 * time.Second, "10", "-1\n\x00", true, "does not ask it"},
			{5 * time.Second, "0", "0\n\x00", true, ""}, // it has restarted
			{5 * time.Second, "", "-1\n\x00", false, ""},
			{5 * time.Second, "", "-1\n\x00", false, ""}, // counts that are not known bear nothing out
		} {
			time.Sleep(c.after)
			h.write(folder+"queries_sent", c.sent)
			if got := w.Answered(h.root.Join(status6b), []byte(c.status), nil); got != c.changed {
				t.Errorf("%d: changed %v", i, got)
			}
			health(c.reason)
		}
	})
}

// Who looks once waits a period for the second answer, and no longer than a person would. One wait is for all cards.
func TestALookWaitsForASecondAnswer(t *testing.T) {
	for config, want := range map[string]struct {
		waits  time.Duration
		reason string
	}{
		"200\n\x00": {300 * time.Millisecond, "does not ask it"},
		"":          {time.Second, "does not ask it"},
		"1401":      {0, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t, "heartbeat-kernel")
			h.write(strings.TrimSuffix(status6b, "status")+"config", config)
			began := time.Now()
			h.Family = h.ReadOnly()
			h.want(map[string]string{"dc 0000:6b:00.1": want.reason, "dc 0000:70:00.1": "state is down", "dc 0000:75:00.1": ""})
			if waited := time.Since(began); waited != want.waits {
				t.Errorf("config %q: waited %v, want %v", config, waited, want.waits)
			}
		})
	}
}

// The doctor scans and diagnoses in a moment, in which a card is not asked twice.
func TestTheDoctorKnowsWhatTheScanWasAnswered(t *testing.T) {
	h := newHost(t, "heartbeat-kernel")
	h.Family = h.ReadOnly()
	h.want(map[string]string{"dc 0000:6b:00.1": "does not ask it", "dc 0000:70:00.1": "state is down", "dc 0000:75:00.1": ""})
	h.write(strings.TrimSuffix(status6b, "status")+"queries_sent", "8")
	said := h.Diagnose(t.Context())
	if !slices.ContainsFunc(said, func(f plugin.Finding) bool {
		return strings.HasSuffix(f.Path, "6b:00.0/heartbeat/status") && strings.Contains(f.Reason, "heartbeat status is -1") && f.Remedy != ""
	}) {
		t.Errorf("%+v", said)
	}
}

// While something is to be settled every audit is a scan, and that asks, once a period.
func TestWhileThereIsSomethingToSettleScanAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, "gen4")
		well := map[string]string{"cy 0000:6b:00.2": ""}
		down := map[string]string{"cy 0000:6b:00.2": "state is down"}
		folder := strings.TrimSuffix(status6b, "/status")
		h.write(folder+"/queries_failed", "4\n\x00")
		h.write(vf1+"/driver", "-> ../../../bus/pci/drivers/uio_pci_generic")
		h.want(well)
		if w := h.Watch(); len(w.Values)+len(w.Queries) != 0 {
			t.Errorf("%+v", w)
		}
		h.write("/sys/devices/pci0000:6b/0000:6b:00.0/qat/state", "down\n")
		for ms, waits := range map[string]time.Duration{"": time.Second, "500": time.Second, "3000\n\x00": 3100 * time.Millisecond, "99999999": time.Minute, "x": time.Second} {
			h.write(folder+"/config", ms)
			h.write(status6b, "-1\n")
			time.Sleep(time.Hour)
			h.want(down)
			h.write(status6b, "0\n")
			time.Sleep(waits - time.Millisecond)
			h.want(down)
			time.Sleep(time.Millisecond)
			h.want(well)
		}
	})
}

func TestWhatFallsSickStaysUnderItsName(t *testing.T) {
	h := newHost(t, "gen4")
	well := map[string]string{"cy 0000:6b:00.1": "", "cy 0000:6b:00.2": ""}
	h.want(well)
	h.write(vf1+"/driver", "-> ../../../bus/pci/drivers/uio_pci_generic")
	h.want(map[string]string{"cy 0000:6b:00.1": "bound to uio_pci_generic", "cy 0000:6b:00.2": ""})
	if d := h.devices("qat.intel.com/cy")[0]; len(d.Grant.Nodes) != 0 {
		t.Errorf("nodes of a VF that is not there: %v", d.Grant.Nodes)
	}
	h.write(vf1+"/driver", "-> ../../../bus/pci/drivers/vfio-pci")
	h.want(well)
	h.write("/dev/vfio/318", "")
	h.want(map[string]string{"cy 0000:6b:00.1": "/dev/vfio/318 is missing", "cy 0000:6b:00.2": ""})
	h.write("/sys/devices/pci0000:6b/0000:6b:00.0/virtfn0", "") // the VF is gone
	h.want(map[string]string{"cy 0000:6b:00.2": ""})
	h.write("/sys/devices/pci0000:6b/0000:6b:00.0/virtfn0", "-> ../0000:6b:00.1")
	h.want(map[string]string{"cy 0000:6b:00.2": ""}) // and is a new one
}

func TestAVFThatCannotBeOfferedIsNotOfferedBecauseItsCardIsSick(t *testing.T) {
	h := newHost(t, "gen4")
	h.write(vf1+"/driver", "-> ../../../bus/pci/drivers/uio_pci_generic")
	h.write(status6b, "-1\n")
	h.want(map[string]string{"cy 0000:6b:00.2": "does not respond"})
}

func TestWhatIsAnswered(t *testing.T) {
	h := newHost(t, "iommufd")
	devices := h.devices("qat.intel.com/dc")
	slices.Reverse(devices)
	answer, err := h.Allocate(t.Context(), "qat.intel.com/dc", devices[1:])
	if err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for _, d := range answer.GetDevices() {
		if d.GetHostPath() != d.GetContainerPath() || d.GetPermissions() != "rw" {
			t.Errorf("node %v", d)
		}
		nodes = append(nodes, d.GetHostPath())
	}
	want := []string{"/dev/vfio/devices/vfio1", "/dev/iommu", "/dev/vfio/318", "/dev/vfio/vfio", "/dev/vfio/devices/vfio0"}
	if diff := cmp.Diff(want, nodes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"QAT0": "0000:6b:00.1", "QAT1": "0000:6b:00.2"}, answer.GetEnvs()); diff != "" {
		t.Error(diff)
	}
	record := map[string]string{"allocated.qat.intel.com/dc": "0000:6b:00.2@0000:6b:00.2,0000:6b:00.1@0000:6b:00.1"}
	if diff := cmp.Diff(record, answer.GetAnnotations()); diff != "" {
		t.Error(diff)
	}

	uio := newHost(t, "igb-uio")
	if answer, err = uio.Allocate(t.Context(), "qat.intel.com/cy", uio.devices("qat.intel.com/cy")); err != nil {
		t.Fatal(err)
	}
	if m := answer.GetMounts(); len(m) != 1 || m[0].GetHostPath() != "/sys/class/uio/uio3/device" || m[0].GetReadOnly() {
		t.Errorf("mounts %v", m)
	}
}

func TestBindingOffWritesNothing(t *testing.T) {
	h := newHost(t, "gen4", "--qat-bind=false")
	before := h.state()
	h.want(map[string]string{"cy 0000:6b:00.1": ""})
	if diff := cmp.Diff(before, h.state()); diff != "" {
		t.Error(diff)
	}
}

func TestPreferences(t *testing.T) {
	var available []plugin.Device
	for _, id := range []string{
		"0000:6b:00.1", "0000:6b:00.2", "0000:6b:01.0", "0000:70:00.1", "0000:70:00.2", "0000:f0:00.1", "10000:01:00.1", "10000:01:00.2",
	} {
		d := plugin.Device{ID: id, NUMA: []int{0}}
		if id >= "0000:f0" {
			d.NUMA = []int{1}
		}
		available = append(available, d)
	}
	for _, c := range []struct {
		policy string
		must   string
		size   int
		want   string // empty: an error
	}{
		{"none", "", 2, "0000:6b:00.1 0000:6b:00.2"},
		{"none", "0000:f0:00.1", 2, "0000:f0:00.1 0000:6b:00.1"},
		{"packed", "", 4, "0000:6b:00.1 0000:6b:00.2 0000:6b:01.0 0000:70:00.1"},
		{"packed", "0000:70:00.2", 3, "0000:70:00.2 0000:70:00.1 0000:6b:00.1"},
		{"packed", "10000:01:00.2", 3, "10000:01:00.2 10000:01:00.1 0000:f0:00.1"},
		{"packed", "", 8, "0000:6b:00.1 0000:6b:00.2 0000:6b:01.0 0000:70:00.1 0000:70:00.2 0000:f0:00.1 10000:01:00.1 10000:01:00.2"},
		{"balanced", "", 3, "10000:01:00.1 0000:6b:00.1 0000:70:00.1"},
		{"balanced", "", 5, "10000:01:00.1 0000:6b:00.1 0000:70:00.1 0000:f0:00.1 10000:01:00.2"},
		{"balanced", "0000:6b:01.0", 2, "0000:6b:01.0 10000:01:00.1"},
		{"packed", "", 9, ""},
		{"none", "0000:6b:00.1 0000:6b:00.2", 1, ""},
	} {
		h := newHost(t, "nothing", "--qat-allocation-policy="+c.policy)
		got, err := h.Prefer("qat.intel.com/dc", available, strings.Fields(c.must), c.size)
		if (err != nil) != (c.want == "") || strings.Join(got, " ") != c.want {
			t.Errorf("%s %d with %s: %v, %v", c.policy, c.size, c.must, got, err)
		}
	}
}

// One card's VFs can lie on more than one bus.
func TestPackedKnowsTheCards(t *testing.T) {
	h := newHost(t, "domains", "--qat-allocation-policy=packed", "--qat-kernel-vf-drivers=4xxxvf")
	dir := "/sys/devices/pci10000:01/10000:01:00.0"
	h.write(dir+"/virtfn0", "")
	h.write(dir+"/virtfn0", "-> ../../pci0000:f0/0000:f0:00.1")
	h.write("/sys/devices/pci0000:f0/0000:f0:00.1/device", "0x4941\n")
	devices := h.devices("qat.intel.com/dc")
	if len(devices) != 2 {
		t.Fatalf("%v", devices)
	}
	near := plugin.Device{ID: "10000:01:07.7", NUMA: []int{1}} // the same bus, no VF of the card's that is known
	got, err := h.Prefer("qat.intel.com/dc", append(devices, near), []string{"0000:f0:00.1"}, 2)
	if err != nil || !slices.Equal(got, []string{"0000:f0:00.1", "10000:01:00.2"}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAPreferenceAmongManyIsQuick(t *testing.T) {
	var available []plugin.Device
	for i := range 1024 {
		available = append(available, plugin.Device{ID: fmt.Sprintf("0000:%02x:%02x.%d", i/64, i/8%8, i%8), NUMA: []int{i / 512}})
	}
	for _, policy := range []string{"none", "packed", "balanced"} {
		h := newHost(t, "nothing", "--qat-allocation-policy="+policy)
		best := time.Hour
		for range 5 {
			began := time.Now()
			if got, err := h.Prefer("qat.intel.com/dc", available, []string{available[900].ID}, 64); err != nil || len(got) != 64 {
				t.Fatalf("%v, %v", got, err)
			}
			best = min(best, time.Since(began))
		}
		t.Logf("%s: %v", policy, best)
		if best > 5*time.Millisecond && !childtest.Race {
			t.Errorf("%s: %v", policy, best)
		}
	}
}

func TestOptions(t *testing.T) {
	want := qat.Options{
		DPDKDriver: "vfio-pci", KernelVFDrivers: []string{"4xxxvf", "420xxvf"}, MaxNumDevices: 64, AllocationPolicy: qat.PolicyNone, Bind: true,
	}
	if diff := cmp.Diff(want, options(t)); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		change func(*qat.Options)
		want   string
	}{
		{func(o *qat.Options) { o.DPDKDriver = "uio_pci_generic" }, "qat-dpdk-driver: "},
		{func(o *qat.Options) { o.KernelVFDrivers = nil }, "qat-kernel-vf-drivers: "},
		{func(o *qat.Options) { o.KernelVFDrivers = []string{"4xxxvf", "c62xvf"} }, `qat-kernel-vf-drivers: "c62xvf" is none of dh895xccvf, `},
		{func(o *qat.Options) { o.MaxNumDevices = 0 }, "qat-max-num-devices: 0"},
		{func(o *qat.Options) { o.AllocationPolicy = "" }, "qat-allocation-policy: "},
		{func(o *qat.Options) { o.AllocationPolicy = "Packed" }, "qat-allocation-policy: "},
	} {
		o := qat.DefaultOptions()
		c.change(&o)
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, want %s…", err, c.want)
		}
	}
	for _, name := range []string{"dh895xccvf", "c6xxvf", "c3xxxvf", "d15xxvf", "c4xxxvf", "4xxxvf", "420xxvf", "6xxxvf"} {
		options(t, "--qat-kernel-vf-drivers="+name)
	}
}

func BenchmarkScan(b *testing.B) {
	h := newHost(b, "cap", "--qat-max-num-devices=64")
	for b.Loop() {
		if _, _, err := h.Scan(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAVFIsOfferedByItsID(t *testing.T) {
	h := newHost(t, "gen4")
	for _, c := range []struct{ id, fails string }{
		{"", "device id cannot be read"},
		{"\n", "device id cannot be read"},
		{"some junk\n", `"some junk" is no PCI device id`},
		{"0x49411\n", `"0x49411" is no PCI device id`},
		{"0x37c9\n", "0x37c9 is of the kind c6xxvf, which is not among --qat-kernel-vf-drivers"},
		{"6f55\n", "6f55 is of the kind d15xxvf"},
		{"0x4947\n", ""},
		{"0x49ff\n", ""}, // of a card that is newer than this list
		{"0x4941\n", ""},
	} {
		h.write(vf1+"/device", c.id)
		list, skipped := look(t, h.ReadOnly())
		if left := len(skipped) == 1 && skipped[0].Path == vf1 && strings.Contains(skipped[0].Reason, c.fails); len(list) != 2-len(skipped) || left != (c.fails != "") {
			t.Errorf("id %q: %v, left out: %v", c.id, list, skipped)
		}
	}
	h.write(vf2+"/device", "0x37c9\n")
	_, _ = look(t, h.Family)
	if got := h.read(bindPCI); got != "" {
		t.Errorf("bound all the same: %q", got)
	}
	if f := h.Diagnose(t.Context()); len(f) != 1 || f[0].Remedy != "--qat-kernel-vf-drivers=4xxxvf,420xxvf,c6xxvf" {
		t.Errorf("doctor: %+v", f)
	}
}

// As in a tree that is put together of pieces; a kernel has a link there.
func TestAVFWhosePlaceOnTheBusIsAFolder(t *testing.T) {
	h := newHost(t, "gen4")
	const place = "/sys/bus/pci/devices/0000:6b:00.1"
	h.write(place, "")
	h.write(place+"/numa_node", "0\n")
	h.write(place+"/iommu_group", "-> ../../../../kernel/iommu_groups/318")
	list, skipped := look(t, h.ReadOnly())
	if len(list) != 2 || len(skipped) != 0 || list[0].Resource != "qat.intel.com/cy" {
		t.Errorf("%v, left out: %v", list, skipped)
	}
}

// The look binds nothing, so that the uio device is that of the driver which the VF has now.
func TestAVFThatWillBeBoundToUIOIsShown(t *testing.T) {
	h := newHost(t, "igb-uio")
	const vf3 = "/sys/devices/pci0000:6b/0000:6b:00.3"
	h.write(vf3+"/uio/uio7/dev", "240:7\n")
	list, _ := look(t, h.ReadOnly())
	if len(list) != 2 || list[1].ID != "0000:6b:00.3" || list[1].Health != plugin.Healthy ||
		!slices.Equal(list[1].Nodes, []string{"/dev/uio7"}) || !slices.Equal(list[1].Mounts, []string{"/sys/class/uio/uio7/device"}) {
		t.Errorf("%+v", list)
	}
	h.want(map[string]string{"cy 0000:6b:00.1": ""}) // bound for good it has to have its node
}

// Without its card a VF would be generic, as in a virtual machine.
func TestADriverThatCannotBeReadIsNoVirtualMachine(t *testing.T) {
	h := newHost(t, "gen4")
	drivers := "/sys/bus/pci/drivers/4xxx"
	h.write(drivers, "-> 4xxx")
	list, skipped := look(t, h.Family)
	if len(list) != 0 || len(skipped) != 1 || skipped[0].Path != drivers {
		t.Errorf("%v, left out: %v", list, skipped)
	}
}

func TestAUIODeviceHasItsNodeWhereTheKernelHasTheClass(t *testing.T) {
	h := newHost(t, "igb-uio")
	h.write("/dev/uio3", "")
	h.want(map[string]string{})
	h.write("/sys/class/uio", "") // a tree that no kernel has made
	h.want(map[string]string{"cy 0000:6b:00.1": ""})
}

func TestADriverThatIsLoadedLaterIsUsed(t *testing.T) {
	h := newHost(t, "no-vfio")
	h.want(map[string]string{})
	w := h.Watch()
	if !slices.Contains(w.Subsystems, "drivers") || len(w.Values) != 0 {
		t.Errorf("%+v", w)
	}
	for i := range 3 {
		h.write(fmt.Sprintf("/dev/vfio/%d", 318+i), " ")
	}
	h.write("/dev/vfio/vfio", " ")
	if err := os.MkdirAll(h.root.Join("/sys/bus/pci/drivers/vfio-pci"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.write(bindPCI, " ")
	h.want(map[string]string{"dc 0000:6b:00.1": "", "dc 0000:6b:00.2": "", "dc 0000:6b:00.3": ""})
}
