package enginetest

import (
	"slices"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// generator holds the plain setters that NRI's generate package works with, on a spec. In the runtimes that is
// runtime-tools/generate, which does not compile with runtime-spec 1.3; NRI's own one is internal to it.
type generator struct{ spec *rspec.Spec }

// at returns what p points to, made if there is none.
func at[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}

func put[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}

// replace puts v in place of the first element that is same, or at the end.
func replace[T any](list []T, v T, same func(T) bool) []T {
	if i := slices.IndexFunc(list, same); i >= 0 {
		list[i] = v
		return list
	}
	return append(list, v)
}

func (g *generator) process() *rspec.Process          { return at(&g.spec.Process) }
func (g *generator) linux() *rspec.Linux              { return at(&g.spec.Linux) }
func (g *generator) hooks() *rspec.Hooks              { return at(&g.spec.Hooks) }
func (g *generator) resources() *rspec.LinuxResources { return at(&g.linux().Resources) }
func (g *generator) cpu() *rspec.LinuxCPU             { return at(&g.resources().CPU) }
func (g *generator) memory() *rspec.LinuxMemory       { return at(&g.resources().Memory) }

func (g *generator) Spec() *rspec.Spec { return g.spec }

func (g *generator) AddAnnotation(key, value string) { put(&g.spec.Annotations, key, value) }
func (g *generator) RemoveAnnotation(key string)     { delete(g.spec.Annotations, key) }

func (g *generator) AddPreStartHook(h rspec.Hook) {
	g.hooks().Prestart = append(g.hooks().Prestart, h) //nolint:staticcheck // NRI still has this stage
}

func (g *generator) AddPostStartHook(h rspec.Hook) {
	g.hooks().Poststart = append(g.hooks().Poststart, h)
}

func (g *generator) AddPostStopHook(h rspec.Hook) { g.hooks().Poststop = append(g.hooks().Poststop, h) }

func (g *generator) AddProcessEnv(name, value string) {
	p := g.process()
	p.Env = replace(p.Env, name+"="+value, func(e string) bool { return strings.HasPrefix(e, name+"=") })
}
func (g *generator) ClearProcessEnv()             { g.process().Env = nil }
func (g *generator) SetProcessArgs(args []string) { g.process().Args = args }
func (g *generator) SetProcessOOMScoreAdj(adj int) {
	g.process().OOMScoreAdj = &adj
}

func (g *generator) AddMount(m rspec.Mount) { g.spec.Mounts = append(g.spec.Mounts, m) }
func (g *generator) ClearMounts()           { g.spec.Mounts = nil }
func (g *generator) Mounts() []rspec.Mount  { return g.spec.Mounts }
func (g *generator) RemoveMount(dest string) {
	g.spec.Mounts = slices.DeleteFunc(g.spec.Mounts, func(m rspec.Mount) bool { return m.Destination == dest })
}

func (g *generator) AddDevice(d rspec.LinuxDevice) {
	l := g.linux()
	l.Devices = replace(l.Devices, d, func(o rspec.LinuxDevice) bool { return o.Path == d.Path })
}

func (g *generator) RemoveDevice(path string) {
	l := g.linux()
	l.Devices = slices.DeleteFunc(l.Devices, func(d rspec.LinuxDevice) bool { return d.Path == path })
}

func (g *generator) AddLinuxResourcesDevice(allow bool, kind string, major, minor *int64, access string) {
	r := g.resources()
	r.Devices = append(r.Devices, rspec.LinuxDeviceCgroup{Allow: allow, Type: kind, Major: major, Minor: minor, Access: access})
}

func (g *generator) AddOrReplaceLinuxNamespace(ns, path string) error {
	l, kind := g.linux(), rspec.LinuxNamespaceType(ns)
	l.Namespaces = replace(l.Namespaces, rspec.LinuxNamespace{Type: kind, Path: path},
		func(o rspec.LinuxNamespace) bool { return o.Type == kind })
	return nil
}

func (g *generator) RemoveLinuxNamespace(ns string) error {
	l := g.linux()
	l.Namespaces = slices.DeleteFunc(l.Namespaces, func(o rspec.LinuxNamespace) bool { return string(o.Type) == ns })
	return nil
}

func (g *generator) AddLinuxSysctl(key, value string) { put(&g.linux().Sysctl, key, value) }
func (g *generator) RemoveLinuxSysctl(key string)     { delete(g.linux().Sysctl, key) }
func (g *generator) SetLinuxCgroupsPath(path string)  { g.linux().CgroupsPath = path }
func (g *generator) SetLinuxRootPropagation(p string) error {
	g.linux().RootfsPropagation = p
	return nil
}

func (g *generator) AddLinuxResourcesHugepageLimit(size string, limit uint64) {
	r := g.resources()
	r.HugepageLimits = replace(r.HugepageLimits, rspec.LinuxHugepageLimit{Pagesize: size, Limit: limit},
		func(o rspec.LinuxHugepageLimit) bool { return o.Pagesize == size })
}

func (g *generator) AddLinuxResourcesUnified(key, value string) {
	put(&g.resources().Unified, key, value)
}
func (g *generator) SetLinuxResourcesCPUCpus(cpus string)        { g.cpu().Cpus = cpus }
func (g *generator) SetLinuxResourcesCPUMems(mems string)        { g.cpu().Mems = mems }
func (g *generator) SetLinuxResourcesCPUPeriod(v uint64)         { g.cpu().Period = &v }
func (g *generator) SetLinuxResourcesCPUQuota(v int64)           { g.cpu().Quota = &v }
func (g *generator) SetLinuxResourcesCPURealtimePeriod(v uint64) { g.cpu().RealtimePeriod = &v }
func (g *generator) SetLinuxResourcesCPURealtimeRuntime(v int64) { g.cpu().RealtimeRuntime = &v }
func (g *generator) SetLinuxResourcesCPUShares(v uint64)         { g.cpu().Shares = &v }
func (g *generator) SetLinuxResourcesMemoryLimit(limit int64)    { g.memory().Limit = &limit }
func (g *generator) SetLinuxResourcesMemorySwap(swap int64)      { g.memory().Swap = &swap }
