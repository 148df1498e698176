package fpga

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
	"github.com/inlay-project/inlay/internal/podresources"
	"github.com/inlay-project/inlay/internal/policy"
)

// good is a container that is granted on a node with two cards; each row of the tables below spoils one thing.
func good() createRequest { return createRequest{env: asks(nlb3), annotations: rec(regionType, fme0)} }

func TestEachRefusalNamesItsCause(t *testing.T) {
	allOnes := strings.Repeat("f", 32)
	af0, af3 := afResource(t, nlb0), afResource(t, nlb3)
	res := Domain + regionType
	for _, tt := range []struct {
		name    string
		host    func(*host)
		ctr     func(*createRequest)
		wantErr string
	}{
		// The record.
		{
			"record in a pod annotation", nil, func(c *createRequest) { c.podAnnotations = rec(regionType, fme1) },
			"the pod itself carries the annotation allocated.fpga.intel.com/region-…only the device plugin may set",
		},
		{
			"record in a pod annotation alone", nil, func(c *createRequest) { c.podAnnotations, c.annotations = c.annotations, nil },
			"the pod itself carries the annotation",
		},
		{"malformed record", nil, func(c *createRequest) { c.annotations = rec(regionType, "dfl-fme.0") }, "allocation record …is not <device>@<PCI address>"},
		{"hostile record", nil, func(c *createRequest) { c.annotations = rec(regionType, "../x\n@"+card0) }, "allocation record …is not <device>@"},
		{"resource of nobody", nil, func(c *createRequest) { c.annotations = rec("gpu", fme0) }, `allocation record: "gpu" is not the name`},
		{"the same device twice", nil, func(c *createRequest) {
			c.annotations = merged(rec(regionType, fme0), rec("region-"+other, fme0))
		}, "device dfl-fme.0 is in …too"},
		{"a port as region", nil, func(c *createRequest) { c.annotations = rec(regionType, "dfl-port.0@"+card0) }, "dfl-port.0 is no device of region-"},
		{"an FME as af", nil, func(c *createRequest) { c.annotations = rec(af0, fme0) }, "dfl-fme.0 is no device of af-"},
		// The device.
		{
			"card renumbered", nil, func(c *createRequest) { c.annotations = rec(regionType, "dfl-fme.0@"+card1) },
			"allocated device dfl-fme.0: it is another one now: …" + card0 + "…" + card1 + "…delete the pod",
		},
		{"device gone", nil, func(c *createRequest) { c.annotations = rec(regionType, "dfl-fme.7@"+card0) }, "allocated device dfl-fme.7: it is not there now"},
		{"node gone", func(h *host) { os.Remove(h.path("/dev/dfl-fme.0")) }, nil, "allocated device dfl-fme.0: it is not there now…no such file"},
		{
			"interface changed", nil, func(c *createRequest) { c.annotations = rec("region-"+other, fme0) },
			"allocated device dfl-fme.0: it is another one now: dfl-fme.0 has interface " + iface + ", not " + other,
		},
		{"sick card", func(h *host) { h.set("dfl-fme.0", compatID, allOnes) }, nil, "allocated device dfl-fme.0: …all ones: the card does not answer"},
		{"interface unreadable", func(h *host) { h.set("dfl-fme.0", compatID, "junk") }, nil, "allocated device dfl-fme.0: interface id of dfl-fme.0: "},
		{"sick port", func(h *host) { h.set("dfl-port.0", "afu_id", allOnes) }, nil, "allocated device dfl-fme.0: port dfl-port.0: afu_id reads as all ones"},
		{"port without function", func(h *host) { h.set("dfl-port.0", "afu_id", "") }, nil, "allocated device dfl-fme.0: port dfl-port.0: afu_id: "},
		{"no port", func(h *host) { h.set("dfl-port.0", "id", "") }, nil, "allocated device dfl-fme.0: it has no port"},
		{
			"sick af port", func(h *host) { h.set("dfl-port.0", "afu_id", allOnes) }, func(c *createRequest) { c.annotations = rec(af0, "dfl-port.0@"+card0) },
			"allocated device dfl-port.0: function " + nlb0 + ": afu_id reads as all ones",
		},
		{
			"af port reprogrammed", nil, func(c *createRequest) { c.annotations = rec(af3, "dfl-port.0@"+card0) },
			"allocated device dfl-port.0: function " + nlb3 + ": it holds " + nlb0 + " now",
		},
		{"af port gone", nil, func(c *createRequest) { c.annotations = rec(af0, "dfl-port.8@"+card0) }, "allocated device dfl-port.8: it is not there now"},
		// What is asked for.
		{"af and region", nil, func(c *createRequest) {
			c.annotations = merged(rec(regionType, fme0), rec(af0, "dfl-port.1@"+card1))
		}, "af and region resources, which do not go together"},
		{"one pair too many", nil, func(c *createRequest) { c.env = asks(nlb3, nlb0) }, "interface " + iface + ": 2 functions asked for, 1 devices allocated"},
		{"one pair too few", nil, func(c *createRequest) { c.annotations = rec(regionType, fme0, fme1) }, "1 functions asked for, 2 devices allocated"},
		{"a function for another interface", nil, func(c *createRequest) { c.env = []string{"FPGA_REGION_1=" + other, "FPGA_AFU_1=" + nlb3} }, "interface " + other + ": 1 functions asked for, 0 devices allocated"},
		{"half a pair", nil, func(c *createRequest) { c.env = append(asks(nlb3), "FPGA_REGION_2="+iface) }, "FPGA_REGION_2 is set, FPGA_AFU_2 is not"},
		{"a function without region", nil, func(c *createRequest) { c.env = []string{"FPGA_AFU_1=" + nlb3} }, "no FPGA_REGION_n variable"},
		{"a way out of the store", nil, func(c *createRequest) { c.env = asks("../../" + nlb3) }, "FPGA_AFU_1: function id"},
		// The node's mode.
		{"no function on a region node", nil, func(c *createRequest) { c.env = nil }, "this node's mode is region: a region comes with a function, and the container asks for none (FPGA_AFU_n)"},
		{"no function on an af node", func(h *host) { h.mode("af") }, func(c *createRequest) { c.env = nil }, "this node's mode is af: "},
		{"a function on a regiondevel node", func(h *host) { h.mode("regiondevel") }, nil, "this node's mode is regiondevel: it programs no functions, and the container asks for one"},
		{"mode unknown and no function", func(h *host) { os.Remove(h.path("/run/inlay/node.json")) }, func(c *createRequest) { c.env = nil }, "asks for no function (FPGA_AFU_n), and inlay-deviceplugin has not told this node's mode yet"},
		{"mode by flag", func(h *host) { h.c.Mode = "regiondevel" }, nil, "this node's mode is regiondevel"},
		// The kubelet.
		{
			"another pod's device", func(h *host) { h.kubelet("ns/pod/ctr "+res+" dfl-fme.0", "ns2/other/app "+res+" dfl-fme.0") }, nil,
			"allocated device dfl-fme.0: the kubelet says that pod ns2/other holds dfl-fme.0, as " + res,
		},
		{
			"its port under another name", func(h *host) { h.kubelet("ns/pod/ctr "+res+" dfl-fme.0", "ns2/other/app "+Domain+af0+" dfl-port.0") }, nil,
			"pod ns2/other holds dfl-port.0, as " + Domain + af0,
		},
		{
			"its FME under another name", func(h *host) { h.kubelet("ns/pod/ctr "+Domain+af0+" dfl-port.0", "ns2/other/app "+res+" dfl-fme.0") },
			func(c *createRequest) { c.annotations = rec(af0, "dfl-port.0@"+card0) }, "pod ns2/other holds dfl-fme.0, as " + res,
		},
		{
			"kubelet lists another device", func(h *host) { h.kubelet("ns/pod/ctr " + res + " dfl-fme.1") }, nil,
			"the kubelet lists [dfl-fme.1] of " + res + " for this container, its allocation record [dfl-fme.0]",
		},
		{"kubelet lists none", func(h *host) { h.kubelet("ns/pod/ctr") }, nil, "the kubelet lists [] of " + res},
		{"kubelet lists more", func(h *host) { h.kubelet("ns/pod/ctr " + res + " dfl-fme.0,dfl-fme.1") }, nil, "the kubelet lists [dfl-fme.0 dfl-fme.1]"},
		{"kubelet lists another resource too", func(h *host) {
			h.kubelet("ns/pod/ctr "+res+" dfl-fme.0", "ns/pod/ctr "+Domain+"region-"+other+" dfl-fme.1")
		}, nil, "the kubelet lists [dfl-fme.1] of " + Domain + "region-" + other + " for this container, its allocation record has none"},
		{
			"another pod's device for an init container", func(h *host) { h.kubelet("ns/pod/app", "ns/other/app "+res+" dfl-fme.0") },
			func(c *createRequest) { c.name = "init" }, "pod ns/other holds dfl-fme.0",
		},
		{
			"no kubelet", func(h *host) { h.c.Kubelet = podresources.Client{Socket: "/nonexistent/kubelet.sock"} }, nil,
			"whose the devices are cannot be checked: kubelet's podresources /nonexistent/kubelet.sock: ",
		},
		{"silent kubelet", func(h *host) { h.serve(&fakeKubelet{silent: true}) }, nil, "whose the devices are cannot be checked: kubelet's podresources"},
		// The policy.
		{"policy missing", func(h *host) { h.c.Policy = h.path("/nowhere/policy.json") }, nil, "nothing is granted: policy file is missing: …/nowhere/policy.json"},
		{"policy a folder", func(h *host) { h.c.Policy = h.path("/var") }, nil, "nothing is granted: policy file cannot be read: …/var is a folder, not a regular file"},
		{"policy too old", func(h *host) {
			p := policyOf("ns", function(policy.ModeRegion, iface, nlb3))
			p.Synced = time.Now().Add(-2 * time.Hour)
			h.allow(p)
			h.c.PolicyMaxAge = time.Hour
		}, nil, "nothing is granted: policy file is too old"},
		{"policy newer", func(h *host) { h.allow(policy.Policy{Format: policy.Format + 1}) }, nil, "nothing is granted: policy file has a newer format"},
		{"policy broken", func(h *host) {
			h.allow(policy.Policy{Format: 1})
			h.write("/var/lib/inlay/policy.json", "{", 0o600)
		}, nil, "nothing is granted: policy file is not JSON: "},
		{
			"policy of another namespace", func(h *host) { h.allow(policyOf("other", function(policy.ModeRegion, iface, nlb3))) }, nil,
			"namespace ns has no AcceleratorFunction of mode region for interface " + iface + ", function " + nlb3,
		},
		{
			"policy of another mode", func(h *host) { h.allow(policyOf("ns", function(policy.ModeAF, iface, nlb3))) }, nil,
			"namespace ns has no AcceleratorFunction of mode region for …; it has one of mode af",
		},
		{"policy of another function", func(h *host) { h.allow(policyOf("ns", function(policy.ModeRegion, iface, nlb0))) }, nil, "function " + nlb3},
		{"policy of another interface", func(h *host) { h.allow(policyOf("ns", function(policy.ModeRegion, other, nlb3))) }, nil, "interface " + iface},
		{
			"af by a mapping of mode region", func(h *host) { h.allow(policyOf("ns", function(policy.ModeRegion, iface, nlb0))) },
			func(c *createRequest) { c.annotations = rec(af0, "dfl-port.0@"+card0) }, "has no AcceleratorFunction of mode af for …; it has one of mode region",
		},
		{"regiondevel by a function's mapping", func(h *host) {
			h.mode("regiondevel")
			h.allow(policyOf("ns", function(policy.ModeRegion, iface, nlb3)))
		}, func(c *createRequest) { c.env = nil }, "namespace ns has no FpgaRegion for interface " + iface},
		{"a function by an FpgaRegion", func(h *host) {
			h.allow(policyOf("ns", policy.Namespace{Regions: []policy.Region{{Name: "r", Interface: iface}}}))
		}, nil, "has no AcceleratorFunction of mode region"},
		// The hook and the bitstream.
		{"hook missing", func(h *host) { os.Remove(h.path("/opt/inlay/bin/inlay-hook")) }, nil, "hook is missing on this node: …/opt/inlay/bin/inlay-hook"},
		{"hook of another version", func(h *host) { h.c.Hook.Path = "/opt/inlay/bin/inlay-hook-1.2.3" }, nil, "hook is missing on this node: …inlay-hook-1.2.3"},
		{"hook cannot be run", func(h *host) { h.write("/opt/inlay/bin/inlay-hook", "", 0o644) }, nil, "inlay-hook is not an executable file"},
		{"hook is a folder", func(h *host) { h.c.Hook.Path = "/opt/inlay/bin" }, nil, "/opt/inlay/bin is not an executable file"},
		{
			"bitstream absent", func(h *host) { os.Remove(h.path(h.c.Store + "/" + iface + "/" + nlb3 + ".gbs")) }, nil,
			"device dfl-fme.0: function " + nlb3 + ": bitstream …" + nlb3 + ".gbs: not found",
		},
		{"bitstream for another interface", func(h *host) {
			h.store(nlb3, bitstreamtest.GBS{Interface: other, AFU: nlb3}.Bytes())
		}, nil, "device dfl-fme.0: function " + nlb3 + ": …is for interface " + other},
		{"bitstream with another function", func(h *host) {
			h.store(nlb3, bitstreamtest.GBS{AFU: nlb0}.Bytes())
		}, nil, "device dfl-fme.0: function " + nlb3 + ": …holds function \"" + nlb0},
		{"bitstream broken", func(h *host) {
			h.store(nlb3, []byte("not a bitstream"))
		}, nil, "device dfl-fme.0: function " + nlb3 + ": bitstream "},
		{"bitstream too large", func(h *host) { h.c.MaxBitstream = 3 }, nil, "device dfl-fme.0: function " + nlb3 + ": bitstream "},
		// User namespaces.
		{"hostUsers: false", nil, func(c *createRequest) { c.userns = true }, "the pod has hostUsers: false and sees the host's /dev/dfl-port.0, mode 0600"},
		{"hostUsers: false, told of the pod", nil, func(c *createRequest) { c.podns = true }, "the pod has hostUsers: false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, "dfl", "dfl").put(nlb0, nlb3)
			c := good()
			if _, err := h.adjust(c); err != nil {
				t.Fatalf("refused before anything was spoilt: %v", err)
			}
			if tt.host != nil {
				tt.host(h)
			}
			if tt.ctr != nil {
				tt.ctr(&c)
			}
			h.refused(c, tt.wantErr)
		})
	}
}

