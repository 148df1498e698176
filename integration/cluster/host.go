package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/inlay-project/inlay/integration/process"
)

// The node's programs live in a mount namespace in which the machine's /usr stays, and these folders are those of the
// emulated host: what manifests say of them is true there, and the machine's own are out of reach.
//
// /usr/share is among them for its containers/oci/hooks.d, which is written to.
var ownFolders = [...]string{"etc", "opt", "srv", "run", "var", "usr/share"}

const (
	// sysfs shows the devices of the emulated host and none of the machine's; of the machine's own it has these.
	machineSys = "devices/system devices/virtual kernel module class/net class/dmi"
	// machineDev are the nodes that any program may expect.
	machineDev = "null zero full random urandom tty console kmsg fuse net/tun"
	// machineDevFolders are file systems of their own.
	machineDevFolders = "pts shm"
)

// tunables are kernel settings that a kubelet wants to make. It finds them made, in files that are laid over the
// machine's own.
var tunables = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0",
	"kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// layOutHost makes the emulated host's file tree, with its cards.
func (c *Cluster) layOutHost(ctx context.Context, o Options) error {
	args := []string{"tree"}
	for _, card := range o.Cards {
		args = append(args, "--card", card)
	}
	if out, err := exec.CommandContext(ctx, c.tools.Path("fpga-emulator"), append(args, c.HostRoot)...).CombinedOutput(); err != nil {
		return fmt.Errorf("fpga-emulator tree: %w: %s", err, out)
	}
	folders := []string{
		"etc/nri/conf.d", "etc/containers/oci/hooks.d", "opt/nri/plugins", "usr/share/containers/oci/hooks.d", "run/lock", "run/nri", "var/lib/kubelet", "var/log", "var/tmp", "var/cache", "sys/fs/cgroup", "sys/block", "dev/net",
		bitstreamStore,
	}
	for _, f := range strings.Fields(machineSys) {
		folders = append(folders, "sys/"+f)
	}
	for _, f := range strings.Fields(machineDevFolders) {
		folders = append(folders, "dev/"+f)
	}
	// The tree has a folder where every distribution has a link, and folders that Inlay's pods are to make.
	for _, f := range []string{"var/run", "run/inlay", "var/lib/inlay"} {
		if err := os.RemoveAll(c.HostPath(f)); err != nil {
			return err
		}
	}
	for _, f := range folders {
		if err := os.MkdirAll(c.HostPath(f), 0o755); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"var/run": "../run", "etc/os-release": "../usr/lib/os-release", "dev/ptmx": "pts/ptmx",
		"dev/fd": "/proc/self/fd", "dev/stdin": "/proc/self/fd/0", "dev/stdout": "/proc/self/fd/1", "dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, c.HostPath(name)); err != nil {
			return err
		}
	}
	return c.writeEtc()
}

// writeEtc gives the emulated host the few files of /etc that its programs read.
func (c *Cluster) writeEtc() error {
	for name, text := range map[string]string{
		"passwd": "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n", "group": "root:x:0:\nnogroup:x:65534:\n",
		"hosts": "127.0.0.1 localhost\n" + gateway + " " + NodeName + "\n", "hostname": NodeName + "\n",
		"resolv.conf": "", "nsswitch.conf": "hosts: files\n", "machine-id": strings.Repeat("0", 31) + "1\n",
	} {
		if err := os.WriteFile(filepath.Join(c.HostPath("etc"), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	// Programs of the distribution find their libraries by it.
	cache, err := os.ReadFile("/etc/ld.so.cache")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(c.HostPath("etc/ld.so.cache"), cache, 0o644)
}

// startNode starts the namespaces of the node, under the emulator.
func (c *Cluster) startNode(ctx context.Context, o Options) (err error) {
	if err := c.layOutHost(ctx, o); err != nil {
		return err
	}
	mounts, err := c.mounts()
	if err != nil {
		return err
	}
	prefix := []string{
		c.tools.Path("fpga-emulator"), "--host-root", c.HostRoot, "--bitstreams", c.Bitstreams(), "--record", c.recorded(),
		"--faults", c.FaultsFile(), "--linger",
	}
	c.node, err = process.NewLauncher(ctx, process.LauncherOptions{
		Prefix: append(append(prefix, o.EmulatorFlags...), "--"), PrivateMounts: true, PrivateNetwork: true, PrivatePIDs: true,
		Env: environment(), Log: c.path("launcher.log"), Setup: append(networkSetup(), mounts...),
	})
	return err
}

// environment is the whole environment of the programs.
func environment() []string { return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} }

// mounts are the commands that make the node's view of the file system. Paths of the cluster's folder have no blanks.
func (c *Cluster) mounts() ([]string, error) {
	var commands []string
	add := func(format string, args ...any) { commands = append(commands, fmt.Sprintf(format, args...)) }
	// A sysfs mounted now shows the interfaces of this network namespace.
	fresh := c.path("sysfs")
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return nil, err
	}
	add("mount -t sysfs sysfs %s", fresh)
	for _, name := range strings.Fields(machineSys) {
		add("if [ -d %s/%s ]; then mount --bind %[1]s/%[2]s %s; fi", fresh, name, c.HostPath("sys/"+name))
	}
	// No huge pages: a kubelet limits them where there are any, also on a machine without that controller.
	none := c.path("no-huge-pages")
	if err := os.Mkdir(none, 0o755); err != nil {
		return nil, err
	}
	add("if [ -d %s ]; then mount --bind %s %[1]s; fi", c.HostPath("sys/kernel/mm/hugepages"), none)
	add("mount --rbind /sys/fs/cgroup %s", c.HostPath("sys/fs/cgroup"))
	add("mount --rbind %s /sys", c.HostPath("sys"))
	for _, name := range strings.Fields(machineDev) {
		to := c.HostPath("dev/" + name)
		if _, err := os.Stat("/dev/" + name); err != nil {
			continue // not on this machine
		}
		if err := os.WriteFile(to, nil, 0o600); err != nil {
			return nil, err
		}
		add("mount --bind /dev/%s %s", name, to)
	}
	for _, name := range strings.Fields(machineDevFolders) {
		add("mount --rbind /dev/%s %s", name, c.HostPath("dev/"+name))
	}
	add("mount --rbind %s /dev", c.HostPath("dev"))
	for _, name := range ownFolders {
		add("mount --bind %s /%s", c.HostPath(name), name)
	}
	made := c.path("tunables")
	for name, value := range tunables {
		file := filepath.Join(made, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(value+"\n"), 0o644)); err != nil {
			return nil, err
		}
		add("if [ -f /proc/sys/%s ]; then mount --bind %s /proc/sys/%[1]s; fi", name, file)
	}
	return commands, nil
}

// HostPath is where a file of the emulated host is for this process.
func (c *Cluster) HostPath(p string) string { return filepath.Join(c.HostRoot, p) }

func (c *Cluster) path(name string) string { return filepath.Join(c.Dir, name) }
