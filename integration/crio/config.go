package crio

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Options say where a CRI-O lives and what it uses. Dir must be short: unix socket
// addresses end after 107 bytes.
type Options struct {
	// Dir holds everything: configuration, images, state, sockets, logs.
	Dir string
	// CRIO, Pinns, Conmon, Runc and Skopeo are the programs.
	CRIO, Pinns, Conmon, Runc, Skopeo string
	// PauseImage is the name of an image that Import brings. CRI-O starts it only for
	// pods whose containers share a PID namespace.
	PauseImage string
	// CDIDirs and HooksDirs are the folders of CDI specifications and hooks.d JSON.
	CDIDirs, HooksDirs []string
	// CgroupParent is the cgroup path, "/…", below which pods are put. It is removed
	// on Stop and must be this CRI-O's alone.
	CgroupParent string
	// NoNRI turns NRI off.
	NoNRI bool
	// NRIListen is where NRI plugins connect; empty means a socket in Dir.
	NRIListen string
	// NRITimeout is NRI's request timeout; 0 means CRI-O's own default, 2 s.
	NRITimeout time.Duration
}

// Socket is the address of the CRI.
func (o Options) Socket() string { return filepath.Join(o.Dir, "o.sock") }

// NRISocket is where NRI plugins connect.
func (o Options) NRISocket() string { return cmp.Or(o.NRIListen, filepath.Join(o.Dir, "nri.sock")) }

// LogFile is what CRI-O prints.
func (o Options) LogFile() string { return filepath.Join(o.Dir, "crio.log") }

// Trace is an argument of the conmons of this CRI-O, as package sweep takes it.
func (o Options) Trace() string { return "--exit-dir " + o.exits() }

func (o Options) root() string        { return filepath.Join(o.Dir, "root") }
func (o Options) state() string       { return filepath.Join(o.Dir, "run") }
func (o Options) exits() string       { return filepath.Join(o.Dir, "exits") }
func (o Options) skopeoCache() string { return filepath.Join(o.Dir, "skopeo") }
func (o Options) configFile() string  { return filepath.Join(o.Dir, "crio.conf") }

// Bundle is the OCI bundle of a container.
func (o Options) Bundle(container string) string {
	return filepath.Join(o.state(), "overlay-containers", container, "userdata")
}

// Files beside the configuration: without them the machine's own in /etc/containers count.
func (o Options) policyFile() string     { return filepath.Join(o.Dir, "policy.json") }
func (o Options) registriesFile() string { return filepath.Join(o.Dir, "registries.conf") }
func (o Options) storageFile() string    { return filepath.Join(o.Dir, "storage.conf") }

const policy = `{"default":[{"type":"insecureAcceptAnything"}]}`

// storage is the configuration of the image and container store that CRI-O and skopeo share.
func (o Options) storage() string {
	return fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n", o.root(), o.state())
}

// env is the environment of CRI-O and of skopeo.
func (o Options) env() []string {
	return []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"CONTAINERS_STORAGE_CONF=" + o.storageFile(), "CONTAINERS_REGISTRIES_CONF=" + o.registriesFile(),
		"CONTAINER_REGISTRIES_CONF=" + o.registriesFile(), // CRI-O's own spelling
	}
}

// config is CRI-O's configuration. What it does not name has CRI-O's own default.
func (o Options) config() string {
	nriTimeout := o.NRITimeout
	if nriTimeout == 0 {
		nriTimeout = 2 * time.Second
	}
	in := func(name string) string { return filepath.Join(o.Dir, name) }
	return fmt.Sprintf(`[crio]
root = %q
runroot = %q
storage_driver = "overlay"
log_dir = %q
version_file = %q
version_file_persist = %q
clean_shutdown_file = %q

[crio.api]
listen = %q
stream_port = "0"

[crio.runtime]
default_runtime = "runc"
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
log_level = "debug"
# Loading a profile needs rights that the root of a build machine's container lacks.
apparmor_profile = "unconfined"
hooks_dir = [%s]
cdi_spec_dirs = [%s]
container_exits_dir = %q
container_attach_socket_dir = %q
namespaces_dir = %q
pinns_path = %q
# CRI-O's own and MKNOD, which containerd gives too: what a pod can do with it is for the tests to see.
default_capabilities = [
  "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE", "KILL", "MKNOD",
]
irqbalance_config_restore_file = "disable"
# Without it CRI-O wants iptables; pods of the tests have no host ports.
disable_hostport_mapping = true
enable_criu_support = false

[crio.runtime.runtimes.runc]
runtime_path = %q
runtime_type = "oci"
runtime_root = %q
monitor_path = %q
monitor_cgroup = "pod"

[crio.image]
pause_image = %q
pause_command = ""
signature_policy = %q
signature_policy_dir = %q

[crio.network]
network_dir = %q
plugin_dirs = [%q]

[crio.nri]
enable_nri = %t
nri_listen = %q
nri_plugin_dir = %q
nri_plugin_config_dir = %q
nri_plugin_request_timeout = %q
`,
		o.root(), o.state(), in("logs"), in("version"), in("version-persist"), in("clean.shutdown"),
		o.Socket(),
		quoted(o.HooksDirs), quoted(o.CDIDirs), o.exits(), in("attach"), in("ns"), o.Pinns,
		o.Runc, in("runc"), o.Conmon,
		o.PauseImage, o.policyFile(), in("policies"),
		in("cni/net.d"), in("cni/bin"),
		!o.NoNRI, o.NRISocket(), in("nri-plugins"), in("nri-conf"), nriTimeout,
	)
}

func quoted(list []string) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(words, ", ")
}
