package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/containerd/nri/pkg/api"
	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/podresources"
	"github.com/inlay-project/inlay/internal/record"
	"github.com/inlay-project/inlay/nri-plugin/devices"
	"github.com/inlay-project/inlay/nri-plugin/engine"
	"github.com/inlay-project/inlay/nri-plugin/fpga"
	"github.com/inlay-project/inlay/nri-plugin/sgx"
)

// fixed are the flags that a configuration cannot change: by the time it comes they have been used, or the runtime has
// the say.
var fixed = []string{"help", "host-root", "nri-index", "nri-socket", "version"}

// applyConfig takes flags from YAML, "hook-timeout: 90s" a line; a flag or its environment twin beats it.
func applyConfig(flags *pflag.FlagSet, config string) error {
	text, err := yaml.YAMLToJSONStrict([]byte(config))
	if err != nil {
		return errors.New(cli.OneLine(err))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a float would turn a size in bytes into 5.36870912e+08
	values := map[string]any{}
	if err := d.Decode(&values); err != nil {
		return errors.New("it is not a list of <flag>: <value> lines")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		f := flags.Lookup(name)
		if f == nil || slices.Contains(fixed, name) {
			return fmt.Errorf("%.80q is not a setting that can be made here", name)
		}
		if f.Changed {
			continue
		}
		switch value := values[name].(type) {
		case string, bool, json.Number:
			if err := flags.Set(name, fmt.Sprint(value)); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		default:
			return fmt.Errorf("%s: %v is no single value", name, value)
		}
	}
	return nil
}

// build makes the adjuster from the options as they are now.
func (o *options) build(into *lateAdjuster, state *reconciler) error {
	if err := o.check(); err != nil {
		return err
	}
	hook, err := o.programHook()
	if err != nil {
		return err
	}
	store, err := o.HostPath("bitstreams", o.Bitstreams)
	if err != nil {
		return err
	}
	c := fpga.Config{
		Root: o.Root, RunDir: o.RunDir, Store: store, MaxBitstream: o.maxBitstream,
		Hook: hook.Hook, Policy: o.policy, PolicyMaxAge: o.policyMaxAge, Log: o.Log,
	}
	if o.fpgaMode != modeAuto {
		c.Mode = o.fpgaMode
	}
	if o.podresources == "" {
		o.Log.Warn("no --podresources: allocation records are not checked with a kubelet")
	} else {
		c.Kubelet = podresources.Client{Socket: o.podresources}
	}
	if o.policy == "" {
		o.Log.Warn("no --policy: containers get any function that they ask for")
	}
	state.versions.Store(hook.versions)
	joined := devices.New(devices.Config{Root: o.Root, RunDir: o.RunDir, Log: o.Log})
	state.links.Store(joined)
	cards := fpga.New(c)
	enclaves := sgx.New(sgx.Config{Root: o.Root, Policy: o.policy, PolicyMaxAge: o.policyMaxAge, Log: o.Log})
	into.real.Store(&adjusters{all: []engine.Adjuster{cards, joined, enclaves}, missing: cards.Missing})
	return nil
}

// reconciler looks through what exists when a connection is made. There is nothing to repair, because nothing here has
// state; but a container that was created without us is worth a line, and a hook that no container names may go.
type reconciler struct {
	log      logrus.FieldLogger
	versions atomic.Pointer[versions] // nil = there is one hook, which somebody else looks after
	links    atomic.Pointer[devices.Adjuster]
}

func (r *reconciler) Synchronize(ctx context.Context, _ []*api.PodSandbox, containers []*api.Container) {
	ours := 0
	for _, c := range containers {
		if !record.Present(c.GetAnnotations()) {
			continue
		}
		ours++
		if missed(c) {
			r.log.WithFields(logrus.Fields{"container": c.GetName(), "id": c.GetId()}).
				Warn("was created while inlay-nri was not connected: its gate will not let it start; the kubelet makes another one")
		}
	}
	r.log.WithFields(logrus.Fields{"containers": len(containers), "fpga": ours}).Info("synchronized")
	if v := r.versions.Load(); v != nil {
		v.sweepLater(ctx, containers)
	}
	if l := r.links.Load(); l != nil {
		l.Sweep(ctx, containers)
	}
}

// stop waits for what a Synchronize has begun and not ended.
func (r *reconciler) stop() {
	if v := r.versions.Load(); v != nil {
		v.stop()
	}
}

// missed tells whether a container that has not started yet has the gate and not the hook that the gate asks for.
func missed(c *api.Container) bool {
	gate, program := false, false
	for _, h := range c.GetHooks().GetCreateRuntime() {
		if len(h.GetArgs()) >= 2 {
			gate = gate || h.GetArgs()[1] == "gate"
			program = program || h.GetArgs()[1] == "program"
		}
	}
	return gate && !program && c.GetState() == api.ContainerState_CONTAINER_CREATED
}
