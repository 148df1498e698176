package containerd

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Options say where a containerd lives and what it uses. Dir must be short: unix socket
// addresses end after 107 bytes.
type Options struct {
	// Dir holds everything: configuration, images, state, sockets, logs.
	Dir string
	// Containerd, Shim, Ctr and Runc are the programs.
	Containerd, Shim, Ctr, Runc string
	// PauseImage is the name of an image that Import brings.
	PauseImage string
	// CDIDirs are the folders of CDI specifications.
	CDIDirs []string
	// CgroupParent is the cgroup path, "/…", below which pods are put. It is removed
	// on Stop and must be this containerd's alone.
	CgroupParent string
	// NRIListen is where NRI plugins connect; empty means a socket in Dir.
	NRIListen string
	// NRITimeout is NRI's request timeout; 0 means containerd's own default, 2 s.
	NRITimeout time.Duration
	// NRIPlugins is the folder of pre-installed plugins; empty means one without any.
	NRIPlugins string
}

// Socket is the address of the CRI and of containerd's own API.
func (o Options) Socket() string { return filepath.Join(o.Dir, "c.sock") }

// NRISocket is where NRI plugins connect. Its folder is made by containerd.
func (o Options) NRISocket() string {
	return cmp.Or(o.NRIListen, filepath.Join(o.Dir, "nri", "nri.sock"))
}

// LogFile is what containerd prints.
func (o Options) LogFile() string { return filepath.Join(o.Dir, "containerd.log") }

// Trace is an argument of the shims of this containerd, as package sweep takes it.
func (o Options) Trace() string { return "-address " + o.Socket() }

func (o Options) root() string       { return filepath.Join(o.Dir, "root") }
func (o Options) state() string      { return filepath.Join(o.Dir, "state") }
func (o Options) configFile() string { return filepath.Join(o.Dir, "containerd.toml") }

// Bundle is the OCI bundle of a container that has been started.
func (o Options) Bundle(container string) string {
	return filepath.Join(o.state(), "io.containerd.runtime.v2.task", "k8s.io", container)
}

// config is containerd's configuration, format 4. What it does not name has containerd's
// own default.
func (o Options) config() string {
	nriTimeout := o.NRITimeout
	if nriTimeout == 0 {
		nriTimeout = 2 * time.Second
	}
	nriPlugins := o.NRIPlugins
	if nriPlugins == "" {
		nriPlugins = filepath.Join(o.Dir, "nri-plugins")
	}
	return fmt.Sprintf(`version = 4
root = %q
state = %q
imports = []
disabled_plugins = ["io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[debug]
  level = "debug"

[plugins.'io.containerd.server.v1.grpc']
  address = %q
[plugins.'io.containerd.server.v1.ttrpc']
  address = %q

[plugins.'io.containerd.internal.v1.opt']
  path = %q

[plugins.'io.containerd.image-verifier.v1.bindir']
  bin_dir = %q

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = %q

[plugins.'io.containerd.cri.v1.runtime']
  # Root without CAP_SYS_RESOURCE, as in most build machines' containers, cannot lower
  # oom_score_adj; without this line every pod fails there.
  restrict_oom_score_adj = true
  cdi_spec_dirs = [%s]
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = [%q]
  conf_dir = %q
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  runtime_path = %q
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = %q
  Root = %q
  SystemdCgroup = false

[plugins.'io.containerd.nri.v1.nri']
  disable = false
  socket_path = %q
  plugin_path = %q
  plugin_config_path = %q
  plugin_request_timeout = %q
`,
		o.root(), o.state(), o.Socket(), o.Socket()+".ttrpc",
		filepath.Join(o.Dir, "opt"), filepath.Join(o.Dir, "verifiers"), o.PauseImage, quoted(o.CDIDirs),
		filepath.Join(o.Dir, "cni", "bin"), filepath.Join(o.Dir, "cni", "net.d"),
		o.Shim, o.Runc, filepath.Join(o.state(), "runc"),
		o.NRISocket(), nriPlugins, filepath.Join(o.Dir, "nri-conf"), nriTimeout,
	)
}

func quoted(list []string) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(words, ", ")
}
