package critest

import (
	"context"
	"io"
	"path/filepath"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/components"
)

// EnsureAll builds and installs what is not there yet. It needs the network, which the
// namespaces do not have.
func EnsureAll(ctx context.Context, log io.Writer) error {
	packages := []string{"busybox-static", "conmon", "containernetworking-plugins", "iptables", "skopeo", "socat"}
	if err := components.EnsureDebian(ctx, log, packages...); err != nil {
		return err
	}
	_, err := ensure(ctx, log, "containerd", "runc", "crio", "critest")
	return err
}

func ensure(ctx context.Context, log io.Writer, names ...string) (map[string]string, error) {
	dir, err := components.DefaultDir()
	if err != nil {
		return nil, err
	}
	cache, err := components.Open(dir, log)
	if err != nil {
		return nil, err
	}
	return cache.Ensure(ctx, names...)
}

// Supply is the tools of all runtimes, with the registry behind them.
type Supply struct {
	nodes    map[integration.RuntimeName]integration.Tools
	critest  string
	registry *Registry
}

// NewSupply makes the images and starts the registry. Inlay's programs are those in the
// folder bin, or compiled from this tree if it is empty; dir keeps what is made.
func NewSupply(ctx context.Context, bin, dir string, log io.Writer) (*Supply, error) {
	base, err := integration.BuildRuntime(ctx, dir, log)
	if err != nil {
		return nil, err
	}
	if base, err = base.WithInlay(ctx, bin, dir); err != nil {
		return nil, err
	}
	crio, err := base.WithRuntime(ctx, integration.CRIO, log)
	if err != nil {
		return nil, err
	}
	paths, err := ensure(ctx, log, "critest")
	if err != nil {
		return nil, err
	}
	images, err := Images(ctx, dir)
	if err != nil {
		return nil, err
	}
	registry, err := Serve(filepath.Join(dir, "registry"), images)
	if err != nil {
		return nil, err
	}
	return &Supply{
		nodes:    map[integration.RuntimeName]integration.Tools{integration.Containerd: base, integration.CRIO: crio},
		critest:  paths["critest"],
		registry: registry,
	}, nil
}

// For gives the tools for runs on a runtime.
func (s *Supply) For(name integration.RuntimeName) Tools {
	return Tools{Node: s.nodes[name], Critest: s.critest, Registry: s.registry.Addr()}
}

// Close ends the registry.
func (s *Supply) Close() error { return s.registry.Close() }
