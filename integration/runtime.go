package integration

import (
	"context"
	"fmt"
	"strings"

	"github.com/inlay-project/inlay/integration/containerd"
	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/crio"
	"github.com/inlay-project/inlay/integration/ocitest"
	"github.com/inlay-project/inlay/integration/process"
)

// RuntimeName chooses a node's container runtime. It is the name of its component.
type RuntimeName string

// The runtimes that a node can have; the zero value is containerd.
const (
	Containerd RuntimeName = "containerd"
	CRIO       RuntimeName = "crio"
	// OldCRIO is a CRI-O whose NRI, 0.9.1, tells plugins less than ours is made for.
	OldCRIO RuntimeName = "crio-1.34"
)

// Runtime is a container runtime of a node. Between Start and Stop it can be restarted
// any number of times while its containers run on.
type Runtime interface {
	Start(context.Context) error
	// Halt ends the daemon alone; Restart is Halt and Start.
	Halt(context.Context) error
	Restart(context.Context) error
	// Stop ends the daemon with all that it has started.
	Stop(context.Context) error
	Process() *process.Process

	// CRI is a client that stays good over restarts.
	CRI() *cri.Client
	NRISocket() string
	// Import brings all images of an OCI archive (see package ocitest).
	Import(ctx context.Context, archive string) error
	// Bundle is the OCI bundle of a container that has been started.
	Bundle(container string) string
}

// newRuntime lays out the node's runtime, which is then to be started.
func (n *Node) newRuntime(o NodeOptions) (Runtime, error) {
	switch o.Runtime {
	case "", Containerd:
		if o.NoNRI {
			return nil, fmt.Errorf("a node without NRI is a CRI-O node")
		}
		return containerd.New(containerd.Options{
			Dir:        n.path("c"),
			Containerd: n.Tools.Path("containerd"), Shim: n.Tools.Path("containerd-shim-runc-v2"),
			Ctr: n.Tools.Path("ctr"), Runc: n.Tools.Path("runc"),
			PauseImage: ocitest.PauseName, CDIDirs: []string{n.CDIDir()}, CgroupParent: n.CgroupParent(), NRITimeout: o.NRITimeout,
		}, n.launcher)
	case CRIO, OldCRIO:
		suffix := strings.TrimPrefix(string(o.Runtime), "crio")
		return crio.New(crio.Options{
			Dir:  n.path("c"),
			CRIO: n.Tools.Path("crio" + suffix), Pinns: n.Tools.Path("pinns" + suffix),
			Conmon: n.Tools.Path("conmon"), Skopeo: n.Tools.Path("skopeo"), Runc: n.Tools.Path("runc"),
			PauseImage: ocitest.PauseName, CDIDirs: []string{n.CDIDir()}, HooksDirs: []string{n.HooksDir()},
			CgroupParent: n.CgroupParent(), NoNRI: o.NoNRI, NRITimeout: o.NRITimeout,
		}, n.launcher)
	}
	return nil, fmt.Errorf("runtime %q: there are %s, %s and %s", o.Runtime, Containerd, CRIO, OldCRIO)
}

// startRuntime starts the node's runtime with the test images in it.
func (n *Node) startRuntime(o NodeOptions) {
	n.t.Helper()
	r, err := n.newRuntime(o)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Runtime = r
	n.cleanup("the container runtime", r.Stop)
	if err := r.Start(n.ctx()); err != nil {
		n.t.Fatal(err)
	}
	if err := r.Import(n.ctx(), n.Tools.images); err != nil {
		n.t.Fatal(err)
	}
}
