package qat_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/qat"
)

// Each test is named after a defect of the plugin that this family replaces, and fails on the described behaviour.

func TestVariablesAreNumberedForEachContainerInAddressOrder_Q1(t *testing.T) {
	h := newHost(t, "cap")
	devices := h.devices("qat.intel.com/dc")
	some := []plugin.Device{devices[12], devices[7], devices[1], devices[8]}
	want := map[string]string{"QAT0": "0000:6b:00.2", "QAT1": "0000:6b:01.0", "QAT2": "0000:6b:01.1", "QAT3": "0000:70:00.1"}
	for range 20 { // one container after the other, each asked for in another order
		answer, err := h.Allocate(t.Context(), "qat.intel.com/dc", some)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, answer.GetEnvs()); diff != "" {
			t.Fatal(diff)
		}
		some = append(some[1:], some[0])
	}
}

func TestServicesAndHeartbeatOfACardBehindBridges_Q2(t *testing.T) {
	h := newHost(t, "behind-bridges")
	h.want(map[string]string{"dc 0000:6d:00.1": "does not respond", "dc 0000:6d:00.2": "does not respond"})
}

func TestNoServicesAtAllAreGeneric_Q3(t *testing.T) {
	h := newHost(t, "empty-services")
	h.want(map[string]string{"generic 0000:6b:00.1": ""})
	h.write("/sys/devices/pci0000:6b/0000:6b:00.0/qat/state", "down")
	for _, text := range []string{"[GENERAL]\nServicesEnabled =\n", "[GENERAL]\nServicesEnabled = ;\n", "[GENERAL]\n", "\x00"} {
		h.write("/sys/kernel/debug/qat_4xxx_0000:6b:00.0/dev_cfg", text)
		h.want(map[string]string{"generic 0000:6b:00.1": ""})
	}
}

func TestABrokenVFTakesNothingElseDown_Q4(t *testing.T) {
	h := newHost(t, "broken-vfs")
	_, skipped := look(t, h.Family)
	if len(skipped) != 6 {
		t.Errorf("skipped: %v", skipped)
	}
	h.want(map[string]string{"dc 0000:6b:00.3": "", "dc 0000:6b:00.6": ""})
}

const (
	unbind4 = "/sys/bus/pci/drivers/4xxxvf/unbind"
	bindPCI = "/sys/bus/pci/drivers/vfio-pci/bind"
	vf1     = "/sys/devices/pci0000:6b/0000:6b:00.1"
	vf2     = "/sys/devices/pci0000:6b/0000:6b:00.2"
)

func TestAFailedBindingIsTriedAgainAndTakesNothingElseDown_Q4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, "gen4")
		h.write(bindPCI, "")
		h.write(bindPCI+"/is-a-folder", "so it cannot be written")
		for range 5 {
			h.want(map[string]string{"cy 0000:6b:00.1": ""})
		}
		_, skipped := look(t, h.Family)
		if len(skipped) != 1 || skipped[0].Path != vf2 || !strings.Contains(skipped[0].Reason, "cannot be bound to vfio-pci") {
			t.Errorf("skipped: %v", skipped)
		}
		if len(h.Watch().Values) != 0 {
			t.Error("the next audits would look at values only")
		}
		if n := len(h.logs.AllEntries()); n != 1 {
			t.Errorf("one failure is %d lines in the log", n)
		}
		h.write(bindPCI, "")
		h.write(bindPCI, "\n")
		h.want(map[string]string{"cy 0000:6b:00.1": ""}) // too early
		time.Sleep(6 * time.Second)
		h.want(map[string]string{"cy 0000:6b:00.1": "", "cy 0000:6b:00.2": ""})
		if got := h.read(bindPCI); got != "0000:6b:00.2" {
			t.Errorf("bind was told %q", got)
		}
	})
}

func TestTheOrderOfServicesDoesNotMatter_Q5(t *testing.T) {
	for services, want := range map[string]string{
		"sym;asym": "cy", "asym;sym": "cy", "sym;dc": "sym-dc", "dc;sym": "sym-dc", "asym;dc": "asym-dc", "dc;asym": "asym-dc",
		"dc": "dc", "sym": "sym", "asym": "asym", "dcc": "dcc", "decomp": "decomp", "cy": "cy", "cy;dc": "cy-dc", "dc;cy": "cy-dc",
		"decomp;sym": "sym-decomp", "asym;decomp": "asym-decomp", "sym;asym;dc": "asym-sym-dc", "dc;sym;asym": "asym-sym-dc",
		"decomp;sym;asym": "asym-sym-decomp", "sym-asym": "cy", "sym; asym\n": "cy", "sym;sym": "sym",
		"new;dc": "dc-new", "v2;sym": "sym-v2", "": "generic", " ": "generic", ";;": "generic", "-": "generic", "\x00": "generic",
		strings.Repeat("x", 63): strings.Repeat("x", 63),
	} {
		if got, err := qat.ServicesKind(services); got != want || err != nil {
			t.Errorf("%q: %s, %v, want %s", services, got, err, want)
		}
	}
	for _, services := range []string{
		"foo bar", "../x", "SYM;ASYM", "sym;dc # c", "ümlaut;sym", "_", "sym.dc", "sym;\xff", strings.Repeat("x", 64),
	} {
		if got, err := qat.ServicesKind(services); got != "" || err == nil {
			t.Errorf("%q: %s, %v", services, got, err)
		}
	}
	h := newHost(t, "services")
	if got := len(h.devices("qat.intel.com/sym-dc")); got != 2 {
		t.Errorf("%d devices of sym-dc", got)
	}
}

