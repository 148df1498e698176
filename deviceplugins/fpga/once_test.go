package fpga_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
)

func TestADeviceHeldUnderAnotherNameIsUnhealthyUntilThePodEnds(t *testing.T) {
	const by = "held by ns/pod as "
	for name, c := range map[string]struct {
		mode  fpga.Mode
		holds string
		ids   []string
		want  map[string]string
	}{
		"af port reprogrammed": {fpga.ModeAF, afNLB3, []string{"dfl-port.0"}, map[string]string{
			on(afNLB0, "dfl-port.0"): by + afNLB3, on(afNLB0, "dfl-port.1"): "",
		}},
		"region to af": {fpga.ModeAF, region, []string{"dfl-fme.0"}, map[string]string{
			on(afNLB0, "dfl-port.0"): by + region, on(afNLB0, "dfl-port.1"): by + region,
		}},
		"af to region": {fpga.ModeRegion, afNLB0, []string{"dfl-port.1"}, map[string]string{on(region, "dfl-fme.0"): by + afNLB0}},
		"another card": {fpga.ModeRegion, afNLB0, []string{"dfl-port.7"}, map[string]string{on(region, "dfl-fme.0"): ""}},
		"another kind of device": {fpga.ModeRegion, "gpu.intel.com/xe", []string{"dfl-port.0"}, map[string]string{
			on(region, "dfl-fme.0"): "",
		}},
		"the same name": {fpga.ModeRegion, region, []string{"dfl-fme.0"}, map[string]string{on(region, "dfl-fme.0"): ""}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, c.mode, fpga.GrantNRI, "dfl:ports=2")
			h.kubelet.set(func(k *kubelet) { k.holds = holds("ns/pod", c.holds, c.ids...) })
			for range 2 {
				h.want(c.want)
			}
			unhealthy := false
			for key, reason := range c.want {
				unhealthy = unhealthy || reason != ""
				c.want[key] = ""
			}
			if unhealthy != (len(h.Watch().Values) == 0) {
				t.Errorf("held is %v; values that the audits look at instead of scanning: %d", unhealthy, len(h.Watch().Values))
			}
			h.kubelet.set(func(k *kubelet) { k.holds = nil })
			h.want(c.want)
		})
	}
}

func TestTheModeChangesAtTheNextScanAndTheOldNamesGo(t *testing.T) {
	h := newHost(t, fpga.ModeAF, fpga.GrantNRI, "dfl:ports=2")
	h.want(map[string]string{on(afNLB0, "dfl-port.0"): "", on(afNLB0, "dfl-port.1"): ""})
	if !h.SetMode(fpga.ModeRegion) || h.SetMode(fpga.ModeRegion) {
		t.Error("SetMode does not tell a change from none")
	}
	h.kubelet.set(func(k *kubelet) { k.holds = holds("ns/pod", afNLB0, "dfl-port.1") })
	h.want(map[string]string{on(region, "dfl-fme.0"): "held by ns/pod as " + afNLB0})
	h.SetMode(fpga.ModeAF)
	h.want(map[string]string{on(afNLB0, "dfl-port.0"): "", on(afNLB0, "dfl-port.1"): ""})
}

func TestAKubeletThatDoesNotAnswerKeepsNewNamesBack(t *testing.T) {
	h := newHost(t, fpga.ModeAF, fpga.GrantNRI, "dfl:ports=2")
	h.kubelet.set(func(k *kubelet) { k.err = errors.New("deadline exceeded") })
	const why = "who holds it is not known: deadline exceeded"
	h.want(map[string]string{on(afNLB0, "dfl-port.0"): why, on(afNLB0, "dfl-port.1"): why})
	if h.kubelet.asked != 1 {
		t.Errorf("asked %d times in one scan", h.kubelet.asked)
	}
	if len(h.Watch().Values) != 0 {
		t.Error("the next audits would look at values only")
	}
	h.kubelet.set(func(k *kubelet) { k.err = nil })
	h.want(map[string]string{on(afNLB0, "dfl-port.0"): "", on(afNLB0, "dfl-port.1"): ""})
	// A name that goes on needs no asking, so a kubelet that falls silent later takes nothing away.
	h.kubelet.set(func(k *kubelet) { k.err = errors.New("deadline exceeded") })
	h.setAFU("dfl-port.1", nlb3)
	h.want(map[string]string{on(afNLB0, "dfl-port.0"): "", on(afNLB3, "dfl-port.1"): why})
}

