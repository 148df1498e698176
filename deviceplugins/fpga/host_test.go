package fpga_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/podresources"
)

// The ids of the specification's samples and the resources that they give.
const (
	iface = "69528db6eb31577a8c3668f9faa081f6"
	nlb0  = "d8424dc4a4a3c413f89e433683f9040b"
	nlb3  = "f7df405cbd7acf7222f144b0b93acd18"
	ones  = "ffffffffffffffffffffffffffffffff"

	region = "fpga.intel.com/region-" + iface
	afNLB0 = "fpga.intel.com/af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs"
	afNLB3 = "fpga.intel.com/af-695.f7d.aVKNtusxV3qMNmj5-qCB9vffQFy9es9yIvFEsLk6zRg"
)

// kubelet is a kubelet's podresources API in the test's hand.
type kubelet struct {
	mu     sync.Mutex
	absent bool
	age    time.Duration
	err    error
	holds  []podresources.Holding
	asked  int
	onList func()
}

func (k *kubelet) List(context.Context) (*podresources.Listing, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	if k.onList != nil {
		k.onList()
	}
	return &podresources.Listing{Holdings: k.holds}, k.err
}

func (k *kubelet) Age() (time.Duration, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.age, !k.absent
}

func (k *kubelet) set(f func(*kubelet)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k)
}

func holds(pod, resource string, ids ...string) []podresources.Holding {
	ns, name, _ := strings.Cut(pod, "/")
	return []podresources.Holding{{Namespace: ns, Pod: name, Container: "c", Resource: resource, Devices: ids}}
}

// host is an emulated node and the family that looks at it.
type host struct {
	*fpga.Family
	t       testing.TB
	root    *hostfs.Root
	kubelet *kubelet
	logs    *test.Hook
	config  fpga.Config
}

func newHost(t testing.TB, mode fpga.Mode, grant fpga.Grant, cards ...string) *host {
	t.Helper()
	dir := t.TempDir()
	var list []emulator.Card
	for _, text := range cards {
		c, err := emulator.ParseCard(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	if err := emulator.WriteTree(dir, list, emulator.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	log, logs := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	h := &host{t: t, root: root, kubelet: &kubelet{age: time.Hour}, logs: logs}
	h.config = fpga.Config{
		Root: root, Grant: grant, RunDir: root.Join("/run/inlay"), CDIDir: root.Join("/run/cdi"),
		Hook:    fpga.Hook{Root: root, Path: "/opt/inlay/bin/inlay-hook", Timeout: time.Minute},
		Kubelet: h.kubelet, PodResources: root.Join("/var/lib/kubelet/pod-resources/kubelet.sock"),
		Plugins: root.Join("/var/lib/kubelet/device-plugins"), Log: log,
	}.WithProbeLimit(10 * time.Second)
	h.restart(mode)
	return h
}

// restart makes the family anew, as a new process has it.
func (h *host) restart(mode fpga.Mode) { h.Family = fpga.New(h.config, mode) }

// write replaces an attribute of the tree; value "" makes it unreadable, as a folder in its place is.
func (h *host) write(hostPath, value string) {
	h.t.Helper()
	file := h.root.Join(hostPath)
	if err := os.RemoveAll(file); err != nil {
		h.t.Fatal(err)
	}
	var err error
	if value == "" {
		err = os.Mkdir(file, 0o755)
	} else {
		err = os.WriteFile(file, []byte(value+"\n"), 0o644)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// setAFU changes the function of a port, "dfl-port.0".
func (h *host) setAFU(port, id string) {
	h.t.Helper()
	dir, err := h.root.Resolve("/sys/bus/platform/devices/" + port)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(dir+"/afu_id", id)
}

// setInterface changes the interface id of an FME, in all of its regions.
func (h *host) setInterface(fme, id string) {
	h.t.Helper()
	dir, err := h.root.Resolve("/sys/bus/platform/devices/" + fme)
	if err != nil {
		h.t.Fatal(err)
	}
	files, err := filepath.Glob(h.root.Join(dir) + "/dfl-fme-region.*/fpga_region/region*/compat_id")
	if err != nil || len(files) == 0 {
		h.t.Fatalf("no compat_id below %s (%v)", dir, err)
	}
	for _, file := range files {
		path, err := h.root.HostPath(file)
		if err != nil {
			h.t.Fatal(err)
		}
		h.write(path, id)
	}
}

// scan looks once; nothing goes wrong with the look itself.
func (h *host) scan() (plugin.Inventory, []plugin.Skipped) {
	h.t.Helper()
	inv, skipped, err := h.Scan(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return inv, skipped
}

// want compares what is offered, "resource/id" to the reason why it is unhealthy ("" = healthy). A reason is a part of
// what is really said.
func (h *host) want(want map[string]string) {
	h.t.Helper()
	inv, _ := h.scan()
	got := map[string]string{}
	for resource, devices := range inv {
		for _, d := range devices {
			key := strings.TrimPrefix(resource, fpga.Domain) + " " + d.ID
			got[key] = d.Reason
			if (d.Health == plugin.Healthy) != (d.Reason == "") {
				h.t.Errorf("%s: health %s, reason %q", key, d.Health, d.Reason)
			}
			if part, ok := want[key]; ok && part != "" && strings.Contains(d.Reason, part) {
				got[key] = part
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("offered (-want +got):\n%s", diff)
	}
}

// on makes the key of want.
func on(resource, id string) string { return strings.TrimPrefix(resource, fpga.Domain) + " " + id }

// device gives what the last scan of its own offers as a device.
func (h *host) devices(resource string) []plugin.Device {
	h.t.Helper()
	inv, _ := h.scan()
	return inv[resource]
}
