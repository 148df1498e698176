package fpga_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
)

func TestASickCardTurnsTheResourceUnhealthyThatItHad(t *testing.T) {
	for name, c := range map[string]struct {
		mode   fpga.Mode
		sicken func(h *host)
		heal   func(h *host)
		id     string
		was    string
		reason string
	}{
		"region, all ones": {
			fpga.ModeRegion, func(h *host) { h.setInterface("dfl-fme.0", ones) }, func(h *host) { h.setInterface("dfl-fme.0", iface) },
			"dfl-fme.0", region, "interface id reads as all ones",
		},
		"region, unreadable": {
			fpga.ModeRegion, func(h *host) { h.setInterface("dfl-fme.0", "") }, func(h *host) { h.setInterface("dfl-fme.0", iface) },
			"dfl-fme.0", region, "interface id cannot be read",
		},
		"region, no id any more": {
			fpga.ModeRegion, func(h *host) { h.setInterface("dfl-fme.0", "not hex") }, func(h *host) { h.setInterface("dfl-fme.0", iface) },
			"dfl-fme.0", region, "interface id cannot be read",
		},
		"regiondevel, all ones": {
			fpga.ModeRegiondevel, func(h *host) { h.setInterface("dfl-fme.0", ones) }, func(h *host) { h.setInterface("dfl-fme.0", iface) },
			"dfl-fme.0", region, "interface id reads as all ones",
		},
		"af, function all ones": {
			fpga.ModeAF, func(h *host) { h.setAFU("dfl-port.0", ones) }, func(h *host) { h.setAFU("dfl-port.0", nlb0) },
			"dfl-port.0", afNLB0, "afu_id reads as all ones",
		},
		"af, function unreadable": {
			fpga.ModeAF, func(h *host) { h.setAFU("dfl-port.0", "") }, func(h *host) { h.setAFU("dfl-port.0", nlb0) },
			"dfl-port.0", afNLB0, "afu_id cannot be read",
		},
		"af, interface all ones": {
			fpga.ModeAF, func(h *host) { h.setInterface("dfl-fme.0", ones) }, func(h *host) { h.setInterface("dfl-fme.0", iface) },
			"dfl-port.0", afNLB0, "interface id reads as all ones",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, c.mode, fpga.GrantNRI, "dfl")
			h.want(map[string]string{on(c.was, c.id): ""})
			c.sicken(h)
			for range 3 {
				h.want(map[string]string{on(c.was, c.id): c.reason})
			}
			c.heal(h)
			h.want(map[string]string{on(c.was, c.id): ""})
		})
	}
}

// What was offered while nobody could be asked is remembered all the same.
func TestWithoutAKubeletASickCardTurnsItsResourceUnhealthyToo(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	h.kubelet.set(func(k *kubelet) { k.absent = true })
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	h.setInterface("dfl-fme.0", ones)
	h.want(map[string]string{on(region, "dfl-fme.0"): "interface id reads as all ones"})
}

func TestASickPortTakesNoOtherDown(t *testing.T) {
	h := newHost(t, fpga.ModeAF, fpga.GrantNRI, "dfl:ports=2,afu="+nlb0+"/"+nlb3)
	h.want(map[string]string{on(afNLB0, "dfl-port.0"): "", on(afNLB3, "dfl-port.1"): ""})
	h.setAFU("dfl-port.0", ones)
	h.want(map[string]string{on(afNLB0, "dfl-port.0"): "all ones", on(afNLB3, "dfl-port.1"): ""})
}

func TestWhatAPortHoldsDoesNotMatterInRegionModes(t *testing.T) {
	for _, mode := range []fpga.Mode{fpga.ModeRegion, fpga.ModeRegiondevel} {
		h := newHost(t, mode, fpga.GrantNRI, "dfl:ports=2")
		for _, afu := range []string{ones, "", nlb3} {
			h.setAFU("dfl-port.1", afu)
			h.want(map[string]string{on(region, "dfl-fme.0"): ""})
		}
	}
}

func TestACardNeverSeenHealthyIsLeftOutWithTheReason(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl", "dfl")
	h.setInterface("dfl-fme.0", ones)
	inv, skipped := h.scan()
	if len(inv) != 1 || len(inv[region]) != 1 || inv[region][0].ID != "dfl-fme.1" {
		t.Errorf("offered: %+v", inv)
	}
	if len(skipped) != 1 || !strings.HasSuffix(skipped[0].Path, "/dfl-fme.0") || !strings.Contains(skipped[0].Reason, "all ones") {
		t.Errorf("left out: %v", skipped)
	}
	h.setInterface("dfl-fme.0", iface)
	h.want(map[string]string{on(region, "dfl-fme.0"): "", on(region, "dfl-fme.1"): ""})
}

func TestAfterARestartTheResourceOfASickCardComesFromTheKubelet(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	h.setInterface("dfl-fme.0", ones)
	h.kubelet.set(func(k *kubelet) { k.holds = holds("ns/pod", region, "dfl-fme.0") })
	h.restart(fpga.ModeRegion)
	h.want(map[string]string{on(region, "dfl-fme.0"): "all ones"})
	h.kubelet.set(func(k *kubelet) { k.holds = nil }) // remembered from here on
	h.want(map[string]string{on(region, "dfl-fme.0"): "all ones"})
	h.setInterface("dfl-fme.0", iface)
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
}

func TestASickCardIsAskedAboutUntilTheKubeletAnswers(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	h.setInterface("dfl-fme.0", ones)
	h.kubelet.set(func(k *kubelet) { k.err = errors.New("no answer") })
	if inv, skipped := h.scan(); len(inv) != 0 || len(skipped) != 1 {
		t.Errorf("offered %v, left out %v", inv, skipped)
	}
	if len(h.Watch().Values) != 0 {
		t.Error("the next audits would look at values only, and none of them changes")
	}
	h.kubelet.set(func(k *kubelet) { k.err, k.holds = nil, holds("ns/pod", region, "dfl-fme.0") })
	h.want(map[string]string{on(region, "dfl-fme.0"): "all ones"})
}

func TestASickCardTakesNoNameOfAnotherMode(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	h.setInterface("dfl-fme.0", ones)
	h.kubelet.set(func(k *kubelet) { k.holds = holds("ns/pod", afNLB0, "dfl-port.0") })
	if inv, skipped := h.scan(); len(inv) != 0 || len(skipped) != 1 {
		t.Errorf("offered %v, left out %v", inv, skipped)
	}
}

func TestACardThatIsGoneIsForgotten(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	class := h.root.Join("/sys/class/fpga_region")
	if err := os.Rename(class, class+".away"); err != nil {
		t.Fatal(err)
	}
	if inv, skipped := h.scan(); len(inv) != 0 || len(skipped) != 0 {
		t.Errorf("offered %v, left out %v", inv, skipped)
	}
	h.setInterface("dfl-fme.0", ones)
	if err := os.Rename(class+".away", class); err != nil {
		t.Fatal(err)
	}
	h.kubelet.set(func(k *kubelet) { k.absent = true })
	if inv, skipped := h.scan(); len(inv) != 0 || len(skipped) != 1 {
		t.Errorf("offered %v, left out %v", inv, skipped)
	}
}
