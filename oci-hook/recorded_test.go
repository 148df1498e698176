package main

import (
	"os"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/record"
)

// rec is the annotation of one resource; devices are "<id>@<PCI address>".
func rec(resource string, devices ...string) map[string]string {
	return map[string]string{record.Key(resource): strings.Join(devices, ",")}
}

func merged(maps ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

func afResource(t *testing.T, afu fpga.AFUID) string {
	t.Helper()
	resource, err := fpga.AFResource(iface, afu)
	if err != nil {
		t.Fatal(err)
	}
	return resource
}

func TestTheRecordSaysWhichDevice(t *testing.T) {
	region := fpga.RegionResource(iface)
	af0, af3 := afResource(t, nlb0), afResource(t, nlb3)
	fme0, fme1 := "dfl-fme.0@"+card0, "dfl-fme.1@"+card1
	none := []string{"A=b"}
	for _, tt := range []struct {
		name        string
		mode        string
		node        func(*node)
		env         []string
		annotations map[string]string
		devices     []device
		wantErr     string
		ports       string
	}{
		{name: "one region", env: asks(nlb0), annotations: rec(region, fme0), devices: []device{port(0)}, ports: "dfl-port.0"},
		{name: "the second card", env: asks(nlb3), annotations: rec(region, fme1), devices: []device{port(1)}, ports: "dfl-port.1"},
		{name: "two cards", env: asks(nlb3, nlb0), annotations: rec(region, fme0, fme1), devices: []device{port(0), port(1)}, ports: "dfl-port.0 dfl-port.1"},
		{name: "a privileged container gets its own card only", env: asks(nlb3), annotations: rec(region, fme1), devices: []device{port(0), port(1), fme(0), fme(1)}, ports: "dfl-port.1"},
		{name: "a record for another device", env: asks(nlb3), annotations: rec(region, fme1), devices: []device{port(0)}, wantErr: "no port of the allocated device dfl-fme.1 is in linux.devices"},
		{name: "the right name, wrong numbers", env: asks(nlb0), annotations: rec(region, fme0), devices: []device{{"/dev/dfl-port.0", "c", 243, 1}}, wantErr: "no port of the allocated device dfl-fme.0"},
		{name: "one pair too many", env: asks(nlb0, nlb3), annotations: rec(region, fme0), devices: []device{port(0), port(1)}, wantErr: "interface " + iface + ": 2 functions asked for, 1 devices allocated"},
		{name: "one pair too few", env: asks(nlb0), annotations: rec(region, fme0, fme1), devices: []device{port(0), port(1)}, wantErr: "1 functions asked for, 2 devices allocated"},
		{name: "a function for another interface", env: []string{"FPGA_REGION_1=" + other, "FPGA_AFU_1=" + nlb0}, annotations: rec(region, fme0), devices: []device{port(0)}, wantErr: "interface " + other},
		{name: "no function", env: none, annotations: rec(region, fme0), devices: []device{port(0)}, wantErr: "device dfl-fme.0: no FPGA_REGION_n"},
		{name: "no function on a region node", mode: "region", env: none, annotations: rec(region, fme0), devices: []device{port(0), fme(0)}, wantErr: "device dfl-fme.0: this node's mode is region"},
		{name: "card renumbered", env: asks(nlb0), annotations: rec(region, "dfl-fme.0@"+card1), devices: []device{port(0)}, wantErr: "allocated device dfl-fme.0: …" + card0},
		{name: "device gone", env: asks(nlb0), annotations: rec(region, "dfl-fme.7@"+card0), devices: []device{port(0)}, wantErr: "function " + nlb0 + ": allocated device: dfl-fme.7: no such FPGA device"},
		{name: "interface changed", env: asks(nlb0), annotations: rec(fpga.RegionResource(other), fme0), devices: []device{port(0)}, wantErr: "allocated device dfl-fme.0: dfl-fme.0 has interface " + iface + ", not " + other},
		{name: "dead card", node: func(n *node) {
			n.set("dfl-fme.0", "dfl-fme-region.1/fpga_region/region1/compat_id", strings.Repeat("f", 32))
		}, env: asks(nlb0), annotations: rec(region, fme0), devices: []device{port(0)}, wantErr: "allocated device dfl-fme.0: …all ones"},
		{name: "a port as region", env: asks(nlb0), annotations: rec(region, "dfl-port.0@"+card0), devices: []device{port(0)}, wantErr: "dfl-port.0 is no device of region-"},
		{name: "a resource of nobody", env: asks(nlb0), annotations: rec("region-x", fme0), devices: []device{port(0)}, wantErr: `allocation record: "region-x"`},
		{name: "a malformed record", env: asks(nlb0), annotations: rec(region, "dfl-fme.0"), devices: []device{port(0)}, wantErr: "allocation record …is not <device>@<PCI address>"},
		{name: "a hostile record", env: asks(nlb0), annotations: rec(region, "../../dev/sda\n@"+card0), devices: []device{port(0)}, wantErr: "allocation record …is not <device>@<PCI address>"},
		{name: "an empty record", env: asks(nlb0), annotations: rec(region, ""), devices: []device{port(0)}, wantErr: "allocation record"},
		{name: "a forged record beside the true one", env: asks(nlb0), annotations: merged(rec(region, fme0), rec(af3, "dfl-port.1@"+card1)), devices: []device{port(0)}, wantErr: "af and region resources"},

		{name: "af", env: none, annotations: rec(af0, "dfl-port.0@"+card0), devices: []device{port(0)}, ports: "dfl-port.0"},
		{name: "af whose image sets variables", env: asks(nlb3), annotations: rec(af0, "dfl-port.0@"+card0), devices: []device{port(0)}, ports: "dfl-port.0"},
		{name: "af that holds something else", env: none, annotations: rec(af3, "dfl-port.0@"+card0), devices: []device{port(0)}, wantErr: "port dfl-port.0: function " + nlb3 + ": it holds " + nlb0},
		{name: "af without its node", env: none, annotations: rec(af0, "dfl-port.0@"+card0), devices: []device{port(1)}, wantErr: "dfl-port.0 is not in linux.devices"},
		{name: "af that is gone", env: none, annotations: rec(af3, "dfl-port.7@"+card0), devices: []device{port(0)}, wantErr: "function " + nlb3 + ": allocated device: dfl-port.7: no such FPGA device"},
		{name: "an FME as af", env: none, annotations: rec(af0, fme0), devices: []device{port(0)}, wantErr: "dfl-fme.0 is no device of af-"},

		{name: "regiondevel by its node", env: none, annotations: rec(region, fme0), devices: []device{port(0), fme(0)}, ports: "dfl-port.0"},
		{name: "regiondevel by the node's mode", mode: "regiondevel", env: none, annotations: rec(region, fme0, fme1), devices: []device{port(0), fme(0), port(1), fme(1)}, ports: "dfl-port.0 dfl-port.1"},
		{name: "a function on a regiondevel node", mode: "regiondevel", env: asks(nlb0), annotations: rec(region, fme0), devices: []device{port(0), fme(0)}, wantErr: "dfl-fme.0: this node's mode is regiondevel"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, "dfl", "dfl:afu="+nlb3).put(nlb0, nlb3)
			if tt.mode != "" {
				n.mode(tt.mode)
			}
			if tt.node != nil {
				tt.node(n)
			}
			ctr := container{env: tt.env, devices: tt.devices, annotations: tt.annotations}
			want(t, n.hook(ctr.state(t)), tt.wantErr)
			if tt.wantErr == "" {
				n.wantReadied(tt.ports)
			}
		})
	}
}

