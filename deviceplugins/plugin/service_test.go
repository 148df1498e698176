package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
)

// picky is a rack with all the optional abilities.
type picky struct {
	*rack
	allocate func([]plugin.Device) (*v1beta1.ContainerAllocateResponse, error)
	prefer   func(available []plugin.Device, must []string, size int) ([]string, error)
	preStart func(ids []string) error
}

func (p *picky) Allocate(_ context.Context, _ string, d []plugin.Device) (*v1beta1.ContainerAllocateResponse, error) {
	return p.allocate(d)
}

func (p *picky) Prefer(_ string, available []plugin.Device, must []string, size int) ([]string, error) {
	return p.prefer(available, must, size)
}

func (p *picky) PreStart(_ context.Context, _ string, ids []string) error { return p.preStart(ids) }

// newPickyBench runs a picky family until the kubelet has its devices.
func newPickyBench(t *testing.T) (*bench, *picky) {
	b := newBench(t)
	b.rack.inv[regionA] = devices("a", "b", "c", "d")
	p := &picky{rack: b.rack}
	b.startKubelet()
	b.engine, b.stop = b.run(p)
	b.await(regionA, "a", "b", "c", "d")
	return b, p
}

func TestMergeGivesSharedThingsOnce(t *testing.T) {
	node := func(name string) plugin.Node { return plugin.Node{HostPath: name, ContainerPath: name} }
	got := plugin.Merge([]plugin.Device{
		{Grant: plugin.Grant{Nodes: []plugin.Node{node("/dev/a"), node("/dev/shared")}, CDI: []string{"x/y=gate"}, Env: map[string]string{"A": "1", "B": "1"}}},
		{Grant: plugin.Grant{
			Nodes: []plugin.Node{node("/dev/shared"), node("/dev/b")}, CDI: []string{"x/y=gate"}, Env: map[string]string{"B": "2"},
			Mounts: []plugin.Mount{{HostPath: "/h", ContainerPath: "/c", ReadOnly: true}}, Annotations: map[string]string{"k": "v"},
		}},
	})
	spec := func(name string) *v1beta1.DeviceSpec {
		return &v1beta1.DeviceSpec{HostPath: name, ContainerPath: name, Permissions: "rw"}
	}
	want := &v1beta1.ContainerAllocateResponse{
		Envs: map[string]string{"A": "1", "B": "2"}, Annotations: map[string]string{"k": "v"},
		Devices:    []*v1beta1.DeviceSpec{spec("/dev/a"), spec("/dev/shared"), spec("/dev/b")},
		Mounts:     []*v1beta1.Mount{{HostPath: "/h", ContainerPath: "/c", ReadOnly: true}},
		CdiDevices: []*v1beta1.CDIDevice{{Name: "x/y=gate"}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestAnswersOfTheFamily(t *testing.T) {
	b, p := newPickyBench(t)
	for name, tc := range map[string]struct {
		allocate func([]plugin.Device) (*v1beta1.ContainerAllocateResponse, error)
		ids      []string
		code     codes.Code
		says     string
	}{
		"its own": {
			allocate: func(d []plugin.Device) (*v1beta1.ContainerAllocateResponse, error) {
				return &v1beta1.ContainerAllocateResponse{Envs: map[string]string{"ORDER": d[0].ID + d[1].ID}}, nil
			},
			ids: []string{"c", "a"},
		},
		"an error": {
			allocate: func([]plugin.Device) (*v1beta1.ContainerAllocateResponse, error) {
				return nil, errors.New("card is being flashed")
			},
			ids: []string{"a"}, code: codes.FailedPrecondition, says: "device a: card is being flashed",
		},
		"an error with a code": {
			allocate: func([]plugin.Device) (*v1beta1.ContainerAllocateResponse, error) {
				return nil, status.Error(codes.ResourceExhausted, "no slot left")
			},
			ids: []string{"a"}, code: codes.ResourceExhausted, says: "no slot left",
		},
		"none":                         {allocate: func([]plugin.Device) (*v1beta1.ContainerAllocateResponse, error) { return nil, nil }, ids: []string{"a"}, code: codes.FailedPrecondition, says: "no answer"},
		"panic":                        {allocate: func([]plugin.Device) (*v1beta1.ContainerAllocateResponse, error) { panic("boom") }, ids: []string{"a"}, code: codes.Internal, says: "boom"},
		"not asked for a device twice": {ids: []string{"a", "a"}, code: codes.InvalidArgument, says: "twice"},
		"not asked for an unknown one": {ids: []string{"a", "z"}, code: codes.InvalidArgument, says: `"z"`},
	} {
		t.Run(name, func(t *testing.T) {
			p.allocate = tc.allocate
			answer, err := b.kubelet.Allocate(b.ctx, regionA, tc.ids...)
			if status.Code(err) != tc.code || err != nil && !contains(err, tc.says) {
				t.Fatalf("%v", err)
			}
			if err == nil && answer.GetEnvs()["ORDER"] != strings.Join(tc.ids, "") {
				t.Errorf("answer %v", answer)
			}
		})
	}
}

func TestPreference(t *testing.T) {
	b, p := newPickyBench(t)
	for name, tc := range map[string]struct {
		prefer func([]plugin.Device, []string, int) ([]string, error)
		want   []string
	}{
		"is the family's": {func([]plugin.Device, []string, int) ([]string, error) { return []string{"d", "a"}, nil }, []string{"d", "a"}},
		"of none is the first free ones after the musts": {func([]plugin.Device, []string, int) ([]string, error) { return nil, errors.New("no idea") }, []string{"d", "b"}},
		"without a must is not followed":                 {func([]plugin.Device, []string, int) ([]string, error) { return []string{"a", "b"}, nil }, []string{"d", "b"}},
		"of another size is not followed":                {func([]plugin.Device, []string, int) ([]string, error) { return []string{"d"}, nil }, []string{"d", "b"}},
		"of a taken device is not followed":              {func([]plugin.Device, []string, int) ([]string, error) { return []string{"d", "c"}, nil }, []string{"d", "b"}},
		"that panics is not followed":                    {func([]plugin.Device, []string, int) ([]string, error) { panic("boom") }, []string{"d", "b"}},
		"is asked with what is available, as the kubelet has it": {func(available []plugin.Device, must []string, size int) ([]string, error) {
			return []string{available[len(available)-1].ID, available[len(available)-2].ID}, nil
		}, []string{"d", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			p.prefer = tc.prefer
			got, err := b.kubelet.Prefer(b.ctx, regionA, []string{"b", "a", "d", "gone", "a"}, []string{"d"}, 2)
			if err != nil || !cmp.Equal(got, tc.want) {
				t.Errorf("%v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

func TestAPreferenceForMoreThanThereIsIsRefused(t *testing.T) {
	b, p := newPickyBench(t)
	p.prefer = func(available []plugin.Device, _ []string, _ int) ([]string, error) { return []string{"a", "b"}, nil }
	if got, err := b.kubelet.Prefer(b.ctx, regionA, []string{"b", "a"}, []string{"a"}, 3); status.Code(err) != codes.InvalidArgument {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := b.kubelet.Prefer(b.ctx, regionA, []string{"b", "a"}, []string{"a"}, 2); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
}

// A family that takes what must be in as it comes, as GPU did, would answer with it.
func TestAPreferenceThatCannotBeIsRefused(t *testing.T) {
	b, p := newPickyBench(t)
	p.prefer = func(_ []plugin.Device, must []string, _ int) ([]string, error) { return must, nil }
	for name, tc := range map[string]struct {
		available, must []string
		size            int
		says            string
	}{
		"not available":       {[]string{"a", "b"}, []string{"d"}, 1, `device "d" must be included and is not among the available ones`},
		"unknown":             {[]string{"a", "b"}, []string{"z"}, 1, `device "z"`},
		"more than wanted":    {[]string{"a", "b"}, []string{"a", "b"}, 1, "1 devices wanted, and 2 must be included"},
		"some where none is":  {[]string{"a", "b"}, []string{"a"}, 0, "0 devices wanted, and 1 must be included"},
		"less than none":      {[]string{"a", "b"}, nil, -1, "-1 devices wanted"},
		"twice":               {[]string{"a", "b"}, []string{"a", "a"}, 2, `device "a" must be included twice`},
		"all of what is left": {[]string{"a", "b"}, []string{"a", "b"}, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := b.kubelet.Prefer(b.ctx, regionA, tc.available, tc.must, tc.size)
			if tc.says == "" {
				if err != nil || !cmp.Equal(got, tc.must) {
					t.Errorf("%v, %v", got, err)
				}
				return
			}
			if status.Code(err) != codes.InvalidArgument || !contains(err, regionA, tc.says) {
				t.Errorf("%v, %v, want %q", got, err, tc.says)
			}
		})
	}
}

func TestPreStartCanSayNo_F10(t *testing.T) {
	b, p := newPickyBench(t)
	p.preStart = func(ids []string) error { return fmt.Errorf("inlay-nri does not answer") }
	if err := b.kubelet.PreStart(b.ctx, regionA, "a"); err == nil || !contains(err, regionA, "device a", "inlay-nri does not answer") {
		t.Errorf("%v", err)
	}
	p.preStart = func(ids []string) error { panic("boom") }
	if err := b.kubelet.PreStart(b.ctx, regionA, "a"); status.Code(err) != codes.Internal {
		t.Errorf("%v", err)
	}
	p.preStart = func(ids []string) error { return nil }
	if err := b.kubelet.PreStart(b.ctx, regionA, "a"); err != nil {
		t.Error(err)
	}
}

func TestOptionsAreThoseOfTheFamily(t *testing.T) {
	b, _ := newPickyBench(t)
	if o := b.kubelet.Resource(regionA).Options; !o.GetPreStartRequired() || !o.GetGetPreferredAllocationAvailable() {
		t.Errorf("options %v", o)
	}
}

func TestOptionsOfAPlainFamily(t *testing.T) {
	b := newBench(t)
	b.startKubelet()
	b.start()
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	if o := b.kubelet.Resource(regionA).Options; o.GetPreStartRequired() || o.GetGetPreferredAllocationAvailable() {
		t.Errorf("options %v", o)
	}
}

// The kubelet lists a device once for each node of its topology, and so not at all if it has one without nodes.
func TestADeviceWithoutNUMANodesHasNoTopology(t *testing.T) {
	b := newBench(t)
	b.rack.inv[regionA] = []plugin.Device{{ID: "empty", NUMA: []int{}}, {ID: "none"}, {ID: "two", NUMA: []int{0, 1}}}
	b.startKubelet()
	b.start()
	r := b.await(regionA, "empty", "none", "two")
	if r.Devices[0].Topology != nil || r.Devices[1].Topology != nil || r.Devices[2].Topology.Nodes[1].ID != 1 {
		t.Errorf("topology %v", r.Devices)
	}
}

func TestMoreDevicesThanAMessageHolds(t *testing.T) {
	b := newBench(t)
	ids := make([]string, 80_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("%063d", i)
	}
	many := make([]plugin.Device, len(ids))
	for i, id := range ids {
		many[i] = plugin.Device{ID: id}
	}
	b.rack.inv[regionA] = many
	b.startKubelet()
	b.start()
	r, err := b.kubelet.Wait(b.ctx, regionA, func(r kubelettest.Resource) bool { return r.Allocatable() > 0 })
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Allocatable(); n < 50_000 || n >= len(ids) {
		t.Errorf("%d of %d devices offered", n, len(ids))
	}
	if s := b.engine.Status().Resources[0]; s.Err == nil || !contains(s.Err, "devices are more than one message to the kubelet holds: the last ", " are not offered") {
		t.Errorf("status says %v", s.Err)
	}
}
