package fpga_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/internal/record"
)

func nodes(paths ...string) []*v1beta1.DeviceSpec {
	var list []*v1beta1.DeviceSpec
	for _, p := range paths {
		list = append(list, &v1beta1.DeviceSpec{HostPath: p, ContainerPath: p, Permissions: "rw"})
	}
	return list
}

func TestAllocateAnswers(t *testing.T) {
	const (
		key    = "allocated.fpga.intel.com/"
		kindAF = "af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs"
		kind   = "region-" + iface
	)
	gate := []*v1beta1.CDIDevice{{Name: "intel.cdi.k8s.io/fpga=gate"}}
	hook := []*v1beta1.CDIDevice{{Name: "intel.cdi.k8s.io/fpga=hook"}}
	for name, c := range map[string]struct {
		mode     fpga.Mode
		grant    fpga.Grant
		cards    []string
		resource string
		want     *v1beta1.ContainerAllocateResponse
	}{
		"af, nri": {fpga.ModeAF, fpga.GrantNRI, []string{"dfl:ports=2", "dfl"}, afNLB0, &v1beta1.ContainerAllocateResponse{
			CdiDevices:  gate,
			Annotations: map[string]string{key + kindAF: "dfl-port.0@0000:3b:00.0,dfl-port.1@0000:3b:00.0,dfl-port.2@0000:82:00.0"},
		}},
		"region, nri": {fpga.ModeRegion, fpga.GrantNRI, []string{"dfl:ports=2", "dfl"}, region, &v1beta1.ContainerAllocateResponse{
			CdiDevices:  gate,
			Annotations: map[string]string{key + kind: "dfl-fme.0@0000:3b:00.0,dfl-fme.1@0000:82:00.0"},
		}},
		"regiondevel, nri": {fpga.ModeRegiondevel, fpga.GrantNRI, []string{"dfl:ports=2"}, region, &v1beta1.ContainerAllocateResponse{
			CdiDevices:  gate,
			Annotations: map[string]string{key + kind: "dfl-fme.0@0000:3b:00.0"},
		}},
		"port on a VF, nri: the record has the FME's address": {
			fpga.ModeAF, fpga.GrantNRI,
			[]string{"dfl:ports=2,vf=1"},
			afNLB0,
			&v1beta1.ContainerAllocateResponse{
				CdiDevices:  gate,
				Annotations: map[string]string{key + kindAF: "dfl-port.0@0000:3b:00.0,dfl-port.2@0000:3b:00.0"},
			},
		},
		"af, allocate": {fpga.ModeAF, fpga.GrantAllocate, []string{"dfl:ports=2"}, afNLB0, &v1beta1.ContainerAllocateResponse{
			Devices: nodes("/dev/dfl-port.0", "/dev/dfl-port.1"), CdiDevices: hook,
			Annotations: map[string]string{key + kindAF: "dfl-port.0@0000:3b:00.0,dfl-port.1@0000:3b:00.0"},
		}},
		"region, allocate": {fpga.ModeRegion, fpga.GrantAllocate, []string{"opae", "opae"}, region, &v1beta1.ContainerAllocateResponse{
			Devices: nodes("/dev/intel-fpga-port.0", "/dev/intel-fpga-port.1"), CdiDevices: hook,
			Annotations: map[string]string{
				key + kind:            "intel-fpga-fme.0@0000:06:00.0,intel-fpga-fme.1@0000:42:00.0",
				"com.intel.fpga.mode": "fpga.intel.com/region",
			},
		}},
		"regiondevel, allocate: the FME comes last": {
			fpga.ModeRegiondevel, fpga.GrantAllocate,
			[]string{"dfl:ports=2"},
			region,
			&v1beta1.ContainerAllocateResponse{
				Devices: nodes("/dev/dfl-port.0", "/dev/dfl-port.1", "/dev/dfl-fme.0"), CdiDevices: hook,
				Annotations: map[string]string{key + kind: "dfl-fme.0@0000:3b:00.0"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, c.mode, c.grant, c.cards...)
			if strings.HasPrefix(name, "port on a VF") {
				c.want.Annotations[key+kindAF] = vfRecord(t, h)
			}
			got, err := h.Allocate(t.Context(), c.resource, h.devices(c.resource))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, err := record.Parse(got.Annotations); err != nil {
				t.Errorf("nobody could read the record: %v", err)
			}
		})
	}
}

// vfRecord is what the record of a card with one port on a VF must say: the ports' names are the tree's affair.
func vfRecord(t *testing.T, h *host) string {
	var parts []string
	for _, d := range h.devices(afNLB0) {
		parts = append(parts, d.ID+"@0000:3b:00.0")
	}
	if len(parts) != 2 {
		t.Fatalf("%d ports", len(parts))
	}
	return strings.Join(parts, ",")
}