func TestTwoRegionTypesNeedTheirOwnPairs(t *testing.T) {
	h := newHost(t, "dfl", "dfl:iface="+other).put(nlb0)
	if _, err := bitstreamtest.WriteGBS(h.path(h.c.Store), bitstreamtest.GBS{Interface: other, AFU: nlb3}); err != nil {
		t.Fatal(err)
	}
	both := merged(rec(regionType, fme0), rec(fpga.RegionResource(other), fme1))
	h.refused(createRequest{env: asks(nlb0, nlb3), annotations: both}, "interface "+iface+": 2 functions asked for, 1 devices allocated")
	h.refused(createRequest{env: asks(nlb0), annotations: both}, "interface "+other+": 0 functions asked for, 1 devices allocated")
	env := append(asks(nlb0), "FPGA_REGION_2="+other, "FPGA_AFU_2="+nlb3)
	want := "/dev/dfl-port.0 c 243:0 0666\n/dev/dfl-port.1 c 243:1 0666\nregion\n" +
		"dfl-port.0@" + card0 + "=" + iface + "/" + nlb0 + "\ndfl-port.1@" + card1 + "=" + other + "/" + nlb3 + "\n"
	if got := h.granted(createRequest{env: env, annotations: both}); got != want {
		t.Errorf("granted\n%s", got)
	}
}
