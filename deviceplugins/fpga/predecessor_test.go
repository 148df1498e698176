package fpga_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/unixsock"
)

// crihook is a CDI file as the device plugin before Inlay wrote it.
func crihook(fme string) string {
	return "cdiVersion: 0.5.0\nkind: intel.cdi.k8s.io/fpga\ndevices:\n- name: " + fme +
		"\n  containerEdits:\n    hooks:\n    - hookName: createRuntime\n      path: /opt/intel/fpga-sw/intel-fpga-crihook\n"
}

func (h *host) putCDI(device, text string) {
	h.t.Helper()
	if err := os.MkdirAll(h.config.CDIDir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.config.CDIDir, "intel.cdi.k8s.io-fpga-"+device+".yaml"), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// The kubelet repeats an earlier plugin's answer when a container restarts: the device that it names must be there, and
// it must stop the container with words.
func TestTheCDIDevicesOfAnEarlierPluginStopContainers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mode    fpga.Mode
		grant   fpga.Grant
		cards   []string
		present []string // files of the earlier plugin
		want    []string // devices
	}{
		{"after a reboot", fpga.ModeRegion, fpga.GrantNRI, []string{"dfl", "dfl"}, nil, []string{"dfl-fme.0", "dfl-fme.1"}},
		{"with its files", fpga.ModeRegion, fpga.GrantNRI, []string{"dfl"}, []string{"dfl-fme.0"}, []string{"dfl-fme.0"}},
		{"of cards that have other numbers now", fpga.ModeRegion, fpga.GrantNRI, []string{"dfl"}, []string{"dfl-fme.3", "intel-fpga-fme.0"}, []string{"dfl-fme.0", "dfl-fme.3", "intel-fpga-fme.0"}},
		{"in another mode", fpga.ModeAF, fpga.GrantNRI, []string{"opae"}, []string{"intel-fpga-fme.0"}, []string{"intel-fpga-fme.0"}},
		{"without NRI", fpga.ModeRegion, fpga.GrantAllocate, []string{"dfl"}, []string{"dfl-fme.0"}, []string{"dfl-fme.0"}},
		{"where nothing is offered", fpga.ModeRegion, fpga.GrantAllocate, []string{"dfl:ports=2"}, []string{"dfl-fme.0"}, []string{"dfl-fme.0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, tt.mode, tt.grant, tt.cards...)
			for _, fme := range tt.present {
				h.putCDI(fme, crihook(fme))
			}
			h.scan()
			seconds := 10
			for _, fme := range tt.want {
				want := &oci.Hooks{CreateRuntime: []oci.Hook{{
					Path: "/opt/inlay/bin/inlay-hook", Args: []string{"inlay-hook", "gate", "--earlier", fme}, Timeout: &seconds,
				}}}
				if diff := cmp.Diff(want, injected(t, h, "intel.cdi.k8s.io/fpga="+fme)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", fme, diff)
				}
			}
			files, err := filepath.Glob(h.config.CDIDir + "/intel.cdi.k8s.io-fpga-*-fme.*.yaml")
			if err != nil || len(files) != len(tt.want) {
				t.Errorf("files %q, %v", files, err)
			}
		})
	}
}

