package sgx

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

var update = flag.Bool("update", false, "write what is found as what is wanted")

// host is a node's tree.
type host struct {
	t    *testing.T
	dir  string
	root *hostfs.Root
}

func newHost(t *testing.T, archive string) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir()}
	if archive != "" {
		if err := hostfstest.ExtractFile(h.dir, archive, hostfstest.PlainNodes()); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if h.root, err = hostfs.New(h.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.root.Close() })
	return h
}

func (h *host) write(path, text string) {
	h.t.Helper()
	path = filepath.Join(h.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) remove(path string) {
	h.t.Helper()
	if err := os.Remove(filepath.Join(h.dir, path)); err != nil {
		h.t.Fatal(err)
	}
}

func few() Options {
	return Options{EnclaveLimit: 2, ProvisionLimit: 1, CDI: cdi.Auto}
}

func TestTrees(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no trees", err)
	}
	for _, archive := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".txtar"), func(t *testing.T) {
			root := newHost(t, archive).root
			infra := few()
			infra.DCAPInfraResources = true
			got := map[string]any{}
			for name, o := range map[string]Options{"usual": few(), "with dcap-infra-resources": infra} {
				inv, skipped := Discover(root, o)
				got[name] = map[string]any{"inventory": inv, "leftOut": skipped}
			}
			text, err := json.MarshalIndent(got, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			compare(t, strings.TrimSuffix(archive, "txtar")+"json", strings.ReplaceAll(string(text), root.Dir(), "")+"\n")
		})
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

func TestTheLimitIsOneAPodUnlessSaid_S2(t *testing.T) {
	h := newHost(t, "testdata/both-nodes.txtar")
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
	t.Setenv("PODS_PER_CORE", "0")
	zero := DefaultOptions().EnclaveLimit
	t.Setenv("PODS_PER_CORE", "3")
	if got := DefaultOptions().EnclaveLimit; zero != 110 || got%3 != 0 || got == 110 {
		t.Errorf("PODS_PER_CORE 0 gives %d, 3 gives %d", zero, got)
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
	kubelet := kubelettest.New(filepath.Join(h.dir, "k"))
	t.Cleanup(kubelet.Close)
	if err := kubelet.Start(); err != nil {
		t.Fatal(err)
	}
	engine, err := plugin.New(plugin.Config{Folder: kubelet.Folder(), Families: []plugin.Family{family}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- engine.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})

	await := func(resource string, n int) {
		t.Helper()
		if _, err := kubelet.Wait(t.Context(), resource, func(r kubelettest.Resource) bool { return r.Allocatable() == n }); err != nil {
			t.Fatal(err)
		}
	}
	h.write("dev/sgx_enclave", "")
	h.write("dev/sgx_provision", "")
	await("sgx.intel.com/enclave", 2)
	await("sgx.intel.com/provision", 1)
	answer, err := kubelet.Allocate(t.Context(), "sgx.intel.com/enclave", "sgx-enclave-1")
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
	engine.Kick("sgx")
	await("sgx.intel.com/enclave", 4)
	h.remove("dev/sgx_enclave")
	await("sgx.intel.com/enclave", 0)
}

func TestRegistrationComesWithItsCDIFile(t *testing.T) {
	h := newHost(t, "testdata/both-nodes.txtar")
	folder := filepath.Join(h.dir, "var/run/cdi")
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
	family = New(Config{Root: h.root, CDI: cdi.New(filepath.Join(h.dir, "var/blocked"), h.root)}, o)
	inv, skipped, err = family.Scan(t.Context())
	if err != nil || len(inv) != 3 || len(skipped) != 1 || skipped[0].Path != "sgx.intel.com/registration" {
		t.Errorf("%v, %v, %v", inv, skipped, err)
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
		archive string
		prepare func(*host)
		want    []string // in the reasons
	}{
		{"a processor without SGX", "", cpu("sse2"), nil},
		{"no /proc", "", func(*host) {}, nil},
		{"launch control locked", "", cpu("sgx"), []string{"sgx_lc"}},
		{"no driver", "", cpu("sgx sgx_lc"), []string{"CONFIG_X86_SGX"}},
		{"one node", "testdata/no-provision.txtar", cpu("sgx sgx_lc"), []string{"is missing"}},
		{"all is well", "testdata/both-nodes.txtar", cpu("sgx sgx_lc"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, tt.archive)
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
