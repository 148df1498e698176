package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/renameio/v2"

	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/internal/atomicfile"
	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/internal/policy"
)

// InlayOptions choose how Inlay runs on a node; the zero value is region mode with a
// policy that allows every function of StandardPolicy.
type InlayOptions struct {
	// Mode is af, region (default) or regiondevel.
	Mode string
	// Allocate has Allocate give the devices, for a runtime without NRI: there is no
	// inlay-nri then, and inlay-hook finds out by itself what is to be programmed.
	Allocate bool
	// HookTimeout is how long the program hook may take; 0 means 20 s.
	HookTimeout time.Duration
	// PolicyMaxAge is passed to inlay-nri; 0 means no limit.
	PolicyMaxAge time.Duration
	// NRIFlags and PluginFlags are added to the command lines.
	NRIFlags, PluginFlags []string
}

// Inlay is Inlay's programs on a node, with the scripted kubelet that they serve.
type Inlay struct {
	Node    *Node
	Kubelet *kubelet.Kubelet
	// NRI and DevicePlugin are the running processes.
	NRI, DevicePlugin *process.Process
	// Hook is the stable name of inlay-hook, a link, as processes outside containers see
	// it. Beside it each version that was installed has its own file.
	Hook string

	options InlayOptions
	t       testing.TB
}

// readyLimit is how long one of our programs may take until it serves. It is a promise
// of ours, with room for a loaded build machine.
const readyLimit = 15 * time.Second

// StartInlay starts the kubelet, inlay-deviceplugin and inlay-nri, with the standard
// policy, and returns when inlay-nri is connected and the device plugin has registered.
func (n *Node) StartInlay(o InlayOptions) *Inlay {
	n.t.Helper()
	i := n.NewInlay(o)
	i.Start()
	return i
}

// NewInlay starts the kubelet alone: the node before Inlay comes.
func (n *Node) NewInlay(o InlayOptions) *Inlay {
	n.t.Helper()
	if o.Mode == "" {
		o.Mode = "region"
	}
	if o.HookTimeout == 0 {
		o.HookTimeout = 20 * time.Second
	}
	i := &Inlay{Node: n, Hook: n.HostPath("opt/inlay/bin/inlay-hook"), options: o, t: n.t}
	var err error
	if i.Kubelet, err = kubelet.Start(n.HostPath("var/lib/kubelet")); err != nil {
		n.t.Fatal(err)
	}
	n.cleanup("kubelet", func(context.Context) error { return i.Kubelet.Stop() })
	return i
}

// Start installs Inlay and starts its programs, which serve when it returns.
func (i *Inlay) Start() {
	i.t.Helper()
	i.InstallHook()
	i.WritePolicy(StandardPolicy())
	if !i.options.Allocate {
		i.StartNRI()
	}
	i.StartDevicePlugin()
	i.Node.eventually("registration of inlay-deviceplugin", func() error {
		if !i.DevicePlugin.Alive() {
			return process.Permanent(fmt.Errorf("it ended:\n%s", i.DevicePlugin.Tail(10)))
		}
		if len(i.Kubelet.Resources()) == 0 {
			return fmt.Errorf("no resource is registered:\n%s", i.DevicePlugin.Tail(10))
		}
		return nil
	})
}

// StopDaemons ends Inlay's programs, as deleting its DaemonSet does.
func (i *Inlay) StopDaemons() {
	i.t.Helper()
	for _, p := range []*process.Process{i.NRI, i.DevicePlugin} {
		if p == nil {
			continue
		}
		if err := p.Terminate(i.Node.ctx(), shutdownGrace); err != nil {
			i.t.Fatal(err)
		}
	}
}

// Discover is what inlay-deviceplugin discover prints on this node: what would be
// advertised, and on its other output what is left out.
func (i *Inlay) Discover() (list, leftOut string) {
	i.t.Helper()
	cmd := exec.CommandContext(i.Node.ctx(), i.Node.Tools.Path("inlay-deviceplugin"), "discover", "--host-root", i.Node.HostRoot,
		"--families", "fpga", "--fpga-mode", i.options.Mode)
	var out, left strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &left
	if err := cmd.Run(); err != nil {
		i.t.Fatalf("discover: %v\n%s", err, left.String())
	}
	return out.String(), left.String()
}

// Uninstall takes Inlay off the host, as its user would.
func (i *Inlay) Uninstall(flags ...string) (out string, err error) {
	i.t.Helper()
	args := append([]string{"uninstall-host", "--host-root", i.Node.HostRoot}, flags...)
	b, err := exec.CommandContext(i.Node.ctx(), i.Node.Tools.Path("inlay-deviceplugin"), args...).CombinedOutput()
	return string(b), err
}

// common are the flags that both programs have.
func (i *Inlay) common() []string {
	return []string{"--host-root", i.Node.HostRoot, "--fpga-mode", i.options.Mode, "--http", "", "--log-level", "debug"}
}

// StartNRI starts inlay-nri, anew if it ran before, and waits until it is connected.
func (i *Inlay) StartNRI() {
	i.t.Helper()
	args := slices.Concat(i.common(), []string{
		"--nri-socket", i.Node.NRISocket(), "--hook-host-root", i.Node.HostRoot, "--hook-source", i.Node.Tools.Path("inlay-hook"),
		"--hook-timeout", i.options.HookTimeout.String(), "--policy", i.PolicyFile(), "--policy-max-age", i.options.PolicyMaxAge.String(),
	}, i.options.NRIFlags)
	i.NRI = i.Node.Launch("inlay-nri", args...)
	i.WaitForNRI()
}

