package main

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/deviceplugins/mirror"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/sgx"
	"github.com/inlay-project/inlay/deviceplugins/sgx/epc"
	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/kube"
	"github.com/inlay-project/inlay/internal/observe"
	"github.com/inlay-project/inlay/webhook/api/follow"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// policyMirror makes what writes the policy file; nil if no file is asked for. A daemon that was told to keep a policy and
// cannot ask for one must not look as if it did: without an API server it does not start.
func (o *options) policyMirror(registry *observe.Registry) (*mirror.Mirror, error) {
	if o.policy == "" {
		return nil, nil
	}
	config, err := kube.Config(o.kubeconfig, "inlay-deviceplugin")
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("--policy needs an API server: this is no pod of a cluster, and there is no --kubeconfig")
	}
	if err != nil {
		return nil, fmt.Errorf("--policy: %w", err)
	}
	client, err := follow.Client(config)
	if err != nil {
		return nil, fmt.Errorf("--policy: %w", err)
	}
	c := mirror.Config{
		File: o.policy,
		Source: func(kind v2.Kind, iface fpga.InterfaceID) mirror.Source {
			return follow.Mappings{Client: client, Kind: kind, Interface: iface, Log: o.Log}
		},
		Observer: observe.NewPolicyMetrics(registry),
		Log:      o.Log,
	}
	if o.nodeName != "" {
		pods, err := epc.Source(config, o.nodeName, o.Log)
		if err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
		c.Pods = pods
	}
	return mirror.New(c), nil
}

// enclaves is the SGX family, of which the policy's mirror is told: the limits of enclave memory are kept on nodes that
// have SGX, and nowhere else.
type enclaves struct {
	*sgx.Family
	policy *mirror.Mirror
}

// Scan implements plugin.Family.
func (e enclaves) Scan(ctx context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	inv, skipped, err := e.Family.Scan(ctx)
	if err == nil && e.Present() {
		e.policy.SeeSGX(e.Limited()) // before the kubelet hears of it
	}
	return inv, skipped, err
}
