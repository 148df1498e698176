package fpga

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/policy"
)

func TestWhatAContainerGets(t *testing.T) {
	af0, af3 := afResource(t, nlb0), afResource(t, nlb3)
	pairOf := func(port, address, fn string) string { return port + "@" + address + "=" + iface + "/" + fn }
	res := Domain + regionType
	for _, tt := range []struct {
		name  string
		cards []string
		host  func(*host)
		ctr   createRequest
		want  []string
	}{
		{
			name: "region: the port that is programmed, and no other", cards: []string{"dfl:ports=2", "dfl"},
			ctr:  createRequest{env: asks(nlb3), annotations: rec(regionType, fme0)},
			want: []string{"/dev/dfl-port.0 c 243:0 0666", "region", pairOf("dfl-port.0", card0, nlb3)},
		},
		{
			name: "region: the port that holds it already", cards: []string{"dfl:ports=2,afu=" + nlb0 + "/" + nlb3},
			ctr:  createRequest{env: asks(nlb3), annotations: rec(regionType, fme0)},
			want: []string{"/dev/dfl-port.1 c 243:1 0666", "region", pairOf("dfl-port.1", card0, nlb3)},
		},
		{
			name: "region: functions loaded on swapped cards stay where they are", cards: []string{"dfl:afu=" + nlb0, "dfl:afu=" + nlb3},
			ctr: createRequest{env: asks(nlb3, nlb0), annotations: rec(regionType, fme0, fme1)},
			want: []string{
				"/dev/dfl-port.1 c 243:1 0666", "/dev/dfl-port.0 c 243:0 0666", "region",
				pairOf("dfl-port.1", card1, nlb3), pairOf("dfl-port.0", card0, nlb0),
			},
		},
		{
			name: "region: a port on a virtual function", cards: []string{"dfl:ports=2,vf=1,afu=" + nlb0 + "/" + nlb3},
			ctr:  createRequest{env: asks(nlb3), annotations: rec(regionType, fme0)},
			want: []string{"/dev/dfl-port.2 c 243:2 0666", "region", pairOf("dfl-port.2", card0, nlb3)},
		},
		{
			name: "region: a card whose only port is on a virtual function", cards: []string{"dfl:vf=1"},
			ctr:  createRequest{env: asks(nlb3), annotations: rec(regionType, fme0)},
			want: []string{"/dev/dfl-port.1 c 243:1 0666", "region", pairOf("dfl-port.1", card0, nlb3)},
		},
		{
			name: "region: not the port that does not answer", cards: []string{"dfl:ports=2"},
			host: func(h *host) { h.set("dfl-port.0", "afu_id", strings.Repeat("f", 32)) },
			ctr:  createRequest{env: asks(nlb3), annotations: rec(regionType, fme0)},
			want: []string{"/dev/dfl-port.1 c 243:1 0666", "region", pairOf("dfl-port.1", card0, nlb3)},
		},
		{
			name: "region: the other driver", cards: []string{"opae"},
			ctr:  createRequest{env: asks(nlb3), annotations: rec(regionType, "intel-fpga-fme.0@0000:06:00.0")},
			want: []string{"/dev/intel-fpga-port.0 c 240:0 0666", "region", pairOf("intel-fpga-port.0", "0000:06:00.0", nlb3)},
		},
		{
			name: "region: a function that is asked for while the node's mode is unknown", cards: []string{"dfl"},
			host: func(h *host) { os.Remove(h.path("/run/inlay/node.json")) },
			ctr:  createRequest{env: asks(nlb3), annotations: rec(regionType, fme0)},
			want: []string{"/dev/dfl-port.0 c 243:0 0666", "region", pairOf("dfl-port.0", card0, nlb3)},
		},
		{
			name: "af: its ports", cards: []string{"dfl:ports=2,afu=" + nlb0 + "/" + nlb3, "dfl"},
			ctr: createRequest{annotations: merged(rec(af0, "dfl-port.0@"+card0, "dfl-port.2@"+card1), rec(af3, "dfl-port.1@"+card0))},
			want: []string{
				"/dev/dfl-port.0 c 243:0 0666", "/dev/dfl-port.2 c 243:2 0666", "/dev/dfl-port.1 c 243:1 0666", "af",
				pairOf("dfl-port.0", card0, nlb0), pairOf("dfl-port.2", card1, nlb0), pairOf("dfl-port.1", card0, nlb3),
			},
		},
		{
			name: "af: variables of the image do not matter", cards: []string{"dfl"},
			ctr:  createRequest{env: asks(nlb3), annotations: rec(af0, "dfl-port.0@"+card0)},
			want: []string{"/dev/dfl-port.0 c 243:0 0666", "af", pairOf("dfl-port.0", card0, nlb0)},
		},
		{
			name: "regiondevel: all ports, the FME last", cards: []string{"dfl:ports=2,vf=1"},
			host: func(h *host) { h.mode("regiondevel") },
			ctr:  createRequest{annotations: rec(regionType, fme0)},
			want: []string{
				"/dev/dfl-port.0 c 243:0 0666", "/dev/dfl-port.2 c 243:2 0666", "/dev/dfl-fme.0 c 242:0 0666", "regiondevel",
				pairOf("dfl-port.0", card0, ""),
			},
		},
		{
			name: "owned by the container's user", cards: []string{"dfl"},
			ctr:  createRequest{env: asks(nlb3), annotations: rec(regionType, fme0), user: &api.User{Uid: 1000, Gid: 2000}},
			want: []string{"/dev/dfl-port.0 c 243:0 0660 1000:2000", "region", pairOf("dfl-port.0", card0, nlb3)},
		},
		{
			name: "in a user namespace, where the host's node is open to all", cards: []string{"dfl"},
			host: func(h *host) { h.write("/dev/dfl-port.0", "", 0o666) },
			ctr:  createRequest{env: asks(nlb3), annotations: rec(regionType, fme0), userns: true},
			want: []string{"/dev/dfl-port.0 c 243:0 0666", "region", pairOf("dfl-port.0", card0, nlb3)},
		},
		{
			name: "what kubelet and policy agree on", cards: []string{"dfl", "dfl"},
			host: func(h *host) {
				h.kubelet("ns/pod/ctr "+res+" dfl-fme.1", "ns/pod/sidecar", "ns2/other/app "+res+" dfl-fme.0", "ns2/gpu/app gpu.intel.com/xe dfl-fme.1")
				h.allow(policyOf("ns", function(policy.ModeRegion, iface, nlb3)))
			},
			ctr:  createRequest{env: asks(nlb3), annotations: rec(regionType, fme1)},
			want: []string{"/dev/dfl-port.1 c 243:1 0666", "region", pairOf("dfl-port.1", card1, nlb3)},
		},
		{
			name: "an init container, which the kubelet never lists", cards: []string{"dfl"},
			host: func(h *host) { h.kubelet("ns/pod/app " + res + " dfl-fme.0") },
			ctr:  createRequest{name: "init", env: asks(nlb3), annotations: rec(regionType, fme0)},
			want: []string{"/dev/dfl-port.0 c 243:0 0666", "region", pairOf("dfl-port.0", card0, nlb3)},
		},
		{
			name: "regiondevel by an FpgaRegion", cards: []string{"dfl"},
			host: func(h *host) {
				h.c.Mode = "regiondevel"
				h.allow(policyOf("ns", policy.Namespace{Regions: []policy.Region{{Name: "r", Interface: iface}}}))
			},
			ctr:  createRequest{annotations: rec(regionType, fme0)},
			want: []string{"/dev/dfl-port.0 c 243:0 0666", "/dev/dfl-fme.0 c 242:0 0666", "regiondevel", pairOf("dfl-port.0", card0, "")},
		},
		{
			name: "af by its mapping", cards: []string{"dfl"},
			host: func(h *host) { h.allow(policyOf("ns", function(policy.ModeAF, iface, nlb0))) },
			ctr:  createRequest{annotations: rec(af0, "dfl-port.0@"+card0)},
			want: []string{"/dev/dfl-port.0 c 243:0 0666", "af", pairOf("dfl-port.0", card0, nlb0)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, tt.cards...).put(nlb0, nlb3)
			if tt.host != nil {
				tt.host(h)
			}
			if diff := cmp.Diff(strings.Join(tt.want, "\n")+"\n", h.granted(tt.ctr)); diff != "" {
				t.Errorf("grant (-want +got):\n%s", diff)
			}
			want := logrus.InfoLevel
			if h.c.Policy == "" {
				want = logrus.WarnLevel
			}
			if !h.logged(want, "granted") {
				t.Error("the grant is not in the log")
			}
		})
	}
}

