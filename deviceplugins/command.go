package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/inlay-project/inlay/deviceplugins/config"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/buildinfo"
	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/hookcall"
	"github.com/inlay-project/inlay/internal/journal"
	"github.com/inlay-project/inlay/internal/observe"
)

const long = `inlay-deviceplugin advertises a node's accelerators to the kubelet: every device family in one process.

A family without devices publishes nothing and costs nothing. What this node would advertise, and why it leaves a
device out or offers nothing at all, is shown by:

  inlay-deviceplugin discover
  inlay-deviceplugin doctor`

// options are the flags of inlay-deviceplugin beside the common ones.
type options struct {
	*cli.Common
	config               string
	configOptional       bool
	kubeletDir, cdiDir   string
	podresources         string
	nodeName, kubeconfig string
	policy               string
	hook                 hookcall.Flags
	// given are the flags of the command that runs, to tell those that were given from defaults.
	given *pflag.FlagSet
}

func newCommand() (*cobra.Command, *cli.Common) {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "inlay-deviceplugin",
		Short: "advertises a node's accelerators to the kubelet",
		Long:  long,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.with(cmd).run(cmd.Context()) },
	}
	o.Common = cli.Add(cmd, ":9770")
	f := cmd.PersistentFlags()
	f.StringVar(&o.config, "config", "",
		"file of settings, YAML; it is read again when it changes, and flags beat it; empty = flags alone")
	f.BoolVar(&o.configOptional, "config-optional", false,
		"a --config file that is not there sets nothing, as with a ConfigMap that nobody has made yet")
	o.Path(&o.kubeletDir, "kubelet-dir", "/var/lib/kubelet", "the kubelet's folder")
	o.PathBelow(&o.podresources, "podresources", "kubelet-dir", "pod-resources/kubelet.sock",
		"the kubelet's podresources socket; empty = it is not asked who holds a device")
	o.Path(&o.cdiDir, "cdi-dir", "/var/run/cdi", "folder of the CDI files")
	f.StringVar(&o.nodeName, "node-name", "",
		"this node's name; needed for the mode annotation, the mode label, the settings of single nodes and the limits of enclave memory")
	_ = cli.AlsoEnv(f, "node-name", "NODE_NAME") // an error says that there is no such flag, and it is defined above
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; empty = as a pod of the cluster, if this is one")
	f.StringVar(&o.policy, "policy", "",
		"policy file to keep for inlay-nri: what the API server's mappings give to the pods, for this node's cards, and the pods' limits of enclave memory; empty = none")
	o.hook.Add(o.Common, f, "with --fpga-grant allocate: how long the hook may wait and program")
	settings := config.Default()
	settings.AddFlags(f)
	cmd.AddCommand(discoverCommand(o), doctorCommand(o), configCommand(o), validateCommand(o), uninstallCommand(o))
	return cmd, o.Common
}

// with notes the flags of the command that runs.
func (o *options) with(cmd *cobra.Command) *options {
	o.given = cmd.Flags()
	return o
}

// run offers the devices until it is told to stop.
func (o *options) run(ctx context.Context) error {
	registry := observe.NewRegistry("deviceplugin")
	source := o.source(observe.NewConfigMetrics(registry))
	settings, err := source.start()
	if err != nil {
		return err
	}
	offered, err := settings.Offered()
	if err != nil {
		return err
	}
	metrics := newMetrics(registry)
	families, err := o.families(settings)
	if err != nil {
		return err
	}
	policy, err := o.policyMirror(registry)
	if err != nil {
		return err
	}
	runDir, err := o.inside("run-dir", o.RunDir)
	if err != nil {
		return err
	}
	fpgas := &cards{Family: families.fpga, reader: journal.NewReader(runDir), log: o.Log, metrics: metrics, policy: policy}
	defer fpgas.reader.Close()
	engine, err := o.engine(families.list(fpgas, enclaves{families.sgx, policy}), metrics, source.interests())
	if err != nil {
		return err
	}
	engine.Offer(offered...)
	own, err := o.ownNode()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	mode := &override{options: o, flag: settings.FPGA.Mode, cards: fpgas.Family}
	if own != nil {
		fpgas.first = func(scan context.Context) {
			mode.look(scan, own)
			group.Go(func() error {
				mode.follow(ctx, own, engine.Kick)
				return nil
			})
		}
	}
	server, err := observe.Listen(o.HTTP, registry, func() []string { return engine.Status().Missing }, policy.Missing, source.missing)
	if err != nil {
		return err
	}
	server.Also("hardware", func() []string { return leftOut(engine.Status()) })
	o.Log.WithFields(o.Fields()).WithField("version", buildinfo.Get().Version).Info("inlay-deviceplugin starts")
	group.Go(func() error { return server.Serve(ctx) })
	group.Go(func() error { return engine.Run(ctx) })
	group.Go(func() error {
		policy.Run(ctx)
		return nil
	})
	group.Go(func() error {
		source.follow(ctx, func(s config.Settings) {
			if s.FPGA.Grant != settings.FPGA.Grant {
				o.Log.Warnf("fpga.grant stays %s until the next start", settings.FPGA.Grant)
			}
			changed := families.configure(s)
			if mode.set(s.FPGA.Mode) {
				changed = append(changed, fpgas.Name())
			}
			if len(changed) > 0 {
				engine.Kick(changed...)
			}
			if offered, err := s.Offered(); err == nil { // they were checked when the file was read
				engine.Offer(offered...)
			}
		})
		return nil
	})
	group.Go(func() error { return families.run(ctx, engine.Kick) })
	err = group.Wait()
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	o.Log.Info("inlay-deviceplugin ends")
	return nil
}

func (o *options) engine(families []plugin.Family, metrics *metrics, interests []plugin.Interest) (*plugin.Engine, error) {
	dir := filepath.Join(o.kubeletDir, "device-plugins")
	hostDir, err := o.HostPath("kubelet-dir", dir)
	if err != nil {
		return nil, err
	}
	if dir, err = o.inside("kubelet-dir", dir); err != nil {
		return nil, err
	}
	return plugin.New(plugin.Config{
		Folder: dir, HostFolder: hostDir, Families: families, Log: o.Log, Observer: metrics, Interests: interests,
	})
}

// leftOut lists the hardware that is there and not offered. What is offered works all the same, so the pod's probe does
// not ask for it: a dead card would hold up a roll-out for ever.
func leftOut(s plugin.Status) []string {
	var lines []string
	for _, family := range s.Families {
		for _, skipped := range family.Skipped {
			lines = append(lines, fmt.Sprintf("family %s: %s", family.Family, skipped))
		}
	}
	return lines
}
