package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/mirror"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/buildinfo"
	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/hookcall"
	"github.com/inlay-project/inlay/internal/journal"
	"github.com/inlay-project/inlay/internal/observe"
)

const long = `inlay-deviceplugin advertises a node's accelerators to the kubelet: every device family in one process.

A family without devices publishes nothing and costs nothing. What this node would advertise, and why it leaves a
device out, is shown by:

  inlay-deviceplugin discover`

// options are the flags of inlay-deviceplugin beside the common ones.
type options struct {
	*cli.Common
	families             []string
	kubeletDir, cdiDir   string
	podresources         string
	nodeName, kubeconfig string
	policy               string
	fpgaMode, fpgaGrant  string
	hook                 hookcall.Flags
}

func newCommand() (*cobra.Command, *cli.Common) {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "inlay-deviceplugin",
		Short: "advertises a node's accelerators to the kubelet",
		Long:  long,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	o.Common = cli.Add(cmd, ":9770")
	f := cmd.PersistentFlags()
	f.StringSliceVar(&o.families, "families", []string{"auto"}, "device families, comma list; auto = all")
	o.Path(&o.kubeletDir, "kubelet-dir", "/var/lib/kubelet", "the kubelet's folder")
	o.PathBelow(&o.podresources, "podresources", "kubelet-dir", "pod-resources/kubelet.sock",
		"the kubelet's podresources socket; empty = it is not asked who holds a device")
	o.Path(&o.cdiDir, "cdi-dir", "/var/run/cdi", "folder of the CDI files")
	f.StringVar(&o.nodeName, "node-name", "", "this node's name; needed for the mode annotation and the mode label")
	_ = cli.AlsoEnv(f, "node-name", "NODE_NAME") // an error says that there is no such flag, and it is defined above
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; empty = as a pod of the cluster, if this is one")
	f.StringVar(&o.policy, "policy", "",
		"policy file to keep for inlay-nri: what the API server's mappings give to the pods, for this node's cards; empty = none")
	f.StringVar(&o.fpgaMode, "fpga-mode", string(fpga.ModeAF),
		"af, region or regiondevel; the node annotation fpga.intel.com/device-plugin-mode beats it")
	f.StringVar(&o.fpgaGrant, "fpga-grant", string(fpga.GrantNRI),
		"who gives containers their device nodes: nri (inlay-nri), or allocate for runtimes without NRI")
	o.hook.Add(o.Common, f, "with --fpga-grant allocate: how long the hook may wait and program")
	cmd.AddCommand(discoverCommand(o), uninstallCommand(o))
	return cmd, o.Common
}

// knownFamilies is every family of this build.
var knownFamilies = [...]string{"fpga"}

// wanted tells which families --families names.
func (o *options) wanted() (map[string]bool, error) {
	want := map[string]bool{}
	for _, name := range o.families {
		name = strings.TrimSpace(name)
		if name == "auto" {
			for _, known := range knownFamilies {
				want[known] = true
			}
			continue
		}
		known := false
		for _, k := range knownFamilies {
			known = known || k == name
		}
		if !known {
			return nil, cli.UsageError("--families: %q is none of auto, %s", name, strings.Join(knownFamilies[:], ", "))
		}
		want[name] = true
	}
	if len(want) == 0 {
		return nil, cli.UsageError("--families names none")
	}
	return want, nil
}

// fpgaFamily makes the FPGA family from the flags.
func (o *options) fpgaFamily() (*fpga.Family, error) {
	mode, err := fpga.ParseMode(o.fpgaMode)
	if err != nil {
		return nil, cli.UsageError("--fpga-mode: %w", err)
	}
	grant := fpga.Grant(o.fpgaGrant)
	if grant != fpga.GrantNRI && grant != fpga.GrantAllocate {
		return nil, cli.UsageError("--fpga-grant %q is neither nri nor allocate", o.fpgaGrant)
	}
	call, err := o.hook.New(o.Common, 0)
	if err != nil {
		return nil, err
	}
	hook := fpga.Hook{Root: call.Root, Path: call.Path, Timeout: o.hook.Timeout, Args: call.Args}
	c := fpga.Config{Root: o.Root, Grant: grant, Hook: hook, Log: o.Log}
	if c.RunDir, err = o.inside("run-dir", o.RunDir); err != nil {
		return nil, err
	}
	if c.CDIDir, err = o.inside("cdi-dir", o.cdiDir); err != nil {
		return nil, err
	}
	if o.podresources != "" {
		c.PodResources = o.podresources // nobody else is told of it, so it may be anywhere
		if socket, err := o.inside("podresources", o.podresources); err == nil {
			c.PodResources = socket
		}
		c.Kubelet = holders{socket: c.PodResources}
	}
	return fpga.New(c, mode), nil
}

// run offers the devices until it is told to stop.
func (o *options) run(ctx context.Context) error {
	want, err := o.wanted()
	if err != nil {
		return err
	}
	registry := observe.NewRegistry("deviceplugin")
	metrics := newMetrics(registry)
	var families []plugin.Family
	var fpgas *cards
	var policy *mirror.Mirror
	if want["fpga"] {
		family, err := o.fpgaFamily()
		if err != nil {
			return err
		}
		runDir, err := o.inside("run-dir", o.RunDir)
		if err != nil {
			return err
		}
		if policy, err = o.policyMirror(registry); err != nil {
			return err
		}
		fpgas = &cards{Family: family, reader: journal.NewReader(runDir), log: o.Log, metrics: metrics, policy: policy}
		defer fpgas.reader.Close()
		families = append(families, fpgas)
	}
	engine, err := o.engine(families, metrics)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if fpgas != nil {
		own, err := o.ownNode()
		if err != nil {
			return err
		}
		if own != nil {
			mode := override{options: o, flag: fpgas.Mode(), cards: fpgas.Family}
			fpgas.first = func(scan context.Context) {
				mode.look(scan, own)
				group.Go(func() error {
					mode.follow(ctx, own, engine.Kick)
					return nil
				})
			}
		}
	}
	server, err := observe.Listen(o.HTTP, registry, func() []string { return missing(engine.Status()) }, policy.Missing)
	if err != nil {
		return err
	}
	o.Log.WithFields(o.Fields()).WithField("version", buildinfo.Get().Version).Info("inlay-deviceplugin starts")
	group.Go(func() error { return server.Serve(ctx) })
	group.Go(func() error { return engine.Run(ctx) })
	group.Go(func() error {
		policy.Run(ctx)
		return nil
	})
	err = group.Wait()
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	o.Log.Info("inlay-deviceplugin ends")
	return nil
}

func (o *options) engine(families []plugin.Family, metrics *metrics) (*plugin.Engine, error) {
	dir := filepath.Join(o.kubeletDir, "device-plugins")
	hostDir, err := o.HostPath("kubelet-dir", dir)
	if err != nil {
		return nil, err
	}
	if dir, err = o.inside("kubelet-dir", dir); err != nil {
		return nil, err
	}
	return plugin.New(plugin.Config{Folder: dir, HostFolder: hostDir, Families: families, Log: o.Log, Observer: metrics})
}

// missing lists what keeps a node from its devices: what the engine lacks, and hardware that is there and left out.
func missing(s plugin.Status) []string {
	lines := slices.Clone(s.Missing)
	for _, family := range s.Families {
		for _, skipped := range family.Skipped {
			lines = append(lines, fmt.Sprintf("family %s: %s", family.Family, skipped))
		}
	}
	return lines
}
