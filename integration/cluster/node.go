package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/containerd"
	"github.com/inlay-project/inlay/integration/crio"
	"github.com/inlay-project/inlay/integration/ocitest"
	"github.com/inlay-project/inlay/integration/process"
)

// NodeName is the name of the cluster's only node.
const NodeName = "node"

// cgroup is the cgroup of everything that the kubelet starts.
func (c *Cluster) cgroup() string { return "/" + filepath.Base(c.Dir) }

const cgroupRoot = "/sys/fs/cgroup"

// makeCgroups makes the cluster's cgroup in every hierarchy: a kubelet wants its root to be there.
func (c *Cluster) makeCgroups() error {
	hierarchies, err := filepath.Glob(cgroupRoot + "/*/cgroup.procs")
	if err != nil {
		return err
	}
	if _, err := os.Stat(cgroupRoot + "/cgroup.controllers"); err == nil {
		hierarchies = []string{cgroupRoot + "/cgroup.procs"} // version 2
		controllers, err := os.ReadFile(cgroupRoot + "/cgroup.controllers")
		if err != nil {
			return err
		}
		for name := range strings.FieldsSeq(string(controllers)) {
			// What is not enabled for the machine's other cgroups may be refused, and the kubelet says what it lacks.
			_ = os.WriteFile(cgroupRoot+"/cgroup.subtree_control", []byte("+"+name), 0)
		}
	}
	for _, h := range hierarchies {
		parent := filepath.Dir(h)
		dir := filepath.Join(parent, c.cgroup())
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { // cpu and cpuacct may be one
			return err
		}
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			// A new cpuset of version 1 is empty, and nobody can be in it.
			value, err := os.ReadFile(filepath.Join(parent, name))
			if err != nil {
				continue // another controller
			}
			if err := os.WriteFile(filepath.Join(dir, name), value, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// runtimeDir is where the container runtime has everything of its own.
func (c *Cluster) runtimeDir() string { return c.path("c") }

// newRuntime makes the handle of the container runtime.
func (c *Cluster) newRuntime(o Options) error {
	if err := writeCNI(c.runtimeDir()); err != nil {
		return err
	}
	var runtime integration.Runtime
	var err error
	// The paths of this process are good in the node's namespace too; CDI files are looked for where a distribution's
	// configuration has them.
	cdi, nri := []string{"/etc/cdi", "/var/run/cdi"}, c.HostPath("run/nri/nri.sock")
	switch o.Runtime {
	case integration.Containerd:
		runtime, err = containerd.New(containerd.Options{
			Dir: c.runtimeDir(), Containerd: c.tools.Path("containerd"), Shim: c.tools.Path("containerd-shim-runc-v2"),
			Ctr: c.tools.Path("ctr"), Runc: c.tools.Path("runc"),
			PauseImage: ocitest.PauseName, CDIDirs: cdi, CgroupParent: c.cgroup(), NRIListen: nri, NRITimeout: o.NRITimeout,
		}, c.node)
	case integration.CRIO, integration.OldCRIO:
		suffix := strings.TrimPrefix(string(o.Runtime), "crio")
		runtime, err = crio.New(crio.Options{
			Dir: c.runtimeDir(), CRIO: c.tools.Path("crio" + suffix), Pinns: c.tools.Path("pinns" + suffix),
			Conmon: c.tools.Path("conmon"), Skopeo: c.tools.Path("skopeo"), Runc: c.tools.Path("clampoom"),
			PauseImage: ocitest.PauseName, CDIDirs: cdi, HooksDirs: []string{"/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"},
			CgroupParent: c.cgroup(), NRIListen: nri, NoNRI: o.NoNRI, NRITimeout: o.NRITimeout,
		}, c.node)
	default:
		return fmt.Errorf("runtime %q: there are %s, %s and %s", o.Runtime, integration.Containerd, integration.CRIO, integration.OldCRIO)
	}
	if err != nil {
		return err
	}
	// None is searched: deploy/ has to name its images in full, or CRI-O finds none of them.
	registries := filepath.Join(c.runtimeDir(), "registries.conf")
	if err := os.WriteFile(registries, []byte("unqualified-search-registries = []\n"), 0o644); err != nil {
		return err
	}
	c.runtime = runtime
	c.Runtime = &Component{name: string(o.Runtime), start: func(ctx context.Context) (*process.Process, error) {
		err := runtime.Start(ctx)
		return runtime.Process(), err
	}}
	return nil
}

// kubeletConfig is for a node that shares its machine with others. What it does not name has the kubelet's default.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %q}
authorization: {mode: Webhook}
containerRuntimeEndpoint: %q
cgroupDriver: cgroupfs
cgroupRoot: %q
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: {memory.available: 10Mi, nodefs.available: 0%%, nodefs.inodesFree: 0%%, imagefs.available: 0%%, imagefs.inodesFree: 0%%}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
oomScoreAdj: 0
resolvConf: ""
# Nobody answers there, and says so at once.
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
# A status is written when it changes; this is how often it is looked at.
nodeStatusUpdateFrequency: %s
volumePluginDir: /var/lib/kubelet/volume-plugins
`

// newKubelet makes the handle of the kubelet.
func (c *Cluster) newKubelet(o Options) error {
	config := c.path("k/kubelet.yaml")
	socket := "unix://" + filepath.Join(c.runtimeDir(), map[bool]string{true: "c.sock", false: "o.sock"}[o.Runtime == integration.Containerd])
	text := fmt.Sprintf(kubeletConfig, c.path("k/"+caFile), socket, c.cgroup(), o.StatusEvery)
	if err := os.WriteFile(config, []byte(text+o.KubeletConfig), 0o644); err != nil {
		return err
	}
	c.Kubelet = &Component{name: "kubelet", start: func(ctx context.Context) (*process.Process, error) {
		p, err := c.node.Start(ctx, process.Command{
			Name: "kubelet", Path: c.tools.Path("kubelet"), Env: environment(), Log: c.path("kubelet.log"),
			Args: []string{
				"--config=" + config, "--kubeconfig=" + c.kubeconfigOf("system:node:"+NodeName), "--hostname-override=" + NodeName,
				"--node-ip=" + gateway, "--root-dir=/var/lib/kubelet", "--v=2",
			},
		})
		if err != nil {
			return nil, err
		}
		return p, c.waitOK(ctx, p, "http://127.0.0.1:10248/healthz")
	}}
	return nil
}

// Import brings all images of an OCI archive to the node.
func (c *Cluster) Import(ctx context.Context, archive string) error {
	return c.runtime.Import(ctx, archive)
}