func TestAnFMEWithSeveralPortsIsNotOfferedAsARegionWithoutNRI(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantAllocate, "dfl:ports=2", "dfl")
	inv, skipped := h.scan()
	if len(inv[region]) != 1 || inv[region][0].ID != "dfl-fme.1" {
		t.Errorf("offered %+v", inv)
	}
	if len(skipped) != 1 || !strings.Contains(skipped[0].String(), "dfl-fme.0: it has 2 ports") || !strings.Contains(skipped[0].Reason, "--fpga-grant allocate") {
		t.Errorf("left out: %v", skipped)
	}
}

func TestTheModeIsToldBeforeADeviceOfItIsOffered(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	told := func() string {
		b, err := os.ReadFile(h.root.Join("/run/inlay/node.json"))
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(b))
	}
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	if got := told(); got != `{"mode":"region","grant":"nri"}` {
		t.Errorf("told: %s", got)
	}
	h.SetMode(fpga.ModeRegiondevel)
	if got := told(); !strings.Contains(got, `"region"`) {
		t.Errorf("told before the old mode's devices are gone: %s", got)
	}
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	if got := told(); !strings.Contains(got, `"regiondevel"`) {
		t.Errorf("told: %s", got)
	}

	// A run folder that was taken away comes back.
	if err := os.RemoveAll(h.root.Join("/run/inlay")); err != nil {
		t.Fatal(err)
	}
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
	if got := told(); !strings.Contains(got, `"regiondevel"`) {
		t.Errorf("told: %s", got)
	}

	// Where it cannot be told nothing is given out.
	h.SetMode(fpga.ModeRegion)
	if err := os.RemoveAll(h.root.Join("/run/inlay")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.root.Join("/run/inlay"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.want(map[string]string{on(region, "dfl-fme.0"): "this node's mode cannot be told to inlay-nri: "})
	if err := os.Remove(h.root.Join("/run/inlay")); err != nil {
		t.Fatal(err)
	}
	h.want(map[string]string{on(region, "dfl-fme.0"): ""})
}

func TestANodeWithoutCardsIsLeftAsItIs(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI)
	if h.Present() {
		t.Error("a card is present")
	}
	h.want(map[string]string{})
	for _, dir := range []string{"/run/inlay", "/run/cdi"} {
		if left, err := os.ReadDir(h.root.Join(dir)); err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", dir, left, err)
		}
	}
}

// status answers on inlay-nri's socket.
func status(t *testing.T, h *host, s nristatus.Status) {
	t.Helper()
	socket := filepath.Join(h.config.RunDir, nristatus.SocketName)
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = json.NewEncoder(conn).Encode(s)
			conn.Close()
		}
	}()
}

func TestPreStartPassesOnlyWithInlayNRIConnected(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantNRI, "dfl")
	dir, err := os.MkdirTemp("", "pre") // the test's own folder is too long for a socket's address
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h.config.RunDir = dir
	h.restart(fpga.ModeRegion)
	for _, c := range []struct {
		name, want string
		arrange    func()
	}{
		{"absent", "no answer from inlay-nri", func() {}},
		{"not connected", "inlay-nri is not connected to the container runtime: connection refused", func() {
			status(t, h, nristatus.Status{LastError: "connection refused"})
		}},
		{"not synchronized", "not synchronized yet", func() {
			status(t, h, nristatus.Status{Connected: true, Runtime: "containerd", RuntimeVersion: "2.4.2"})
		}},
		{"connected", "", func() { status(t, h, nristatus.Status{Connected: true, Synchronized: true}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.arrange()
			err := h.PreStart(t.Context(), region, []string{"dfl-fme.0"})
			for tries := 1; tries < 3 && errors.Is(err, context.DeadlineExceeded); tries++ { // the product's patience is short
				err = h.PreStart(t.Context(), region, []string{"dfl-fme.0"})
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("PreStart: %v, want %q", err, c.want)
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		socket := filepath.Join(dir, nristatus.SocketName)
		_ = os.Remove(socket)
		l, err := net.Listen("unix", socket) // connections wait in its queue
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		began := time.Now()
		if err := h.PreStart(t.Context(), region, nil); err == nil || time.Since(began) > 2*time.Second {
			t.Errorf("PreStart: %v after %v", err, time.Since(began))
		}
	})
}

func TestPreStartRefusesWhileTheHookIsMissing(t *testing.T) {
	h := newHost(t, fpga.ModeRegion, fpga.GrantAllocate, "dfl")
	file := h.root.Join("/opt/inlay/bin/inlay-hook")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		arrange func() error
		ok      bool
	}{
		{"missing", func() error { return nil }, false},
		{"no program", func() error { return os.WriteFile(file, nil, 0o644) }, false},
		{"there", func() error { return os.Chmod(file, 0o755) }, true},
		{"a folder", func() error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.Mkdir(file, 0o755)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.arrange(); err != nil {
				t.Fatal(err)
			}
			err := h.PreStart(t.Context(), region, nil)
			if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "the hook that programs the FPGA is missing on this node") {
				t.Errorf("PreStart: %v", err)
			}
		})
	}
}
