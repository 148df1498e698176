package sgx

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/internal/record"
)

const (
	domain = "sgx.intel.com"
	// cgroups is where the host has its cgroups of version 2.
	cgroups = "/sys/fs/cgroup"
	// epc is the resource in the kernel's misc controller (Documentation/admin-guide/cgroup-v2.rst, "Misc").
	epc = "sgx_epc"
)

// Config is where the adjuster finds things.
type Config struct {
	Root         *hostfs.Root
	Policy       string // policy file as this process sees it; "" = nothing is limited
	PolicyMaxAge time.Duration
	Log          logrus.FieldLogger
}

// Adjuster answers for containers with enclaves. It implements engine.Adjuster and is safe for concurrent use.
type Adjuster struct{ c Config }

// New makes an adjuster.
func New(c Config) *Adjuster { return &Adjuster{c: c} }

// Wants claims containers that the kubelet gave a device of SGX, and those of pods that forge one.
func (a *Adjuster) Wants(pod *api.PodSandbox, ctr *api.Container) bool {
	return a.c.Policy != "" && (record.PresentOf(domain, ctr.GetAnnotations()) || record.PresentOf(domain, pod.GetAnnotations()))
}

// Adjust implements engine.Adjuster. What cannot be known refuses the container: the kubelet tries again, and a limit
// that came a moment too late would never come.
func (a *Adjuster) Adjust(_ context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, error) {
	if record.PresentOf(domain, pod.GetAnnotations()) {
		return nil, fmt.Errorf("the pod itself carries an annotation %s…, which only the device plugin may set", record.KeyFor(domain+"/"))
	}
	adjust := &api.ContainerAdjustment{}
	p, err := policy.Read(a.c.Policy, a.c.PolicyMaxAge, time.Now())
	if err != nil {
		return nil, fmt.Errorf("limit of %s/epc: %w", domain, err)
	}
	if p.EPC == nil {
		return adjust, nil
	}
	limits, ok := p.EPC.Pods[pod.GetUid()]
	if !ok {
		return nil, fmt.Errorf("limit of %s/epc: the policy file has not heard of the pod yet, %s", domain, pod.GetUid())
	}
	// A UID that was copied into an object of another name is not this pod's.
	if limits.Namespace != pod.GetNamespace() || limits.Name != pod.GetName() {
		return nil, fmt.Errorf("limit of %s/epc: the policy file knows %s as pod %s/%s", domain, pod.GetUid(), limits.Namespace, limits.Name)
	}
	limit := limits.Containers[ctr.GetName()]
	if limit <= 0 {
		return adjust, nil
	}
	log := a.c.Log.WithFields(logrus.Fields{
		"namespace": pod.GetNamespace(), "pod": pod.GetName(), "container": ctr.GetName(), "bytes": limit,
	})
	if err := a.enforceable(pod.GetLinux().GetCgroupParent()); err != nil {
		log.WithError(err).Warn("the limit of enclave memory is not enforced on this node")
		return adjust, nil
	}
	adjust.AddLinuxUnified("misc.max", fmt.Sprintf("%s %d", epc, limit))
	log.Info("enclave memory limited")
	return adjust, nil
}

// enforceable tells why the kernel would not take a limit for a container below this cgroup: runtimes fail the container
// then, and a node that cannot hold a limit is no reason not to run the pod, which no node did before.
func (a *Adjuster) enforceable(parent string) error {
	capacity, err := a.c.Root.ReadFile(cgroups + "/misc.capacity")
	if err != nil {
		return errors.New("the host has no misc controller of cgroup version 2")
	}
	if !slices.Contains(strings.Fields(string(capacity)), epc) {
		return fmt.Errorf("the host's misc controller does not know %s", epc)
	}
	file := path.Join(cgroups, expand(parent), "cgroup.controllers")
	controllers, err := a.c.Root.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the pod's cgroup cannot be read: %w", err)
	}
	if !slices.Contains(strings.Fields(string(controllers)), "misc") {
		return fmt.Errorf("%s: the misc controller is not enabled for pods", file)
	}
	return nil
}

// expand gives the path of a cgroup that systemd calls by its slice alone: a-b.slice is in a.slice.
func expand(parent string) string {
	name, ok := strings.CutSuffix(path.Base(parent), ".slice")
	if !ok || strings.Contains(parent, "/") {
		return parent
	}
	full, prefix := "/", ""
	for part := range strings.SplitSeq(name, "-") {
		prefix += part
		full = path.Join(full, prefix+".slice")
		prefix += "-"
	}
	return full
}
