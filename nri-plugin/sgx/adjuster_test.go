package sgx

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	logrustest "github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

const uid = "0f8b2c8e-3c1e-4a52-9c0a-5d6b1f6e7a10"

// node is a host whose cgroups are files.
type node struct {
	t    *testing.T
	dir  string
	c    Config
	logs *logrustest.Hook
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	log, logs := logrustest.NewNullLogger()
	n := &node{t: t, dir: dir, logs: logs, c: Config{Root: root, Policy: filepath.Join(dir, "policy.json"), Log: log}}
	n.write("sys/fs/cgroup/misc.capacity", "sev 0\nsgx_epc 134217728\n")
	n.write("sys/fs/cgroup/kubepods/burstable/pod1/cgroup.controllers", "cpu memory misc\n")
	n.write("sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cgroup.controllers", "misc cpu\n")
	n.write("sys/fs/cgroup/other/cgroup.controllers", "cpu memory\n")
	return n
}

func (n *node) write(name, text string) {
	n.t.Helper()
	file := filepath.Join(n.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) policy(epc *policy.EPC) {
	n.t.Helper()
	text, err := json.Marshal(policy.Policy{Format: policy.Format, Synced: time.Now(), EPC: epc})
	if err != nil {
		n.t.Fatal(err)
	}
	n.write("policy.json", string(text))
}

func limits(containers map[string]int64) *policy.EPC {
	return &policy.EPC{Pods: map[string]policy.EPCPod{uid: {Namespace: "ns", Name: "p", Containers: containers}}}
}

func pod(parent string) *api.PodSandbox {
	return &api.PodSandbox{Id: "p", Uid: uid, Name: "p", Namespace: "ns", Linux: &api.LinuxPodSandbox{CgroupParent: parent}}
}

var enclaves = map[string]string{"allocated.sgx.intel.com/enclave": "sgx-enclave-3"}

// The limit is shown through NRI's own generator, as a runtime would pass it to runc.
func TestAContainersLimitIsTheCgroups_S6(t *testing.T) {
	for _, tt := range []struct {
		name, parent string
		epc          *policy.EPC
		want         map[string]string
		warned       string
	}{
		{"cgroupfs", "/kubepods/burstable/pod1", limits(map[string]int64{"main": 4 << 20}), map[string]string{"misc.max": "sgx_epc 4194304"}, ""},
		{"systemd", "kubepods-burstable-pod1.slice", limits(map[string]int64{"main": 1}), map[string]string{"misc.max": "sgx_epc 1"}, ""},
		{"no limit of its own", "/kubepods/burstable/pod1", limits(map[string]int64{"other": 1}), nil, ""},
		{"nobody keeps limits", "/kubepods/burstable/pod1", nil, nil, ""},
		{"a cgroup without the controller", "/other", limits(map[string]int64{"main": 1}), nil, "the misc controller is not enabled for pods"},
		{"a cgroup that is not there", "/none", limits(map[string]int64{"main": 1}), nil, "the pod's cgroup cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.policy(tt.epc)
			spec := &rspec.Spec{Version: rspec.Version, Linux: &rspec.Linux{Resources: &rspec.LinuxResources{}}}
			ctr := enginetest.ContainerFromSpec(pod(tt.parent), "c", "main", spec, enclaves)
			a := New(n.c)
			if !a.Wants(pod(tt.parent), ctr) {
				t.Fatal("passes unseen")
			}
			adjust, err := a.Adjust(t.Context(), pod(tt.parent), ctr)
			if err != nil {
				t.Fatal(err)
			}
			if err := enginetest.ApplyAdjustment(spec, adjust, nil); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, spec.Linux.Resources.Unified); d != "" {
				t.Error(d)
			}
			warned := ""
			if last := n.logs.LastEntry(); last != nil && last.Data["error"] != nil {
				warned = last.Data["error"].(error).Error()
			}
			if !strings.Contains(warned, tt.warned) || tt.warned == "" && warned != "" {
				t.Errorf("warned %q, want %q", warned, tt.warned)
			}
		})
	}
}

func TestANodeThatCannotLimitRunsThePodAllTheSame(t *testing.T) {
	for name, prepare := range map[string]func(*node){
		"cgroup version 1": func(n *node) { _ = os.Remove(filepath.Join(n.dir, "sys/fs/cgroup/misc.capacity")) },
		"another kernel":   func(n *node) { n.write("sys/fs/cgroup/misc.capacity", "sev 0\n") },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.policy(limits(map[string]int64{"main": 1}))
			prepare(n)
			p := pod("/kubepods/burstable/pod1")
			adjust, err := New(n.c).Adjust(t.Context(), p, &api.Container{Name: "main", Annotations: enclaves})
			if err != nil || adjust.GetLinux() != nil {
				t.Errorf("%v, %v", adjust, err)
			}
			if last := n.logs.LastEntry(); last == nil || !strings.Contains(last.Message, "not enforced") {
				t.Errorf("nobody is told: %v", last)
			}
		})
	}
}

func TestWhatCannotBeKnownIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(*node, *api.PodSandbox)
		want    string
	}{
		{"no policy file", func(*node, *api.PodSandbox) {}, "policy file is missing"},
		{"a pod that is not in the file yet", func(n *node, p *api.PodSandbox) {
			n.policy(limits(nil))
			p.Uid = "another"
		}, "has not heard of the pod yet, another"},
		{"another pod of that UID", func(n *node, p *api.PodSandbox) {
			n.policy(limits(map[string]int64{"main": 1 << 40}))
			p.Name = "q"
		}, "knows " + uid + " as pod ns/p"},
		{"a pod of that UID and name, of another namespace", func(n *node, p *api.PodSandbox) {
			n.policy(limits(map[string]int64{"main": 1 << 40}))
			p.Namespace = "other"
		}, "as pod ns/p"},
		{"a file that is too old", func(n *node, _ *api.PodSandbox) {
			n.write("policy.json", `{"format":1,"synced":"2020-01-01T00:00:00Z","namespaces":{}}`)
		}, "too old"},
		{"a pod that forges a record", func(n *node, p *api.PodSandbox) {
			n.policy(limits(nil))
			p.Annotations = enclaves
		}, "only the device plugin may set"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.c.PolicyMaxAge = time.Hour
			p := pod("/kubepods/burstable/pod1")
			tt.prepare(n, p)
			_, err := New(n.c).Adjust(t.Context(), p, &api.Container{Name: "main", Annotations: enclaves})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestOthersCostNothing(t *testing.T) {
	n := newNode(t)
	a, p := New(n.c), pod("")
	ctr := &api.Container{Annotations: map[string]string{"allocated.fpga.intel.com/region-x": "y"}}
	if a.Wants(p, ctr) {
		t.Error("an FPGA container is claimed")
	}
	if got := testing.AllocsPerRun(100, func() { a.Wants(p, ctr) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
	n.c.Policy = ""
	if New(n.c).Wants(p, &api.Container{Annotations: enclaves}) {
		t.Error("claimed without a policy to ask")
	}
}
