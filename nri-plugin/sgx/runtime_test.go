package sgx

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/mirror"
	pods "github.com/inlay-project/inlay/deviceplugins/sgx/epc"
	"github.com/inlay-project/inlay/nri-plugin/engine"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
	"github.com/inlay-project/inlay/webhook/api/follow/followtest"
)

type object = followtest.Object

// uncounted is the mirror's observer.
type uncounted struct{}

func (uncounted) Holds(time.Time, int) {}
func (uncounted) Written(error)        {}

// S6: from a pod in the API server, by way of inlay-deviceplugin's mirror and its file, to what a runtime passes to runc,
// with the adaptation that containerd and CRI-O have.
func TestAPodsLimitReachesTheRuntime_S6(t *testing.T) {
	logrus.SetLevel(logrus.PanicLevel) // the adaptation's own chatter
	n := newNode(t)
	server := followtest.Start(t, followtest.Options{})
	resources := object{"limits": object{"sgx.intel.com/enclave": "1", "sgx.intel.com/epc": "4Mi"}}
	pod := object{"spec": object{
		"nodeName":       "n1",
		"initContainers": []any{object{"name": "first", "resources": object{"limits": object{"sgx.intel.com/epc": "1e6"}}}},
		"containers": []any{
			object{"name": "main", "resources": resources},
			object{"name": "free", "resources": object{"limits": object{"sgx.intel.com/enclave": "1"}}},
		},
	}}
	source, err := pods.Source(server.Config(), "n1", n.c.Log)
	if err != nil {
		t.Fatal(err)
	}
	m := mirror.New(mirror.Config{File: n.c.Policy, Pods: source, Observer: uncounted{}, Log: n.c.Log})
	m.SeeSGX(true)
	socket := filepath.Join(shortDir(t), "nri.sock")
	runtime, err := enginetest.Start(socket, enginetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(runtime.Stop)
	e, err := engine.New(engine.Options{Name: "inlay", Index: "40", Socket: socket, Adjuster: New(n.c)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(cancel)
	group.Go(func() { m.Run(ctx) })
	group.Go(func() { _ = e.Run(ctx) })
	connected, over := context.WithTimeoutCause(ctx, 10*time.Second, errors.New("10 s have passed"))
	defer over()
	if err := runtime.WaitPlugins(connected, 1); err != nil {
		t.Fatal(err)
	}

	sandbox := &api.PodSandbox{
		Id: "s", Uid: "not-known", Namespace: "ns", Name: "p",
		Linux: &api.LinuxPodSandbox{CgroupParent: "kubepods-burstable-pod1.slice"},
	}
	create := func(name string, annotations map[string]string) (map[string]string, error) {
		spec := &rspec.Spec{Version: rspec.Version, Linux: &rspec.Linux{Resources: &rspec.LinuxResources{}}}
		adjust, err := runtime.CreateContainer(ctx, sandbox, enginetest.ContainerFromSpec(sandbox, "id-"+name, name, spec, annotations))
		if err != nil {
			return nil, err
		}
		if err := enginetest.ApplyAdjustment(spec, adjust, nil); err != nil {
			t.Fatal(err)
		}
		return spec.Linux.Resources.Unified, nil
	}
	refused := func(what, why string) {
		t.Helper()
		if got, err := create("main", enclaves); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, %v; want %q", what, got, err, why)
		}
	}
	for { // the file is there, and nobody has heard of the pod
		if _, err := os.Stat(n.c.Policy); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	refused("a pod that is not bound to the node", "has not heard of the pod yet")
	sandbox.Uid = server.PutPod("ns", "p", pod)
	// The kubelet's further tries.
	began := time.Now()
	for {
		if _, err := create("main", enclaves); err == nil {
			break
		} else if time.Since(began) > 10*time.Second {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	for _, tt := range []struct {
		container   string
		annotations map[string]string
		want        map[string]string
	}{
		{"first", enclaves, map[string]string{"misc.max": "sgx_epc 1000000"}},
		{"main", enclaves, map[string]string{"misc.max": "sgx_epc 4194304"}},
		{"free", enclaves, nil},
		{"main", nil, nil}, // none of ours
	} {
		if got, err := create(tt.container, tt.annotations); err != nil || !cmp.Equal(tt.want, got) {
			t.Errorf("%s: %v, %v; want %v", tt.container, got, err, tt.want)
		}
	}
	sandbox.Name = "of-another-name"
	refused("another pod that claims the UID", "knows "+sandbox.Uid+" as pod ns/p")
}

// shortDir is a folder for a socket, whose path has room for 107 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "sgx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