// Between a container's PR and its next start nothing is believed that a regiondevel container may have changed.
func TestAForeignPortIsNotTakenForALoadedOne(t *testing.T) {
	h := newHost(t, "dfl:ports=2,afu="+nlb0+"/"+nlb3).put(nlb3)
	boot, err := region.BootID(h.c.Root)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(region.Record{State: region.Foreign, Boot: boot, Time: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	h.write("/run/inlay/load-"+card0+"-1.json", string(b), 0o600)
	got := h.granted(createRequest{env: asks(nlb3), annotations: rec(regionType, fme0)})
	if !strings.HasPrefix(got, "/dev/dfl-port.0 ") {
		t.Errorf("granted\n%s", got)
	}
}

func TestTheProgramHook(t *testing.T) {
	pairs := []pair{{"dfl-port.0", card0, iface, nlb3}}
	for _, tt := range []struct {
		name    string
		hook    Hook
		args    string
		timeout int64
	}{
		{"defaults", Hook{Path: "/h", Timeout: time.Minute}, "--timeout 59s", 60},
		{"short", Hook{Path: "/h", Timeout: 1500 * time.Millisecond}, "--timeout 750ms", 2},
		{
			"with arguments",
			Hook{Path: "/h", Timeout: 90 * time.Second, Args: []string{"--host-root", "/tree", "--max-bitstream", "7"}},
			"--timeout 1m29s --host-root /tree --max-bitstream 7", 90,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := tt.hook.program("region", "ns/pod/ctr", pairs)
			want := "inlay-hook program --mode region --for ns/pod/ctr --pair dfl-port.0@" + card0 + "=" + iface + "/" + nlb3 + " " + tt.args
			if got := strings.Join(h.Args, " "); got != want || h.Path != "/h" || h.GetTimeout().GetValue() != tt.timeout {
				t.Errorf("%s %q, timeout %d; want %q, %d", h.Path, got, h.GetTimeout().GetValue(), want, tt.timeout)
			}
		})
	}
}

func TestTheHookOfATestTreeStandsOnTheHostItself(t *testing.T) {
	h := newHost(t, "dfl").put(nlb3)
	machine, err := hostfs.New("/")
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	h.c.Hook.Root, h.c.Hook.Path = machine, h.path("/opt/inlay/bin/nothing")
	h.refused(good(), "hook is missing on this node: open "+h.dir+"/opt/inlay/bin/nothing")
	h.c.Hook.Path = h.path("/opt/inlay/bin/inlay-hook")
	if _, err := h.adjust(good()); err != nil {
		t.Error(err)
	}
}

func TestAContainerWithoutNameIsCalledByItsID(t *testing.T) {
	h := newHost(t, "dfl").put(nlb3)
	pod, ctr := good().messages()
	ctr.Name = ""
	adjust, err := New(h.c).Adjust(context.Background(), pod, ctr)
	if err != nil {
		t.Fatal(err)
	}
	if args := strings.Join(adjust.GetHooks().GetCreateRuntime()[0].Args, " "); !strings.Contains(args, "--for ns/pod/c0ffee ") {
		t.Error(args)
	}
}

func TestARequestThatIsOverIsRefused(t *testing.T) {
	h := newHost(t, "dfl").put(nlb3)
	pod, ctr := good().messages()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if adjust, err := New(h.c).Adjust(ctx, pod, ctr); err == nil || adjust != nil {
		t.Errorf("%v, %v", adjust, err)
	}
}

func TestAPlainContainerCostsNothing(t *testing.T) {
	a := New(Config{})
	pod := &api.PodSandbox{Name: "pod", Namespace: "ns", Annotations: map[string]string{"a": "b", "allocated.fpga.intel.community/x": "y"}}
	ctr := &api.Container{Name: "ctr", Annotations: map[string]string{"com.intel.fpga.mode": "x"}, Env: asks(nlb3)}
	if a.Wants(pod, ctr) {
		t.Error("claimed")
	}
	if allocs := testing.AllocsPerRun(100, func() { a.Wants(pod, ctr) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// BenchmarkPlain is our part of a plain container's creation.
func BenchmarkPlain(b *testing.B) {
	a := New(Config{})
	annotations := map[string]string{}
	for _, k := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		annotations["io.kubernetes.container."+k] = k
	}
	pod := &api.PodSandbox{Name: "pod", Namespace: "ns", Annotations: annotations}
	ctr := &api.Container{Name: "ctr", Annotations: annotations}
	b.ReportAllocs()
	for b.Loop() {
		if a.Wants(pod, ctr) {
			b.Fatal("claimed")
		}
	}
}