func TestWhatIsNotAnEarlierPluginsFileStays(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	others := []string{"dfl-port.0", "dfl-fme.x", "gate-2", "mine"}
	for _, name := range others {
		h.putCDI(name, "theirs")
	}
	h.scan()
	for _, name := range others {
		b, err := os.ReadFile(filepath.Join(h.config.CDIDir, "intel.cdi.k8s.io-fpga-"+name+".yaml"))
		if err != nil || string(b) != "theirs" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestANodeWithoutCardsKeepsItsCDIFolder(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI)
	h.putCDI("dfl-fme.0", crihook("dfl-fme.0"))
	h.scan()
	files, err := os.ReadDir(h.config.CDIDir)
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// endpoint is a device plugin as a prober sees it.
type endpoint struct {
	v1beta1.UnimplementedDevicePluginServer
	options *v1beta1.DevicePluginOptions
}

func (e endpoint) GetDevicePluginOptions(context.Context, *v1beta1.Empty) (*v1beta1.DevicePluginOptions, error) {
	return e.options, nil
}

// serve serves a device plugin's socket until the returned function is called.
func (h *host) serve(name string, options *v1beta1.DevicePluginOptions) (stop func()) {
	h.t.Helper()
	if err := os.MkdirAll(h.config.Plugins, 0o755); err != nil {
		h.t.Fatal(err)
	}
	l, err := unixsock.Listen(filepath.Join(h.config.Plugins, name))
	if err != nil {
		h.t.Fatal(err)
	}
	server := grpc.NewServer()
	v1beta1.RegisterDevicePluginServer(server, endpoint{options: options})
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	stop = sync.OnceFunc(func() {
		server.Stop()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(stop)
	return stop
}

// reasons are what the last scan reports, as "<file>: <reason>".
func (h *host) reasons() []string {
	h.t.Helper()
	_, skipped := h.scan()
	var lines []string
	for _, s := range skipped {
		lines = append(lines, filepath.Base(s.Path)+": "+s.Reason)
	}
	return lines
}

const endIt = "delete its DaemonSet (kubectl get daemonset -A -l app=intel-fpga-plugin,app.kubernetes.io/part-of!=inlay)"

func TestAnotherPluginThatServesTheCardsIsNamed(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	ours := h.serve("fpga.intel.com-region-"+iface+".sock", &v1beta1.DevicePluginOptions{PreStartRequired: true})
	theirs := h.serve("fpga.intel.com-af-695.d84.x.sock", &v1beta1.DevicePluginOptions{})
	h.serve("gpu.intel.com-i915.sock", &v1beta1.DevicePluginOptions{})
	want := []string{"fpga.intel.com-af-695.d84.x.sock: another FPGA device plugin serves it, so this node's cards are given out twice: " + endIt}
	if diff := cmp.Diff(want, h.reasons()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(h.Watch().Values) != 0 {
		t.Error("the next audits would not look whether it has gone")
	}
	if !slices.ContainsFunc(h.Watch().Folders, func(f plugin.Folder) bool {
		return f.Path == h.config.Plugins && f.Match("fpga.intel.com-x.sock") && !f.Match("kubelet.sock") && !f.Match("gpu.intel.com-i915.sock")
	}) {
		t.Error("the kubelet's folder is not watched")
	}
	findings := h.Diagnose(t.Context())
	if len(findings) != 1 || findings[0].Path != filepath.Join(h.config.Plugins, "fpga.intel.com-af-695.d84.x.sock") ||
		findings[0].Remedy != "kubectl get daemonset -A -l app=intel-fpga-plugin,app.kubernetes.io/part-of!=inlay" {
		t.Errorf("%+v", findings)
	}
	outside, _, err := h.ReadOnly().Scan(t.Context())
	if err != nil || len(outside[region]) != 1 {
		t.Errorf("a look from outside: %v, %v", outside, err)
	}

	theirs() // its socket may stay
	if got := h.reasons(); len(got) != 0 {
		t.Errorf("after it has ended: %q", got)
	}
	// The same name under another server is asked anew.
	ours()
	h.serve("fpga.intel.com-region-"+iface+".sock", &v1beta1.DevicePluginOptions{})
	if got := h.reasons(); len(got) != 1 {
		t.Errorf("the other plugin took our name: %q", got)
	}
}

// Each of the two plugins knows only of what it gave away itself: the kubelet is asked as long as both serve.
func TestWhatAnotherPluginGaveAwayIsNotOffered(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	h.kubelet.set(func(k *kubelet) { k.holds = holds("ns/theirs", afNLB0, "dfl-port.0") })
	h.want(map[string]string{on(region, "dfl-fme.0"): ""}) // nobody but us could have: not asked
	stop := h.serve("fpga.intel.com-af-695.d84.x.sock", &v1beta1.DevicePluginOptions{})
	h.want(map[string]string{on(region, "dfl-fme.0"): "held by ns/theirs as " + afNLB0})
	stop()
	h.want(map[string]string{on(region, "dfl-fme.0"): "held by ns/theirs as " + afNLB0})
	h.kubelet.set(func(k *kubelet) { k.holds = nil })
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
}

// A CDI file that somebody writes anew is a sign that its writer runs; one that was there at first is not.
func TestAPluginThatWritesItsCDIFileAgainIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
		h.config.Plugins = ""
		h.restart(fpga.ModeRegion)
		h.putCDI("dfl-fme.0", crihook("dfl-fme.0"))
		if got := h.reasons(); len(got) != 0 {
			t.Errorf("for a file of before: %q", got)
		}
		if e := h.logs.LastEntry(); e == nil || !strings.Contains(e.Message, "the CDI file of an earlier FPGA plugin is taken over") {
			t.Errorf("log: %v", e)
		}
		h.putCDI("dfl-fme.0", "cdiVersion: 0.3.0\n") // damaged, by nobody in particular
		if got := h.reasons(); len(got) != 0 {
			t.Errorf("for a damaged file: %q", got)
		}
		h.putCDI("dfl-fme.0", crihook("dfl-fme.0"))
		want := []string{"intel.cdi.k8s.io-fpga-dfl-fme.0.yaml: another FPGA device plugin writes it anew: " + endIt}
		if diff := cmp.Diff(want, h.reasons()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, h.reasons()); diff != "" {
			t.Errorf("a scan later (-want +got):\n%s", diff)
		}
		if got := injected(t, h, "intel.cdi.k8s.io/fpga=dfl-fme.0"); !slices.Contains(got.CreateRuntime[0].Args, "--earlier") {
			t.Errorf("the file is not ours again: %+v", got)
		}
		time.Sleep(11 * time.Minute)
		if got := h.reasons(); len(got) != 0 {
			t.Errorf("when it is long ago: %q", got)
		}
	})
}

func TestWhatAnEarlierSystemLeftIsTold(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	for file, text := range map[string]string{
		"/opt/intel/fpga-sw/intel-fpga-crihook":                  "\x7fELF",
		"/opt/intel/fpga-sw/intel-fpga-crihook.json":             `{"hook":"/opt/intel/fpga-sw/intel-fpga-crihook","stage":["prestart"],"annotation":["fpga.intel.com/region"]}`,
		"/usr/share/containers/oci/hooks.d/site.json":            `{"hook":{"path":"/opt/intel/fpga-sw/intel-fpga-crihook"}}`,
		"/usr/share/containers/oci/hooks.d/other.json":           `{"hook":{"path":"/usr/bin/other"}}`,
		"/usr/share/containers/oci/hooks.d/intel-fpga-crihook.d": `intel-fpga-crihook`,
	} {
		if err := os.MkdirAll(filepath.Dir(h.root.Join(file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.root.Join(file), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir := h.root.Join("/etc/containers/oci/hooks.d")
	for name, target := range map[string]string{"intel-fpga-crihook.json": "/opt/intel/fpga-sw/intel-fpga-crihook.json", "intel-fpga-crihook-old.json": "/gone"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"rm /etc/containers/oci/hooks.d/intel-fpga-crihook-old.json",
		"rm /etc/containers/oci/hooks.d/intel-fpga-crihook.json",
		"rm /usr/share/containers/oci/hooks.d/site.json",
		"rm -r /opt/intel/fpga-sw",
	}
	var got []string
	for _, f := range h.Diagnose(t.Context()) {
		got = append(got, f.Remedy)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if lines := h.reasons(); len(lines) != 0 {
		t.Errorf("what lies there keeps the node from being ready: %q", lines)
	}
	h.scan()
	var told []string
	for _, e := range h.logs.AllEntries() {
		if remedy, ok := e.Data["remedy"].(string); ok {
			told = append(told, remedy)
		}
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("log, once (-want +got):\n%s", diff)
	}
	if got := newHost(t, fpga.ModeRegion, fpga.GrantNRI).Diagnose(t.Context()); len(got) != 0 {
		t.Errorf("without a card: %v", got)
	}
}
