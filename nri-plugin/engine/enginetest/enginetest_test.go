package enginetest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"github.com/google/go-cmp/cmp"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

func TestMain(m *testing.M) {
	logrus.SetLevel(logrus.PanicLevel) // the adaptation's own chatter
	goleak.VerifyTestMain(m)
}

func ptr[T any](v T) *T { return &v }

// base is a container's spec before any adjustment.
func base() *rspec.Spec {
	return &rspec.Spec{
		Version:     "1.3.0",
		Process:     &rspec.Process{Args: []string{"app"}, Env: []string{"PATH=/bin", "MODE=old"}, User: rspec.User{UID: 1000, GID: 1000}},
		Annotations: map[string]string{"keep": "1", "drop": "1"},
		Mounts:      []rspec.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}, {Destination: "/old", Source: "/srv/old"}},
		Hooks:       &rspec.Hooks{CreateRuntime: []rspec.Hook{{Path: "/bin/hook", Args: []string{"hook", "gate"}}}},
		Linux: &rspec.Linux{
			Devices:   []rspec.LinuxDevice{{Path: "/dev/null0", Type: "c", Major: 1, Minor: 3}},
			Resources: &rspec.LinuxResources{Devices: []rspec.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
		},
	}
}

// What each kind of edit becomes in config.json: spec/nri.md section 2, as containerd and CRI-O do it.
func TestAdjustmentBecomesOCI(t *testing.T) {
	injected := func(s *rspec.Spec, names []string) error {
		s.Annotations["cdi"] = names[0]
		return nil
	}
	for _, tc := range []struct {
		name   string
		adjust func(*api.ContainerAdjustment)
		cdi    enginetest.CDIInjector
		want   func(*rspec.Spec)
	}{
		{name: "nothing", adjust: func(*api.ContainerAdjustment) {}, want: func(*rspec.Spec) {}},
		{
			name: "a device comes with its owner and a cgroup rule without mknod",
			adjust: func(a *api.ContainerAdjustment) {
				a.AddDevice(&api.LinuxDevice{
					Path: "/dev/dfl-port.0", Type: "c", Major: 243, Minor: 7,
					FileMode: api.FileMode(os.FileMode(0o660)), Uid: api.UInt32(uint32(1000)), Gid: api.UInt32(uint32(1000)),
				})
			},
			want: func(s *rspec.Spec) {
				s.Linux.Devices = append(s.Linux.Devices, rspec.LinuxDevice{
					Path: "/dev/dfl-port.0", Type: "c", Major: 243, Minor: 7,
					FileMode: ptr(os.FileMode(0o660)), UID: ptr(uint32(1000)), GID: ptr(uint32(1000)),
				})
				s.Linux.Resources.Devices = append(s.Linux.Resources.Devices,
					rspec.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(int64(243)), Minor: ptr(int64(7)), Access: "rw"})
			},
		},
		{
			name: "a device of the same path is replaced, its old rule stays",
			adjust: func(a *api.ContainerAdjustment) {
				a.AddDevice(&api.LinuxDevice{Path: "/dev/null0", Type: "c", Major: 1, Minor: 5})
			},
			want: func(s *rspec.Spec) {
				s.Linux.Devices[0].Minor = 5
				s.Linux.Resources.Devices = append(s.Linux.Resources.Devices,
					rspec.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(5)), Access: "rw"})
			},
		},
		{
			name: "env, args and annotations",
			adjust: func(a *api.ContainerAdjustment) {
				a.AddEnv("MODE", "new")
				a.AddEnv("FPGA", "a=b")
				a.SetArgs([]string{"wrapper", "app"})
				a.AddAnnotation("added", "x")
				a.RemoveAnnotation("drop")
			},
			want: func(s *rspec.Spec) {
				s.Process.Env = []string{"PATH=/bin", "MODE=new", "FPGA=a=b"}
				s.Process.Args = []string{"wrapper", "app"}
				s.Annotations = map[string]string{"keep": "1", "added": "x"}
			},
		},
		{
			name: "a hook comes after those that are there, with its arguments and timeout",
			adjust: func(a *api.ContainerAdjustment) {
				a.AddHooks(&api.Hooks{CreateRuntime: []*api.Hook{{Path: "/bin/hook", Args: []string{"hook", "program"}, Timeout: api.Int(60)}}})
			},
			want: func(s *rspec.Spec) {
				s.Hooks.CreateRuntime = append(s.Hooks.CreateRuntime, rspec.Hook{Path: "/bin/hook", Args: []string{"hook", "program"}, Timeout: ptr(60)})
			},
		},
		{
			name: "mounts are replaced, removed and sorted by depth",
			adjust: func(a *api.ContainerAdjustment) {
				a.AddMount(&api.Mount{Destination: "/sys/class/fpga", Source: "/sys/class/fpga", Type: "bind", Options: []string{"ro", "bind"}})
				a.AddMount(&api.Mount{Destination: "/data", Source: "/srv/data"})
				a.RemoveMount("/old")
			},
			want: func(s *rspec.Spec) {
				s.Mounts = []rspec.Mount{
					{Destination: "/data", Source: "/srv/data"},
					s.Mounts[0],
					{Destination: "/sys/class/fpga", Source: "/sys/class/fpga", Type: "bind", Options: []string{"ro", "bind"}},
				}
			},
		},
		{
			name:   "CDI devices are injected",
			adjust: func(a *api.ContainerAdjustment) { a.AddCDIDevice(&api.CDIDevice{Name: "vendor/class=0"}) },
			cdi:    injected,
			want:   func(s *rspec.Spec) { s.Annotations["cdi"] = "vendor/class=0" },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &api.ContainerAdjustment{}
			tc.adjust(a)
			got, want := base(), base()
			if err := enginetest.ApplyAdjustment(got, a, tc.cdi); err != nil {
				t.Fatal(err)
			}
			tc.want(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestCDIDeviceThatCannotBeResolvedIsAnError(t *testing.T) {
	a := &api.ContainerAdjustment{}
	a.AddCDIDevice(&api.CDIDevice{Name: "vendor/class=0"})
	if err := enginetest.ApplyAdjustment(base(), a, nil); err == nil {
		t.Error("no error")
	}
}

func TestContainerFromSpecIsWhatAPluginSees(t *testing.T) {
	ctr := enginetest.ContainerFromSpec(&api.PodSandbox{Id: "p"}, "id", "app", base(), map[string]string{"keep": "2", "allocated": "x"})
	if ctr.GetId() != "id" || ctr.GetName() != "app" || ctr.GetPodSandboxId() != "p" {
		t.Errorf("identity: %v", ctr)
	}
	if diff := cmp.Diff(map[string]string{"keep": "2", "drop": "1", "allocated": "x"}, ctr.GetAnnotations()); diff != "" {
		t.Errorf("annotations (-want +got)\n%s", diff)
	}
	if ctr.GetUser().GetUid() != 1000 || len(ctr.GetEnv()) != 2 || len(ctr.GetMounts()) != 2 ||
		len(ctr.GetHooks().GetCreateRuntime()) != 1 || ctr.GetLinux().GetDevices()[0].GetMinor() != 3 {
		t.Errorf("container: %v", ctr)
	}
	enginetest.ContainerFromSpec(&api.PodSandbox{}, "id", "app", &rspec.Spec{}, nil) // an empty spec is no panic
}

type plugin struct{}

func (plugin) CreateContainer(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	return nil, nil, errors.New("no")
}

// A stopped runtime is one that was killed: its connections are gone, its socket file is not.
func TestStopCutsThePluginsConnections(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "ent")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "sub", "nri.sock")
	r, err := enginetest.Start(socket, enginetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()

	closed := make(chan struct{})
	st, err := stub.New(plugin{}, stub.WithPluginName("p"), stub.WithPluginIdx("10"), stub.WithSocketPath(socket),
		stub.WithOnClose(func() { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.WaitPlugins(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateContainer(ctx, &api.PodSandbox{}, &api.Container{}); err == nil {
		t.Error("the plugin's refusal did not arrive")
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.WaitPlugins(short, 2); err == nil {
		t.Error("WaitPlugins found a plugin that is not there")
	}
	r.Stop()
	select {
	case <-closed:
	case <-ctx.Done():
		t.Error("the plugin is still connected")
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Error(err)
	}
}