// WaitForNRI returns when inlay-nri is connected to containerd and synchronized.
func (i *Inlay) WaitForNRI() {
	i.t.Helper()
	i.Node.eventually("inlay-nri's connection", func() error {
		if !i.NRI.Alive() {
			return process.Permanent(fmt.Errorf("inlay-nri ended:\n%s", i.NRI.Tail(20)))
		}
		return i.NRIConnected()
	})
}

// NRIConnected asks inlay-nri itself whether the runtime would call it.
func (i *Inlay) NRIConnected() error {
	ctx, cancel := context.WithTimeout(i.t.Context(), time.Second)
	defer cancel()
	s, err := nristatus.Ask(ctx, i.Node.HostPath("run/inlay/"+nristatus.SocketName))
	if err != nil {
		return err
	}
	if !s.Connected || !s.Synchronized {
		return fmt.Errorf("not connected: %+v", s)
	}
	return nil
}

// StartDevicePlugin starts inlay-deviceplugin, anew if it ran before.
func (i *Inlay) StartDevicePlugin() {
	i.t.Helper()
	args := append(i.common(), "--families", "fpga")
	if i.options.Allocate {
		args = append(args, "--fpga-grant", "allocate", "--hook-host-root", i.Node.HostRoot, "--hook-timeout", i.options.HookTimeout.String())
	}
	args = append(args, i.options.PluginFlags...)
	i.DevicePlugin = i.Node.Launch("inlay-deviceplugin", args...)
}

// InstallHook puts the node's inlay-hook into the host's hook folder as a user's node
// does: inlay-hook install-host. It returns the version's own file.
func (i *Inlay) InstallHook() (file string) {
	i.t.Helper()
	out, err := exec.CommandContext(i.Node.ctx(), i.Node.Tools.Path("inlay-hook"), "install-host", "--host-root", i.Node.HostRoot).CombinedOutput()
	if err != nil {
		i.t.Fatalf("inlay-hook install-host: %v: %s", err, out)
	}
	file, _, _ = strings.Cut(string(out), " ")
	return file
}

// HookVersions are the names of the versions' files in the hook folder.
func (i *Inlay) HookVersions() []string {
	i.t.Helper()
	files, err := filepath.Glob(i.Hook + "-*")
	if err != nil {
		i.t.Fatal(err)
	}
	for k, f := range files {
		files[k] = filepath.Base(f)
	}
	return files
}

// ReplaceHook puts another program in the place of each version, as only root can.
func (i *Inlay) ReplaceHook() {
	i.t.Helper()
	for _, name := range i.HookVersions() {
		if err := atomicfile.Write(filepath.Join(filepath.Dir(i.Hook), name), []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
			i.t.Fatal(err)
		}
	}
}

// RemoveHook takes inlay-hook away, with all its versions.
func (i *Inlay) RemoveHook() {
	i.t.Helper()
	for _, name := range append(i.HookVersions(), filepath.Base(i.Hook)) {
		i.Node.RemoveFile(filepath.Join(filepath.Dir(i.Hook), name))
	}
}

// PolicyFile is the node's policy file.
func (i *Inlay) PolicyFile() string { return i.Node.HostPath("var/lib/inlay/policy.json") }

// WritePolicy replaces the policy file as its mirror does.
func (i *Inlay) WritePolicy(p policy.Policy) {
	i.t.Helper()
	data, err := json.Marshal(p)
	if err != nil {
		i.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(i.PolicyFile()), 0o700); err != nil {
		i.t.Fatal(err)
	}
	if err := renameio.WriteFile(i.PolicyFile(), data, 0o600); err != nil {
		i.t.Fatal(err)
	}
}

// RemovePolicy takes the policy file away.
func (i *Inlay) RemovePolicy() {
	i.t.Helper()
	if err := os.Remove(i.PolicyFile()); err != nil {
		i.t.Fatal(err)
	}
}

// RemoveGate takes the gate out of the CDI device that Allocate names, and freezes the
// device plugin so that it does not put it back. The device itself stays.
func (i *Inlay) RemoveGate() {
	i.t.Helper()
	if err := i.DevicePlugin.Stop(); err != nil {
		i.t.Fatal(err)
	}
	const ungated = `{"cdiVersion":"0.5.0","kind":"intel.cdi.k8s.io/fpga","devices":[{"name":"gate","containerEdits":{"env":["GATE=removed"]}}]}`
	file := filepath.Join(i.Node.CDIDir(), "intel.cdi.k8s.io-fpga-gate.yaml")
	if _, err := os.Stat(file); err != nil {
		i.t.Fatalf("there is no gate to remove: %v", err)
	}
	// By rename in the folder itself: runtimes do not notice what is moved in from another.
	if err := atomicfile.Write(file, []byte(ungated), 0o644); err != nil {
		i.t.Fatal(err)
	}
	time.Sleep(noticeTime)
}

// noticeTime is enough for a runtime on a busy machine to read a changed CDI file or
// hooks.d JSON; none says when it has.
const noticeTime = time.Second