// Runtimes show annotations in config.json, in the state, or in both.
func TestARecordInTheStateCountsToo(t *testing.T) {
	n := newNode(t, "dfl", "dfl").put(nlb0)
	ctr := container{env: asks(nlb0), devices: []device{port(0), port(1)}, annotations: map[string]string{"a": "b"}}
	state := strings.Replace(ctr.state(t), "{", `{"annotations":{"`+record.Key(fpga.RegionResource(iface))+`":"dfl-fme.1@`+card1+`"},`, 1)
	want(t, n.hook(state), "")
	n.wantReadied("dfl-port.1")
}

func TestTwoRecordsThatDifferAreRefused(t *testing.T) {
	key := record.Key(fpga.RegionResource(iface))
	for inState, wantErr := range map[string]string{
		`"` + key + `":"dfl-fme.0@` + card0 + `"`:                              "",
		`"` + key + `":"dfl-fme.1@` + card1 + `"`:                              "allocation record " + key + `: config.json has "dfl-fme.0@` + card0 + `", the OCI state has "dfl-fme.1@` + card1 + `"`,
		`"` + key + `":"dfl-fme.0@` + card0 + `","` + record.Prefix + `x":"y"`: "allocation record " + record.Prefix + `x: config.json has "", the OCI state has "y"`,
		`"other":"x"`: "",
	} {
		n := newNode(t, "dfl", "dfl").put(nlb0)
		ctr := container{env: asks(nlb0), devices: []device{port(0), port(1)}, annotations: rec(fpga.RegionResource(iface), "dfl-fme.0@"+card0)}
		want(t, n.hook(strings.Replace(ctr.state(t), "{", `{"annotations":{`+inState+`},`, 1)), wantErr)
		if wantErr == "" {
			n.wantReadied("dfl-port.0")
		}
	}
}

func TestARegiondevelContainerLeavesItsPortsForeign(t *testing.T) {
	n := newNode(t, "dfl:ports=2", "dfl").put(nlb0).mode("regiondevel")
	ctr := container{env: []string{"A=b"}, devices: []device{port(0), port(1), fme(0)}, annotations: rec(fpga.RegionResource(iface), "dfl-fme.0@"+card0)}
	want(t, n.hook(ctr.state(t)), "")
	for file, foreign := range map[string]bool{"load-" + card0 + "-0.json": true, "load-" + card0 + "-1.json": true, "load-" + card1 + "-0.json": false} {
		b, err := os.ReadFile(n.path("run/inlay/" + file))
		if got := strings.Contains(string(b), `"state":"foreign"`); got != foreign {
			t.Errorf("%s: %s %v, foreign %t", file, b, err, foreign)
		}
	}
	// The function that such a port still shows is not believed: it would be programmed anew.
	n.mode("region")
	ctr = container{env: asks(nlb0), devices: []device{port(0)}}
	want(t, n.hook(ctr.state(t)), "port dfl-port.0: function "+nlb0+": partial reconfiguration")
}
