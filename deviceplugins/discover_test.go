package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/gpu/health/healthtest"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// The samples of spec/fpga.md 1.7 with the devices that the old plugin would list, less its faults (8.1 to 8.3).
func TestDiscoverOnTheSampleTrees(t *testing.T) {
	device := func(resource, id string, numa int, nodes ...string) advertised {
		return advertised{
			Resource: resource, ID: id, Health: "Healthy", Nodes: nodes, Mounts: []string{}, Env: map[string]string{},
			Annotations: map[string]string{}, CDI: []string{}, NUMA: []int{numa},
		}
	}
	const fme, port = "/dev/dfl-fme.", "/dev/dfl-port."
	const ofme, oport = "/dev/intel-fpga-fme.", "/dev/intel-fpga-port."
	for tree, modes := range map[string]map[string][]advertised{
		"dfl-two-ports": {
			"af":          {device(afNLB0, "dfl-port.0", 0, port+"0"), device(afNLB3, "dfl-port.1", 0, port+"1")},
			"region":      {device(region, "dfl-fme.0", 0, port+"0", port+"1")},
			"regiondevel": {device(region, "dfl-fme.0", 0, port+"0", port+"1", fme+"0")},
		},
		"dfl-port-on-vf": {
			"af":          {device(afNLB0, "dfl-port.0", 0, port+"0"), device(afNLB3, "dfl-port.2", 0, port+"2")},
			"region":      {device(region, "dfl-fme.0", 0, port+"0", port+"2")},
			"regiondevel": {device(region, "dfl-fme.0", 0, port+"0", port+"2", fme+"0")},
		},
		"opae-two-cards": {
			"af":          {device(afNLB0, "intel-fpga-port.0", 0, oport+"0"), device(afNLB3, "intel-fpga-port.1", 1, oport+"1")},
			"region":      {device(region, "intel-fpga-fme.0", 0, oport+"0"), device(region, "intel-fpga-fme.1", 1, oport+"1")},
			"regiondevel": {device(region, "intel-fpga-fme.0", 0, oport+"0", ofme+"0"), device(region, "intel-fpga-fme.1", 1, oport+"1", ofme+"1")},
		},
		"opae-port-on-vf": {
			"af":          {device(afNLB0, "intel-fpga-port.0", 0, oport+"0"), device(afNLB3, "intel-fpga-port.2", 0, oport+"2")},
			"region":      {device(region, "intel-fpga-fme.0", 0, oport+"0"), device(region, "intel-fpga-fme.1", 0, oport+"2")},
			"regiondevel": {device(region, "intel-fpga-fme.0", 0, oport+"0", ofme+"0"), device(region, "intel-fpga-fme.1", 0, oport+"2", ofme+"1")},
		},
	} {
		root := golden(t, tree)
		for mode, want := range modes {
			t.Run(tree+" "+mode, func(t *testing.T) {
				before := listing(t, root)
				r := run(t, []string{"discover", "-o", "json", "--host-root", root, "--fpga-mode", mode})
				if r.code != 0 || r.stderr != "" {
					t.Errorf("exit %d, %s", r.code, r.stderr)
				}
				var got []advertised
				d := json.NewDecoder(strings.NewReader(r.stdout))
				d.DisallowUnknownFields()
				if err := d.Decode(&got); err != nil {
					t.Fatalf("%v:\n%s", err, r.stdout)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(before, listing(t, root)); diff != "" {
					t.Errorf("discover changed the tree:\n%s", diff)
				}
			})
		}
	}
}

// listing is every file of a tree with its time of change.
func listing(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil {
			files[path] = fmt.Sprint(st.Mode(), st.Size(), st.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Every tree of package card, odd ones first of all, in every mode and with both grants.
func TestDiscoverOnEveryTree(t *testing.T) {
	familytest.EachTree(t, "../fpga/card/testdata", 1, func(t *testing.T, name string) {
		dir := golden(t, name)
		var text bytes.Buffer
		for _, grant := range []fpga.Grant{fpga.GrantNRI, fpga.GrantAllocate} {
			for _, mode := range []fpga.Mode{fpga.ModeAF, fpga.ModeRegion, fpga.ModeRegiondevel} {
				fmt.Fprintf(&text, "# %s, --fpga-grant %s\n", mode, grant)
				describe(t, &text, dir, mode, grant)
			}
		}
		familytest.Compare(t, filepath.Join("testdata/discover", name+".txt"), text.String())
	})
}

// describe is what discover prints, a device a line.
func describe(t *testing.T, out *bytes.Buffer, dir string, mode fpga.Mode, grant fpga.Grant) {
	t.Helper()
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	log, _ := test.NewNullLogger()
	family := fpga.New(fpga.Config{Root: root, Grant: grant, Log: log}, mode).ReadOnly()
	list, skipped := discover(t.Context(), []plugin.Family{family})
	for _, a := range list {
		line, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(out, "%s\n", line)
	}
	for _, s := range skipped {
		fmt.Fprintf(out, "left out: %s\n", strings.ReplaceAll(s.String(), root.Dir()+"/", "/"))
	}
}

func TestDiscoverPrintsATable(t *testing.T) {
	root := emulated(t, "dfl:ports=2", "dfl:numa=-1")
	r := run(t, []string{"discover", "--host-root", root, "--fpga-mode", "region"})
	want := "RESOURCE                                                DEVICE     HEALTH   NUMA  NODES                            REASON\n" +
		region + "  dfl-fme.0  Healthy  0     /dev/dfl-port.0 /dev/dfl-port.1  \n" +
		region + "  dfl-fme.1  Healthy  -     /dev/dfl-port.2                  \n"
	if diff := cmp.Diff(ran{0, want, ""}, r, cmp.AllowUnexported(ran{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r = run(t, []string{"discover", "--host-root", emulated(t)})
	if r.code != 0 || r.stdout != "This node would advertise nothing.\n" || r.stderr != "" {
		t.Errorf("a node without cards: %+v", r)
	}
	r = run(t, []string{"discover", "-o", "json", "--host-root", emulated(t)})
	if r.code != 0 || strings.TrimSpace(r.stdout) != "[]" {
		t.Errorf("a node without cards: %+v", r)
	}
}

func TestDiscoverNamesWhatIsLeftOutOnStandardError(t *testing.T) {
	root := emulated(t, "dfl", "dfl")
	setAttr(t, compatOf(root, "dfl-fme.1"), ones)
	r := run(t, []string{"discover", "-o", "json", "--host-root", root, "--fpga-mode", "region"})
	var list []advertised
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list) != 1 || list[0].ID != "dfl-fme.0" {
		t.Errorf("%v: %s", err, r.stdout)
	}
	if r.code != 0 || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "left out: /sys/devices/") ||
		!strings.Contains(r.stderr, "/dfl-fme.1: its interface id reads as all ones") {
		t.Errorf("exit %d, standard error: %s", r.code, r.stderr)
	}
}

func TestDiscoverListsTheHookDeviceWithTheGrantAllocate(t *testing.T) {
	root := emulated(t, "dfl")
	r := run(t, []string{"discover", "-o", "json", "--host-root", root}, "INLAY_FPGA_MODE=region", "INLAY_FPGA_GRANT=allocate")
	var got []advertised
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err, r)
	}
	want := []advertised{{
		Resource: region, ID: "dfl-fme.0", Health: "Healthy", Nodes: []string{"/dev/dfl-port.0"}, Mounts: []string{}, Env: map[string]string{},
		Annotations: map[string]string{"com.intel.fpga.mode": "fpga.intel.com/region"}, CDI: []string{"intel.cdi.k8s.io/fpga=hook"}, NUMA: []int{0},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is printed is what the kubelet would hear, not all that a family has found.
func TestDiscoverLeavesOutWhatTheKubeletWouldNotTake(t *testing.T) {
	root := emulated(t)
	long := "/dev/dlb" + strings.Repeat("1", 70)
	for _, node := range []string{"/dev/dlb0", long} {
		if err := os.MkdirAll(filepath.Dir(root+node), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+node, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, []string{"discover", "-o", "json", "--host-root", root})
	var list []advertised
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list) != 1 || list[0].ID != "/dev/dlb0" || list[0].Health != "Healthy" {
		t.Errorf("%v: %s", err, r.stdout)
	}
	if want := "left out: dlb.intel.com/vf " + long + ": device id of 78 bytes, the kubelet takes 63\n"; r.code != 0 || r.stderr != want {
		t.Errorf("exit %d, standard error: %s", r.code, r.stderr)
	}
}

// What the daemon would advertise once it has asked a card's health, discover asks too, and so does the doctor.
func TestDiscoverAndDoctorAskForTheHealthOfGPUs(t *testing.T) {
	root := familytest.Tree(t, []byte(`
-- sys/class/drm/card0 --
-> ../../devices/pci0000:00/0000:00:02.0/drm/card0
-- sys/devices/pci0000:00/0000:00:02.0/vendor --
0x8086
-- sys/devices/pci0000:00/0000:00:02.0/drm/card0/device --
-> ../..
-- dev/dri/card0 --
`))
	service := healthtest.New(t)
	service.Tell(healthtest.Device{Address: "0000:00:02.0", Health: []healthtest.Status{{Name: "memory", Severity: 3, Reason: "ecc"}}})
	service.Start()
	r := run(t, []string{"discover", "-o", "json", "--host-root", root.Dir(), "--gpu-xpumd-endpoint", service.Socket})
	var got []advertised
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || len(got) != 1 || got[0].Health != plugin.Unhealthy ||
		got[0].Reason != "xpumd says critical: memory: ecc" {
		t.Errorf("%v: %+v", err, r)
	}
	r = run(t, []string{"doctor", "-o", "json", "--host-root", root.Dir(), "--gpu-xpumd-endpoint", service.Socket})
	var all []diagnosis
	want := plugin.Finding{
		Path: got[0].Resource + " " + got[0].ID, Reason: "unhealthy: xpumd says critical: memory: ecc", Remedy: "dmesg | grep 0000:00:02.0",
	}
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil || len(all) != 8 || all[1].Unhealthy != 1 || !slices.Contains(all[1].Findings, want) {
		t.Errorf("%v: %+v", err, r)
	}
}

// A sick card's VFs have the remedy that the family has for the card.
func TestTheDoctorTellsTheWayOutOfSickVFs(t *testing.T) {
	archive, err := os.ReadFile("qat/testdata/heartbeat.txtar")
	if err != nil {
		t.Fatal(err)
	}
	root := familytest.Tree(t, archive, hostfstest.PlainNodes())
	sick := 0
	for _, f := range said(t, root.Dir())["qat"] {
		if strings.HasPrefix(f.Reason, "unhealthy: ") {
			sick++
			if !strings.HasPrefix(f.Remedy, "echo on > ") {
				t.Errorf("%+v", f)
			}
		}
	}
	if sick != 2 {
		t.Errorf("%d sick VFs", sick)
	}
}
