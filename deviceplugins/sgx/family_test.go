package sgx

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// host is a node's tree.
type host struct {
	t    *testing.T
	root *hostfs.Root
}

// newHost makes a tree of testdata, "" one without files.
func newHost(t *testing.T, tree string) *host {
	t.Helper()
	h := &host{t: t}
	if tree == "" {
		h.root = familytest.Tree(t, nil)
	} else {
		h.root, _ = familytest.Golden(t, tree, hostfstest.PlainNodes())
	}
	return h
}

func (h *host) write(path, text string) {
	h.t.Helper()
	path = h.root.Join(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) remove(path string) {
	h.t.Helper()
	if err := os.Remove(h.root.Join(path)); err != nil {
		h.t.Fatal(err)
	}
}

func few() Options {
	return Options{EnclaveLimit: 2, ProvisionLimit: 1, CDI: cdi.Auto}
}

func TestTrees(t *testing.T) {
	familytest.EachTree(t, "testdata", 1, func(t *testing.T, name string) {
		root := newHost(t, name).root
		infra := few()
		infra.DCAPInfraResources = true
		got := map[string]any{}
		for name, o := range map[string]Options{"usual": few(), "with dcap-infra-resources": infra} {
			inv, skipped := Discover(root, o)
			got[name] = map[string]any{"inventory": inv, "leftOut": skipped}
		}
		familytest.Compare(t, "testdata/"+name+".json", strings.ReplaceAll(familytest.JSON(t, got), root.Dir(), ""))
	})
}

func TestTheLimitIsOneAPodUnlessSaid_S2(t *testing.T) {
	h := newHost(t, "both-nodes")
	for _, tt := range []struct {
		name               string
		env                string
		change             func(*Options)
		enclave, provision int
	}{
		{"one a pod of the kubelet's default (S2)", "", func(*Options) {}, 110, 110},
		{"given", "", func(o *Options) { o.EnclaveLimit, o.ProvisionLimit = 20, 3 }, 20, 3},
		{"none", "", func(o *Options) { o.EnclaveLimit = 0 }, 0, 110},
		{"PODS_PER_CORE that is no number", "many", func(*Options) {}, 110, 110},
		{"PODS_PER_CORE 3", "3", func(*Options) {}, 3 * runtime.NumCPU(), 3 * runtime.NumCPU()},
		{"PODS_PER_CORE 0", "0", func(*Options) {}, 0, 0},
		{"PODS_PER_CORE beyond all bounds", "99999999999", func(o *Options) { o.ProvisionLimit = 1 }, 100_000, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("PODS_PER_CORE", tt.env)
			o := DefaultOptions()
			tt.change(&o)
			inv, _ := Discover(h.root, o)
			if e, p := len(inv["sgx.intel.com/enclave"]), len(inv["sgx.intel.com/provision"]); e != tt.enclave || p != tt.provision {
				t.Errorf("%d and %d, want %d and %d", e, p, tt.enclave, tt.provision)
			}
		})
	}
}

// A variable of the kubelet's set-up must not keep the process from starting, whatever it says.
func TestThePodsOfACoreAreCountedAndBounded(t *testing.T) {
	for _, tt := range []struct {
		perCore    string
		processors int
		want       int
	}{
		{"", 8, 110},
		{"many", 8, 110},
		{"-1", 8, 110},
		{"1.5", 8, 110},
		{" 3", 8, 110},
		{"0", 8, 0},
		{"3", 8, 24},
		{"10", 8, 80},
		{"1024", 8, 8192},
		{"500", 200, 100_000},
		{"1023", 98, 100_000},
		{"100001", 1, 100_000},
		{"18446744073709551616", 512, 100_000},
	} {
		got := podsOf(tt.perCore, tt.processors)
		if got != tt.want {
			t.Errorf("PODS_PER_CORE=%s, %d processors: %d, want %d", tt.perCore, tt.processors, got, tt.want)
		}
		if err := (Options{EnclaveLimit: got, ProvisionLimit: got}).Validate(); err != nil {
			t.Errorf("PODS_PER_CORE=%s: %v", tt.perCore, err)
		}
	}
}

func TestMistakesInTheOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"sgx-enclave-limit: -1":       {EnclaveLimit: -1},
		"sgx-provision-limit: 100001": {ProvisionLimit: 100_001},
	} {
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
}

