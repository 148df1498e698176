package enginetest

import (
	"fmt"
	"maps"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/runtime-tools/generate"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// CDIInjector adds the named CDI devices to a spec.
type CDIInjector func(spec *rspec.Spec, names []string) error

// ApplyAdjustment does to spec what containerd and CRI-O do with a plugin's adjustment: NRI's own generate package,
// in its order (annotations, env, args, hooks, CDI, devices with a cgroup allow rule each, resources, mounts sorted by
// depth). cdi may be nil where no CDI device is expected; one that comes all the same is then an error, as in a runtime
// that cannot resolve it.
func ApplyAdjustment(spec *rspec.Spec, adjustment *api.ContainerAdjustment, cdi CDIInjector) error {
	if cdi == nil {
		cdi = func(_ *rspec.Spec, names []string) error {
			return fmt.Errorf("unresolvable CDI devices %v", names)
		}
	}
	return generate.SpecGenerator(&generator{spec}, generate.WithCDIDeviceInjector(cdi)).Adjust(adjustment)
}

// ContainerFromSpec makes NRI's view of a container from its OCI spec, as a runtime sends it at CreateContainer.
// annotations are those of the CRI container (an Allocate answer's among them), laid over the spec's as containerd does.
func ContainerFromSpec(pod *api.PodSandbox, id, name string, spec *rspec.Spec, annotations map[string]string) *api.Container {
	merged := maps.Clone(spec.Annotations)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, annotations)
	ctr := &api.Container{
		Id: id, PodSandboxId: pod.GetId(), Name: name, State: api.ContainerState_CONTAINER_CREATED,
		Annotations: merged,
		Mounts:      api.FromOCIMounts(spec.Mounts),
		Hooks:       api.FromOCIHooks(spec.Hooks),
		Linux:       &api.LinuxContainer{},
	}
	if p := spec.Process; p != nil {
		ctr.Args, ctr.Env = p.Args, p.Env
		ctr.User = &api.User{Uid: p.User.UID, Gid: p.User.GID, AdditionalGids: p.User.AdditionalGids}
	}
	if l := spec.Linux; l != nil {
		ctr.Linux.Namespaces = api.FromOCILinuxNamespaces(l.Namespaces)
		ctr.Linux.Devices = api.FromOCILinuxDevices(l.Devices)
		ctr.Linux.Resources = api.FromOCILinuxResources(l.Resources, merged)
		ctr.Linux.CgroupsPath = l.CgroupsPath
	}
	return ctr
}