// What is no list of services made resources that nobody asks for: bar-foo, x, ASYM-SYM, sym-dc-c.
func TestACardWhoseServicesMakeNoSenseIsLeftOut(t *testing.T) {
	const pf = "/sys/devices/pci0000:6b/0000:6b:00.0"
	const devCfg = "/sys/kernel/debug/qat_4xxx_0000:6b:00.0/dev_cfg"
	h := newHost(t, "gen4")
	h.write(pf+"/qat/cfg_services", "../x\n")
	leftOut := func(reason string) {
		t.Helper()
		list, skipped := look(t, h.Family)
		if len(list) > 0 || len(skipped) != 2 || skipped[0].Path != vf1 || skipped[1].Path != vf2 || !strings.Contains(skipped[0].Reason, reason) {
			t.Errorf("%v, left out: %v, want %q", list, skipped, reason)
		}
	}
	leftOut(pf + `/qat/cfg_services: "../x" is no list of services`)
	if got := h.read(bindPCI); got != "\n" && got != "" {
		t.Errorf("bound all the same: %q", got)
	}
	findings := h.Diagnose(t.Context())
	if len(findings) != 1 || !strings.Contains(findings[0].Reason, "2 of 2 VFs") || !strings.Contains(findings[0].Remedy, "> "+pf+"/qat/cfg_services") {
		t.Errorf("doctor: %+v", findings)
	}
	h.write(pf+"/qat/state", "down")
	h.write(devCfg, "[GENERAL]\nServicesEnabled = sym;dc # c\n")
	leftOut(devCfg + `: "sym;dc # c" is no list of services`)
	h.write(pf+"/qat/state", "up")
	h.write(pf+"/qat/cfg_services", "sym\n")
	h.want(map[string]string{"sym 0000:6b:00.1": "", "sym 0000:6b:00.2": ""})
	h.write(pf+"/qat/cfg_services", "SYM\n") // a pod may hold one of them
	h.want(map[string]string{"sym 0000:6b:00.1": "no list of services", "sym 0000:6b:00.2": "no list of services"})
}

func TestTheMostThatIsOfferedIsSaidAndTheSameEachTime_Q6(t *testing.T) {
	h := newHost(t, "cap", "--qat-max-num-devices=11")
	want := map[string]string{}
	for i := range 11 {
		want[fmt.Sprintf("dc 0000:6b:%02d.%d", (i+1)/8, (i+1)%8)] = ""
	}
	for range 3 {
		h.want(want)
	}
	entries := h.logs.AllEntries()
	if len(entries) != 1 || entries[0].Message != "13 of 24 QAT VFs are left out, 0000:6b:01.4 and on: --qat-max-num-devices is 11" {
		t.Errorf("log: %v", entries)
	}
	o := options(t, "--qat-max-num-devices=24")
	if !h.Configure(o) || h.Configure(o) {
		t.Error("Configure does not tell a change from none")
	}
	if got := len(h.devices("qat.intel.com/dc")); got != 24 {
		t.Errorf("%d devices", got)
	}
}

// The script that came with the old plugin bound VFs only when it had created them itself.
func TestVFsThatSomebodyElseCreatedAreBound_Q8(t *testing.T) {
	h := newHost(t, "gen4")
	h.want(map[string]string{"cy 0000:6b:00.1": "", "cy 0000:6b:00.2": ""})
	for file, want := range map[string]string{
		unbind4: "0000:6b:00.2", bindPCI: "0000:6b:00.2", vf2 + "/driver_override": "vfio-pci", vf1 + "/driver_override": "",
		"/sys/bus/pci/drivers/vfio-pci/unbind": "", "/sys/bus/pci/drivers/4xxx/unbind": "",
	} {
		if got := h.read(file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

func TestTheKeyOfTheServicesIsServicesEnabled_Q10(t *testing.T) {
	h := newHost(t, "no-driver-link")
	h.write("/sys/kernel/debug/qat_4xxx_0000:6b:00.0/dev_cfg", "[GENERAL]\nServiceEnabled = sym\n")
	h.want(map[string]string{"generic 0000:6b:00.1": ""})
	h.write("/sys/kernel/debug/qat_4xxx_0000:6b:00.0/dev_cfg", "[GENERAL]\nServicesEnabled = sym\n")
	h.want(map[string]string{"sym 0000:6b:00.1": ""})
}

// Names, not only counts: without the PF's driver link the old plugin said generic.
func TestServicesOfACardWithoutDriverLink_Q11(t *testing.T) {
	newHost(t, "no-driver-link").want(map[string]string{"dc 0000:6b:00.1": ""})
}

// Every name that the specification of the resources lists comes out of some order of words, and each is legal.
func TestEveryResourceNameIsReached(t *testing.T) {
	h := newHost(t, "services")
	inv, _, err := h.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Collect(maps.Keys(inv))
	for _, want := range []string{
		"generic", "cy", "dc", "sym", "asym", "sym-dc", "asym-dc", "dcc", "decomp", "sym-decomp", "asym-decomp", "asym-sym-dc", "asym-sym-decomp",
	} {
		if !slices.Contains(got, qat.Domain+want) {
			t.Errorf("no %s among %v", want, got)
		}
	}
}
