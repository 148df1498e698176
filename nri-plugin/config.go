package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"sync/atomic"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/podresources"
	"github.com/inlay-project/inlay/internal/record"
	"github.com/inlay-project/inlay/nri-plugin/fpga"
)

// lateAdjuster stands in until the configuration is known: a pre-installed plugin gets it from the runtime, before the
// first container.
type lateAdjuster struct{ real atomic.Pointer[fpga.Adjuster] }

func (l *lateAdjuster) Wants(pod *api.PodSandbox, ctr *api.Container) bool {
	a := l.real.Load()
	return a == nil || a.Wants(pod, ctr)
}

func (l *lateAdjuster) Adjust(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, error) {
	a := l.real.Load()
	if a == nil {
		return nil, errors.New("inlay-nri is not configured yet")
	}
	return a.Adjust(ctx, pod, ctr)
}

func (l *lateAdjuster) missing() []string {
	if a := l.real.Load(); a != nil {
		return a.Missing()
	}
	return nil
}

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
func (o *options) build(into *lateAdjuster) error {
	hook, err := o.hook()
	if err != nil {
		return err
	}
	store, err := o.HostPath("bitstreams", o.Bitstreams)
	if err != nil {
		return err
	}
	c := fpga.Config{
		Root: o.Root, RunDir: o.RunDir, Store: store, MaxBitstream: o.maxBitstream,
		Hook: hook, Policy: o.policy, PolicyMaxAge: o.policyMaxAge, Log: o.Log,
	}
	switch o.fpgaMode {
	case "auto":
	case "af", "region", "regiondevel":
		c.Mode = o.fpgaMode
	default:
		return fmt.Errorf("--fpga-mode %q is none of auto, af, region, regiondevel", o.fpgaMode)
	}
	if o.podresources == "" {
		o.Log.Warn("no --podresources: allocation records are not checked with a kubelet")
	} else {
		c.Kubelet = podresources.Client{Socket: o.podresources}
	}
	if o.policy == "" {
		o.Log.Warn("no --policy: containers get any function that they ask for")
	}
	into.real.Store(fpga.New(c))
	return nil
}

// hook says how the runtime calls inlay-hook. What equals the hook's own default is left for it to find.
func (o *options) hook() (fpga.Hook, error) {
	h := fpga.Hook{Timeout: o.hookTimeout, HostRoot: o.hookHostRoot}
	if h.Timeout < 2*time.Second {
		return h, fmt.Errorf("--hook-timeout %s is shorter than 2 s", h.Timeout)
	}
	var err error
	if h.Path, err = o.hostHookPath(); err != nil {
		return h, err
	}
	for _, p := range []struct {
		flag, value, standard string
		into                  *string
	}{
		{"bitstreams", o.Bitstreams, "/srv/intel.com/fpga", &h.Store},
		{"run-dir", o.RunDir, "/run/inlay", &h.RunDir},
	} {
		hostPath, err := o.HostPath(p.flag, p.value)
		if err != nil {
			return h, err
		}
		if hostPath != p.standard {
			*p.into = hostPath
		}
	}
	if o.maxBitstream != 512<<20 {
		h.MaxBitstream = o.maxBitstream
	}
	return h, nil
}

// hostHookPath takes a path below the host root, as every path flag, or the host's own path of a hook that is there.
func (o *options) hostHookPath() (string, error) {
	if !path.IsAbs(o.hookPath) {
		return "", fmt.Errorf("--hook-path %s is not absolute", o.hookPath)
	}
	if o.hookHostRoot != "" {
		if _, err := os.Stat(o.hookPath); err == nil {
			return o.hookPath, nil
		}
	}
	hostPath, err := o.HostPath("hook-path", o.hookPath)
	if err != nil && o.Root.Exists(o.hookPath) {
		return o.hookPath, nil
	}
	return hostPath, err
}

// reconciler looks through what exists when a connection is made. There is nothing to repair, because nothing here has
// state; but a container that was created without us is worth a line.
type reconciler struct{ log logrus.FieldLogger }

func (r *reconciler) Synchronize(_ context.Context, _ []*api.PodSandbox, containers []*api.Container) {
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