// S1: the old plugin looked once, at its start.
func TestADriverThatComesLaterOrGoesIsSeen_S1(t *testing.T) {
	h := newHost(t, "")
	h.write("dev/null", "")
	log := logrus.New()
	log.SetOutput(t.Output())
	family := New(Config{Root: h.root, Log: log}, few())
	n := familytest.NewNode(t, plugin.Config{Families: []plugin.Family{family}})
	n.Run()
	await := func(resource string, count int) {
		t.Helper()
		n.Wait(resource, strconv.Itoa(count), func(r kubelettest.Resource) bool { return r.Allocatable() == count })
	}
	h.write("dev/sgx_enclave", "")
	h.write("dev/sgx_provision", "")
	await("sgx.intel.com/enclave", 2)
	await("sgx.intel.com/provision", 1)
	answer, err := n.Allocate("sgx.intel.com/enclave", "sgx-enclave-1")
	if err != nil {
		t.Fatal(err)
	}
	if d := answer.GetDevices(); len(d) != 1 || d[0].GetHostPath() != "/dev/sgx_enclave" || d[0].GetPermissions() != "rw" {
		t.Errorf("devices %v", d)
	}
	if got := answer.GetAnnotations()["allocated.sgx.intel.com/enclave"]; got != "sgx-enclave-1" {
		t.Errorf("record %q", got)
	}
	if len(answer.GetCdiDevices()) > 0 {
		t.Errorf("CDI %v, and the node as well", answer.GetCdiDevices())
	}
	o := few()
	o.EnclaveLimit = 4
	if !family.Configure(o) || family.Configure(o) {
		t.Error("Configure does not tell a change")
	}
	n.Engine.Kick("sgx")
	await("sgx.intel.com/enclave", 4)
	h.remove("dev/sgx_enclave")
	await("sgx.intel.com/enclave", 0)
}

