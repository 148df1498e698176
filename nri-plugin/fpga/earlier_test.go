package fpga

import (
	"fmt"
	"testing"

	"github.com/containerd/nri/pkg/api"
)

// with puts device nodes and rules of the device cgroup into a container, as a runtime does before it asks.
func with(c createRequest, rules []*api.LinuxDeviceCgroup, paths ...string) (*api.PodSandbox, *api.Container) {
	pod, ctr := c.messages()
	for i, path := range paths {
		ctr.Linux.Devices = append(ctr.Linux.Devices, &api.LinuxDevice{Path: path, Type: "c", Major: 243, Minor: int64(i)})
	}
	ctr.Linux.Resources = &api.LinuxResources{Devices: rules}
	return pod, ctr
}

// confined is what a runtime writes for an ordinary container, everything for a privileged one.
var (
	confined = []*api.LinuxDeviceCgroup{
		{Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "b", Access: "m"},
		{Allow: true, Access: "m"},
		{Allow: true, Type: "c", Major: api.Int64(1), Minor: api.Int64(3), Access: "rwm"},
		{Allow: true, Type: "c", Major: api.Int64(243), Access: "rwm"},
	}
	everything = []*api.LinuxDeviceCgroup{{Access: "rwm"}, {Allow: true, Access: "rwm"}}
)

func TestNodesThatAnEarlierPluginGaveAreRefused(t *testing.T) {
	const said = ": allocated by an earlier plugin: delete the pod"
	earlier := createRequest{env: asks(nlb3), annotations: map[string]string{"com.intel.fpga.mode": "fpga.intel.com/region"}}
	for _, tt := range []struct {
		name    string
		ctr     createRequest
		rules   []*api.LinuxDeviceCgroup
		paths   []string
		wantErr string // "" = granted
		plain   bool   // none of ours
	}{
		{name: "af", paths: []string{"/dev/dfl-port.0"}, wantErr: "/dev/dfl-port.0" + said},
		{name: "region", ctr: earlier, paths: []string{"/dev/dfl-port.0", "/dev/dfl-port.1"}, wantErr: "/dev/dfl-port.0" + said},
		{name: "regiondevel", paths: []string{"/dev/dfl-port.0", "/dev/dfl-fme.0"}, wantErr: "/dev/dfl-port.0" + said},
		{name: "of the OPAE driver", paths: []string{"/dev/intel-fpga-port.3"}, wantErr: "/dev/intel-fpga-port.3" + said},
		{name: "of a card that is gone", paths: []string{"/dev/dfl-port.77"}, wantErr: "/dev/dfl-port.77" + said},
		{name: "after other devices", paths: []string{"/dev/kvm", "/dev/dfl-fme.0"}, wantErr: "/dev/dfl-fme.0" + said},
		{name: "without any rule", rules: []*api.LinuxDeviceCgroup{}, paths: []string{"/dev/dfl-port.0"}, wantErr: said},
		{name: "beside ours", ctr: good(), paths: []string{"/dev/dfl-port.1"}, wantErr: "/dev/dfl-port.1" + said},
		{name: "ours, by Allocate", ctr: good(), paths: []string{"/dev/dfl-port.0"}},
		{name: "privileged", rules: everything, paths: []string{"/dev/dfl-port.0", "/dev/dfl-fme.0"}, plain: true},
		{name: "privileged, by another word", rules: []*api.LinuxDeviceCgroup{{Allow: true, Type: "a", Access: "rwm"}}, paths: []string{"/dev/dfl-port.0"}, plain: true},
		{name: "privileged and ours", ctr: good(), rules: everything, paths: []string{"/dev/dfl-port.1", "/dev/dfl-fme.0"}},
		{name: "other devices", paths: []string{"/dev/kvm", "/dev/dfl", "/dev/dfl-port.x", "/dev/intel-fpga-", "/dev/sub/dfl-port.0", "/data/dfl-port.0"}, plain: true},
		{name: "no devices", plain: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, "dfl", "dfl").put(nlb3)
			if tt.rules == nil {
				tt.rules = confined
			}
			pod, ctr := with(tt.ctr, tt.rules, tt.paths...)
			a := New(h.c)
			if got := a.Wants(pod, ctr); got == tt.plain {
				t.Fatalf("claimed: %t", got)
			}
			if tt.plain {
				return
			}
			adjust, err := a.Adjust(t.Context(), pod, ctr)
			if tt.wantErr == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || adjust != nil {
				t.Fatalf("granted: %v", adjust)
			}
			if got := err.Error(); len(got) < len(tt.wantErr) || got[len(got)-len(tt.wantErr):] != tt.wantErr {
				t.Errorf("%q, want %q", got, tt.wantErr)
			}
		})
	}
}

// A privileged container lists the host's devices, some hundred on a large one; it is looked through once.
func TestAListOfDevicesCostsNoAllocation(t *testing.T) {
	var paths []string
	for i := range 500 {
		paths = append(paths, fmt.Sprintf("/dev/dm-%d", i))
	}
	pod, ctr := with(createRequest{}, confined, paths...)
	a := New(Config{})
	if a.Wants(pod, ctr) {
		t.Error("claimed")
	}
	if n := testing.AllocsPerRun(100, func() { a.Wants(pod, ctr) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkManyDevices is our part of the creation of a container that has 500 devices.
func BenchmarkManyDevices(b *testing.B) {
	var paths []string
	for i := range 500 {
		paths = append(paths, fmt.Sprintf("/dev/dm-%d", i))
	}
	pod, ctr := with(createRequest{}, confined, paths...)
	a := New(Config{})
	for b.Loop() {
		if a.Wants(pod, ctr) {
			b.Fatal("claimed")
		}
	}
}