func TestWithoutAKubeletAllIsOfferedAndAskedAboutWhenOneComes(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	h.kubelet.set(func(k *kubelet) { k.absent, k.holds = true, holds("ns/pod", afNLB0, "dfl-port.0") })
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	if h.kubelet.asked != 0 {
		t.Error("a kubelet that is not there was asked")
	}
	folders := h.Watch().Folders
	last := folders[len(folders)-1]
	if last.Path != h.root.Join("/var/lib/kubelet/pod-resources") || !last.Match("kubelet.sock") || last.Match("other") {
		t.Errorf("the coming of the kubelet's socket is not watched: %+v", folders)
	}
	h.kubelet.set(func(k *kubelet) { k.absent = false })
	h.want(map[string]string{on(region, "dfl-fme.0"): "held by ns/pod as " + afNLB0})
}

// After a reboot a kubelet answers before it has heard of the pods that hold devices.
func TestAYoungKubeletIsAskedAgain(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	h.kubelet.set(func(k *kubelet) { k.age = time.Second })
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	if len(h.Watch().Values) != 0 {
		t.Error("the next audits would look at values only")
	}
	h.kubelet.set(func(k *kubelet) { k.age, k.holds = 6*time.Second, holds("ns/pod", afNLB0, "dfl-port.0") })
	h.want(map[string]string{on(region, "dfl-fme.0"): "held by ns/pod as " + afNLB0})
	h.kubelet.set(func(k *kubelet) { k.age, k.holds = time.Minute, nil })
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	asked := h.kubelet.asked
	h.scan()
	if h.kubelet.asked != asked || len(h.Watch().Values) == 0 {
		t.Error("what is certain is asked about again")
	}
}

func TestWithoutPodResourcesNobodyIsAsked(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	h.config.Kubelet = nil
	h.restart(fpga.ModeRegion)
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	for _, f := range h.Watch().Folders {
		if strings.Contains(f.Path, "pod-resources") {
			t.Errorf("%s is watched for nothing", f.Path)
		}
	}
}

// The kubelet admits a pod while a port gets another function: whatever comes first, the port has one name.
func TestAnAllocationWhileTheNameChangesIsRefusedOrCounts(t *testing.T) {
	synctest.Test(t, allocationsWhileTheNameChanges)
}

func allocationsWhileTheNameChanges(t *testing.T) {
	h := newHost(t, fpga.ModeAF, fpga.GrantNRI, "dfl")
	old := h.devices(afNLB0)

	// After the scan has seen the new name: refused, although the kubelet has not heard of it.
	h.setAFU("dfl-port.0", nlb3)
	h.kubelet.onList = func() {
		if _, err := h.Allocate(t.Context(), afNLB0, old); err == nil || !strings.Contains(err.Error(), "device dfl-port.0 is "+afNLB3+" now") {
			t.Errorf("allocation under the old name: %v", err)
		}
	}
	h.want(map[string]string{on(afNLB3, "dfl-port.0"): ""})
	h.kubelet.onList = nil

	// Just before: the kubelet does not list it yet, and it counts all the same.
	if _, err := h.Allocate(t.Context(), afNLB3, h.devices(afNLB3)); err != nil {
		t.Fatal(err)
	}
	h.SetMode(fpga.ModeRegion)
	h.want(map[string]string{on(region, "dfl-fme.0"): "held by a pod that is being admitted as " + afNLB3})
	time.Sleep(fpga.Admission)
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
}

func TestAnAllocationOfADeviceThatFellSickIsRefused(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl", "dfl")
	devices := h.devices(region)
	h.setInterface("dfl-fme.1", ones)
	h.scan()
	if _, err := h.Allocate(t.Context(), region, devices); err == nil || !strings.Contains(err.Error(), "device dfl-fme.1 is unhealthy: its interface id") {
		t.Errorf("allocation: %v", err)
	}
	if _, err := h.Allocate(t.Context(), region, devices[:1]); err != nil {
		t.Error(err)
	}
}