func TestRegistrationComesWithItsCDIFile(t *testing.T) {
	h := newHost(t, "both-nodes")
	folder := h.root.Join("/var/run/cdi")
	o := few()
	o.DCAPInfraResources = true
	family := New(Config{Root: h.root, CDI: cdi.New(folder, h.root)}, o)
	inv, skipped, err := family.Scan(t.Context())
	if err != nil || len(skipped) > 0 {
		t.Fatal(skipped, err)
	}
	answer, err := family.Allocate(t.Context(), "sgx.intel.com/registration", inv["sgx.intel.com/registration"])
	if err != nil || len(answer.GetCdiDevices()) != 1 || answer.GetCdiDevices()[0].GetName() != "intel.cdi.k8s.io/sgx=efivarfs" || len(answer.GetDevices()) != 2 {
		t.Errorf("%v, %v", answer, err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "intel.cdi.k8s.io-sgx-efivarfs.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"efivarfs", "/run/efivars", "nosuid", "noexec", "relatime"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}

	// A node that cannot be used for a moment: a container that has the device may be made anew.
	provision := h.root.Join("/dev/sgx_provision")
	if err := os.Rename(provision, provision+".away"); err != nil {
		t.Fatal(err)
	}
	if inv, skipped, err := family.Scan(t.Context()); err != nil || len(inv) > 0 || len(skipped) != 1 {
		t.Errorf("%v, %v, %v", inv, skipped, err)
	}
	if _, err := os.Stat(filepath.Join(folder, "intel.cdi.k8s.io-sgx-efivarfs.yaml")); err != nil {
		t.Error(err)
	}
	if err := os.Rename(provision+".away", provision); err != nil {
		t.Fatal(err)
	}

	// Not asked for any more: the file goes with the resource.
	o.DCAPInfraResources = false
	family.Configure(o)
	if inv, _, _ := family.Scan(t.Context()); len(inv) != 2 {
		t.Errorf("%v", inv)
	}
	if entries, _ := os.ReadDir(folder); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}

	// Where no file can be written the resource is left out, and nothing else.
	h.write("var/blocked", "")
	o.DCAPInfraResources = true
	family = New(Config{Root: h.root, CDI: cdi.New(h.root.Join("/var/blocked"), h.root)}, o)
	inv, skipped, err = family.Scan(t.Context())
	if err != nil || len(inv) != 3 || len(skipped) != 1 || skipped[0].Path != "sgx.intel.com/registration" {
		t.Errorf("%v, %v, %v", inv, skipped, err)
	}
	log, _ := test.NewNullLogger()
	for name, h := range map[string]*host{"no SGX": newHost(t, ""), "not asked for": h} { // then nobody misses the file
		o := o
		o.DCAPInfraResources = name == "no SGX"
		h.write("var/blocked", "")
		family = New(Config{Root: h.root, CDI: cdi.New(h.root.Join("/var/blocked"), h.root), Log: log}, o)
		if _, skipped, err := family.Scan(t.Context()); err != nil || len(skipped) > 0 {
			t.Errorf("%s: %v, %v", name, skipped, err)
		}
	}
	o.CDI = cdi.Off
	if inv, skipped := Discover(h.root, o); len(inv) != 3 || len(skipped) != 1 {
		t.Errorf("with CDI off: %v, %v", inv, skipped)
	}
}

func TestWhyNothingIsOffered(t *testing.T) {
	cpu := func(flags string) func(*host) {
		return func(h *host) {
			h.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: x\nflags\t\t: fpu vme "+flags+"\nbugs\t\t: none\n\nprocessor\t: 1\nflags\t\t: fpu\n")
		}
	}
	for _, tt := range []struct {
		name    string
		tree    string
		prepare func(*host)
		want    []string // in the reasons
	}{
		{"a processor without SGX", "", cpu("sse2"), nil},
		{"no /proc", "", func(*host) {}, []string{"whether the processor has it cannot be told: open "}},
		{"no /proc, and the nodes are there", "both-nodes", func(*host) {}, nil},
		{"a /proc/cpuinfo that is a folder", "", func(h *host) { h.write("proc/cpuinfo/x", "") }, []string{"is not a regular file"}},
		{"a processor of another kind", "", func(h *host) { h.write("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n") }, nil},
		{"many processors", "", func(h *host) {
			h.write("proc/cpuinfo", strings.Repeat("processor\t: 0\nflags\t\t: fpu sgx\n\n", 1<<16))
		}, []string{"sgx_lc"}},
		{"launch control locked", "", cpu("sgx"), []string{"sgx_lc"}},
		{"no driver", "", cpu("sgx sgx_lc"), []string{"CONFIG_X86_SGX"}},
		{"one node", "no-provision", cpu("sgx sgx_lc"), []string{"is missing"}},
		{"all is well", "both-nodes", cpu("sgx sgx_lc"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, tt.tree)
			tt.prepare(h)
			var got []string
			for _, f := range New(Config{Root: h.root}, few()).Diagnose(t.Context()) {
				got = append(got, f.Reason)
				if f.Remedy == "" || f.Path == "" {
					t.Errorf("no help: %+v", f)
				}
			}
			ok := func(want, got string) bool { return strings.Contains(got, want) }
			if !slices.EqualFunc(tt.want, got, ok) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// A limit of 0 offers nothing of what is there; where nothing is there it is not amiss.
func TestALimitOf0IsNamedWhereThereIsSGX(t *testing.T) {
	for _, tt := range []struct {
		tree               string
		enclave, provision int
		want               []string
	}{
		{"both-nodes", 0, 0, []string{"sgx-enclave-limit is 0", "sgx-provision-limit is 0"}},
		{"both-nodes", 2, 0, []string{"sgx-provision-limit is 0"}},
		{"both-nodes", 0, 1, []string{"sgx-enclave-limit is 0"}},
		{"both-nodes", 2, 1, nil},
		{"no-provision", 0, 0, []string{"it is missing, while the driver's other node is there"}},
		{"", 0, 0, nil},
	} {
		h := newHost(t, tt.tree)
		h.write("proc/cpuinfo", "flags\t\t: fpu\n")
		o := few()
		o.EnclaveLimit, o.ProvisionLimit = tt.enclave, tt.provision
		var got []string
		for _, f := range New(Config{Root: h.root}, o).Diagnose(t.Context()) {
			got = append(got, f.Reason)
			if limit, ok := strings.CutSuffix(f.Reason, " is 0"); ok && f.Remedy != "--"+limit+" 110" {
				t.Errorf("%+v", f)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q, limits %d and %d: %q, want %q", tt.tree, tt.enclave, tt.provision, got, tt.want)
		}
	}
}
