package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/nri/pkg/api"
	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

// node is both of our daemons with what they serve, and the two baselines beside them.
type node struct {
	b       *bench
	root    string // host tree
	kubelet *kubelet.Kubelet
	runtime *enginetest.Runtime
	plugin  *process.Process // inlay-deviceplugin
	nri     *process.Process // inlay-nri
	bare    *process.Process
	empty   *process.Process
	pages   []string // of metrics
	ends    []func()
}

// startNode furnishes a host tree with one card and starts everything. end must be called whatever comes of it.
func (b *bench) startNode(ctx context.Context) (*node, error) {
	dir, remove, err := b.folder()
	if err != nil {
		return nil, err
	}
	n := &node{b: b, root: dir, ends: []func(){remove}}
	if err := errors.Join(n.furnish(ctx), n.startServers()); err != nil {
		return n, err
	}
	var addresses [2]string
	for i := range addresses {
		if addresses[i], err = freeAddress(); err != nil {
			return n, err
		}
		n.pages = append(n.pages, "http://"+addresses[i]+"/metrics")
	}
	for _, p := range []struct {
		into *(*process.Process)
		name string
		path string
		args []string
	}{
		{&n.plugin, "inlay-deviceplugin", b.ours("inlay-deviceplugin"), inlayPlugin(dir, "region", addresses[0])},
		{&n.bare, "bareplugin", b.helper("bareplugin"), barePlugin(dir, 1)},
		{&n.nri, "inlay-nri", b.ours("inlay-nri"), []string{
			"--host-root", dir, "--kubelet-dir", kubeletDir(dir), "--nri-socket", n.socket(), "--policy", n.policy(), "--http", addresses[1],
		}},
		{&n.empty, "emptyplugin", b.helper("emptyplugin"), []string{"-nri-socket", n.socket()}},
	} {
		started, end, err := b.start(dir, p.name, p.path, p.args...)
		if err != nil {
			return n, err
		}
		*p.into, n.ends = started, append(n.ends, end)
	}
	return n, ended(n.ready(ctx), n.plugin, n.nri, n.bare, n.empty)
}

func (n *node) socket() string { return filepath.Join(n.root, "nri.sock") }
func (n *node) policy() string { return filepath.Join(n.root, "var/lib/inlay/policy.json") }

func (n *node) end() {
	for _, e := range slices.Backward(n.ends) {
		e()
	}
}

// furnish makes the host tree: a card, a bitstream, a policy, the hook.
func (n *node) furnish(ctx context.Context) error {
	if err := n.b.tree(ctx, n.root, "dfl:ports=1"); err != nil {
		return err
	}
	files, err := store(n.root)
	if err != nil {
		return err
	}
	if err := n.b.emulate(ctx, "gbs", "--iface", iface, "--afu", nlb0, "--size", "1000000", filepath.Join(files, nlb0+".gbs")); err != nil {
		return err
	}
	if err := writePolicy(n.policy()); err != nil {
		return err
	}
	return copyProgram(n.b.ours("inlay-hook"), filepath.Join(n.root, "opt/inlay/bin/inlay-hook"))
}

func (n *node) startServers() error {
	var err error
	if n.kubelet, err = kubelet.Start(kubeletDir(n.root)); err != nil {
		return err
	}
	n.ends = append(n.ends, func() { _ = n.kubelet.Stop() }) // it ends with this process at the latest
	if n.runtime, err = enginetest.Start(n.socket(), enginetest.Options{}); err != nil {
		return err
	}
	n.ends = append(n.ends, n.runtime.Stop)
	return nil
}

// ready waits until everybody has registered.
func (n *node) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := n.kubelet.WaitForHealthy(ctx, regionResource, 1); err != nil {
		return err
	}
	if err := n.kubelet.WaitForHealthy(ctx, bareResource, 1); err != nil {
		return err
	}
	if err := n.runtime.WaitPlugins(ctx, 2); err != nil {
		return err
	}
	return process.Poll(ctx, func() error {
		s, err := nristatus.Ask(ctx, filepath.Join(n.root, "run/inlay", nristatus.SocketName))
		if err != nil {
			return err
		}
		return s.Ready()
	})
}

// container does what kubelet and runtime do for one FPGA container until its hooks would run, and for a device of the
// bare plugin beside it.
func (n *node) container(ctx context.Context, i int) error {
	owner := kubelet.Owner{Namespace: namespace, Pod: fmt.Sprint("pod-", i), Container: "main"}
	defer n.kubelet.Free(owner)
	answer, err := n.kubelet.Allocate(ctx, owner, kubelet.Request{regionResource: 1})
	if err != nil {
		return err
	}
	if err := n.kubelet.PreStart(ctx, owner); err != nil {
		return err
	}
	other := kubelet.Owner{Namespace: namespace, Pod: fmt.Sprint("bare-", i), Container: "main"}
	defer n.kubelet.Free(other)
	if _, err := n.kubelet.Allocate(ctx, other, kubelet.Request{bareResource: 1}); err != nil {
		return err
	}
	spec := &rspec.Spec{Version: rspec.Version, Linux: &rspec.Linux{}, Process: &rspec.Process{
		Args: []string{"server"}, Cwd: "/", Env: []string{"FPGA_REGION_1=" + iface, "FPGA_AFU_1=" + nlb0},
	}}
	pod := &api.PodSandbox{Id: fmt.Sprint("p", i), Name: owner.Pod, Uid: fmt.Sprint(i), Namespace: owner.Namespace}
	ctr := enginetest.ContainerFromSpec(pod, fmt.Sprint("c", i), "main", spec, answer.Annotations)
	adjust, err := n.runtime.CreateContainer(ctx, pod, ctr)
	if err == nil && len(adjust.GetLinux().GetDevices()) != 1 {
		err = fmt.Errorf("the container got %d devices", len(adjust.GetLinux().GetDevices()))
	}
	return err
}

// scrape reads the metrics as a monitoring system does.
func (n *node) scrape(ctx context.Context) error {
	for _, page := range n.pages {
		if _, err := metrics(ctx, page); err != nil {
			return err
		}
	}
	return nil
}
