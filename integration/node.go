package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inlay-project/inlay/integration/process"
)

// NodeOptions choose what a node is made of; the zero value is a node with containerd
// and nothing else.
type NodeOptions struct {
	// Runtime is the container runtime; empty is containerd. The tools must have it.
	Runtime RuntimeName
	// NoNRI turns the runtime's NRI off (CRI-O only).
	NoNRI bool
	// Cards are card descriptions of `fpga-emulator tree`, e.g. "dfl:ports=2". With at
	// least one, the runtime and all that it starts run under the emulator.
	Cards []string
	// EmulatorFlags are added to the emulator's command line, e.g. "--pr-delay", "3s".
	EmulatorFlags []string
	// HostDev makes the cards' nodes the host's own: /dev of the runtime is a folder that
	// has them and the usual nodes. Privileged containers get everything in it.
	HostDev bool
	// NRITimeout is NRI's request timeout; 0 is the runtimes' default, 2 s.
	NRITimeout time.Duration
}

// Node is a running container runtime with its surroundings.
type Node struct {
	// Dir holds all that the node keeps; HostRoot below it is what the FPGA programs
	// see as the host's / (made by the emulator, or empty).
	Dir, HostRoot string
	Runtime       Runtime
	Tools         Tools

	t        testing.TB
	name     string
	launcher *process.Launcher
	pods     atomic.Int64
	recorded string
}

// callLimit bounds every single call to a component. It is long because build machines
// are slow, and below the kubelet's own 2 minutes.
const callLimit = 90 * time.Second

// StartNode starts a node that ends with the test.
func StartNode(t testing.TB, tools Tools, o NodeOptions) *Node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a node of real components needs root")
	}
	sweepAbandoned(t)
	dir := newNodeDir(t)
	n := &Node{
		Dir: dir, HostRoot: filepath.Join(dir, "h"), Tools: tools,
		t: t, name: filepath.Base(dir), recorded: filepath.Join(dir, "emulator.jsonl"),
	}
	prefix := n.makeCards(o)
	for _, d := range []string{n.CDIDir(), n.path("pods"), n.HostPath("opt")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	launcher, err := process.NewLauncher(n.ctx(), process.LauncherOptions{
		Prefix: prefix, PrivateMounts: true, Env: programEnv(), Log: n.path("launcher.log"),
		Binds: n.binds(o),
	})
	if err != nil {
		t.Fatal(err)
	}
	n.launcher = launcher
	n.cleanup("launcher", launcher.Close)
	n.startRuntime(o)
	return n
}

// binds are the folders that the node's processes see in other places.
func (n *Node) binds(o NodeOptions) [][2]string {
	n.t.Helper()
	// What CDI files and hooks call /opt/inlay/… is the emulated host's.
	binds := [][2]string{{n.HostPath("opt"), "/opt"}}
	if o.HostDev {
		binds = append(binds, [2]string{n.makeHostDev(), "/dev"})
	}
	return binds
}

// CDIDir is the folder of CDI specifications, as processes outside containers see it.
func (n *Node) CDIDir() string { return filepath.Join(n.HostRoot, "var/run/cdi") }

// HostPath is where a file of the emulated host is for this process.
func (n *Node) HostPath(p string) string { return filepath.Join(n.HostRoot, p) }

// HooksDir is the folder of hooks.d JSON that the node's CRI-O reads, as processes
// outside containers see it.
func (n *Node) HooksDir() string { return filepath.Join(n.HostRoot, "etc/containers/oci/hooks.d") }

// NRISocket is where the runtime's NRI listens.
func (n *Node) NRISocket() string { return n.Runtime.NRISocket() }

// CgroupParent is the cgroup below which the node's pods are.
func (n *Node) CgroupParent() string { return "/" + n.name }

// programEnv is the whole environment of the programs that a node starts.
func programEnv() []string { return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} }

// Launch runs one of our programs behind the emulator, as the runtime is, and ends it
// with the test.
func (n *Node) Launch(name string, args ...string) *process.Process {
	n.t.Helper()
	p, err := n.launcher.Start(n.ctx(), process.Command{
		Name: name, Path: n.Tools.Path(name), Args: args, Env: programEnv(), Log: n.path(name + ".log"),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.cleanup(name, func(ctx context.Context) error { return p.Terminate(ctx, shutdownGrace) })
	return p
}

// shutdownGrace is how long our programs may take to end after SIGTERM.
const shutdownGrace = 5 * time.Second

// endLimit bounds the end of one component. The runtime's takes longest: the removal of its
// pods, its own end and the sweep, see package daemon.
const endLimit = 2 * time.Minute

// cleanup runs end when the test is over, also after a failure, and fails the test if
// something could not be ended.
func (n *Node) cleanup(what string, end func(context.Context) error) {
	n.t.Cleanup(func() {
		// t.Context() is over by now.
		ctx, cancel := context.WithTimeout(context.Background(), endLimit)
		defer cancel()
		if err := end(ctx); err != nil {
			n.t.Errorf("ending %s: %v", what, err)
		}
	})
}

// ctx bounds one call of the test to a component. Its timer is released with the test.
func (n *Node) ctx() context.Context { return n.within(callLimit) }

func (n *Node) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(n.t.Context(), d)
	n.t.Cleanup(cancel)
	return ctx
}

func (n *Node) path(name string) string { return filepath.Join(n.Dir, name) }

// eventually waits for a condition that the test has a right to, within readyLimit.
func (n *Node) eventually(what string, check func() error) {
	n.t.Helper()
	if err := process.Poll(n.within(readyLimit), check); err != nil {
		n.t.Fatalf("%s: %v", what, err)
	}
}

// newUID gives every pod of a node its own uid.
func (n *Node) newUID() string {
	return fmt.Sprintf("%08d-0000-4000-8000-000000000000", n.pods.Add(1))
}
