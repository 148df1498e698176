package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/inlay-project/inlay/internal/buildinfo"
	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/hookcall"
	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/internal/observe"
	"github.com/inlay-project/inlay/nri-plugin/engine"
)

const long = `inlay-nri is the NRI plugin of Inlay: it gives FPGA containers their device nodes and the hook that programs
them. It grants a container what its allocation record, the kubelet and the policy file agree on, and refuses it with
a reason otherwise; any other container passes untouched.

It needs no capabilities and opens no device. Its work can be watched at /metrics, and /readyz says what is missing: the
runtime's connection, the hook, a policy file that can be believed.`

// modeAuto is the default of --fpga-mode.
const modeAuto = "auto"

// options are the flags of inlay-nri beside the common ones.
type options struct {
	*cli.Common
	nriSocket, nriIndex      string
	kubeletDir, podresources string
	hook                     hookcall.Flags
	hookSource, cdiDir       string
	maxBitstream             int64
	policy                   string
	policyMaxAge             time.Duration
	fpgaMode                 string
}

func newCommand() (*cobra.Command, *cli.Common) {
	o := &options{}
	cmd := o.command()
	return cmd, o.Common
}

func (o *options) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inlay-nri",
		Short: "NRI plugin that sets FPGA functions into containers",
		Long:  long,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.Common = cli.Add(cmd, ":9771")
	f := cmd.Flags()
	f.StringVar(&o.nriSocket, "nri-socket", engine.DefaultSocket, "the runtime's NRI socket")
	f.StringVar(&o.nriIndex, "nri-index", "40", "two digits: the place among the runtime's NRI plugins")
	o.Path(&o.kubeletDir, "kubelet-dir", "/var/lib/kubelet", "the kubelet's folder")
	o.PathBelow(&o.podresources, "podresources", "kubelet-dir", "pod-resources/kubelet.sock",
		"the kubelet's podresources socket; empty = there is no kubelet, records are not checked with it")
	o.hook.Add(o.Common, f, "how long the hook may wait and program")
	f.StringVar(&o.hookSource, "hook-source", sourceAuto,
		"the inlay-hook that this inlay-nri was shipped with: containers get the file that inlay-hook install-host made of "+
			"it, and no other; auto = the one beside inlay-nri, if --hook-path is a link; empty = whatever is at --hook-path")
	o.Path(&o.cdiDir, "cdi-dir", "/var/run/cdi", "folder of the CDI files: the versions of inlay-hook that they name stay")
	f.Int64Var(&o.maxBitstream, "max-bitstream", hookcall.StandardMaxBitstream, "bytes that a bitstream's payload may have")
	f.StringVar(&o.policy, "policy", "",
		"policy file: what each namespace may have; without it containers are believed, and each grant says so")
	f.DurationVar(&o.policyMaxAge, "policy-max-age", 0, "a --policy file older than this grants nothing; 0 = no limit")
	f.StringVar(&o.fpgaMode, "fpga-mode", modeAuto,
		"this node's FPGA mode: af, region, regiondevel; auto = as inlay-deviceplugin says in the run folder")
	cmd.AddCommand(installCommand(o), uninstallCommand(o))
	return cmd
}

// check refuses settings that no host could make right.
func (o *options) check() error {
	switch {
	case o.maxBitstream <= 0:
		return cli.UsageError("--max-bitstream %d is not positive", o.maxBitstream)
	case o.policyMaxAge < 0:
		return cli.UsageError("--policy-max-age %s is negative; 0 is no limit", o.policyMaxAge)
	case o.policyMaxAge > 0 && o.policy == "":
		return cli.UsageError("--policy-max-age %s without --policy: there is no file that could be too old", o.policyMaxAge)
	}
	switch o.fpgaMode {
	case modeAuto, "af", "region", "regiondevel":
	default:
		return cli.UsageError("--fpga-mode %q is none of auto, af, region, regiondevel", o.fpgaMode)
	}
	return o.hook.Check()
}

// run connects everything and serves until it is told to stop. Started by the runtime, the rest of the settings comes
// with the connection: only then are the adjuster made and the servers started.
func (o *options) run(cmd *cobra.Command) error {
	conn, err := engine.Inherited(os.Getenv)
	if err != nil {
		return err
	}
	s := &service{options: o, flags: cmd.Flags(), adjuster: &lateAdjuster{}, reconciler: &reconciler{log: o.Log}, registry: observe.NewRegistry("nri")}
	s.metrics = newMetrics(s.registry)
	if s.engine, err = engine.New(s.engineOptions(conn)); err != nil {
		return cli.UsageError("%w", err) // it looks at nothing but --nri-index and --nri-socket
	}
	s.group, s.ctx = errgroup.WithContext(cmd.Context())
	if conn == nil {
		if err := s.start(); err != nil {
			return err
		}
	}
	s.group.Go(func() error {
		if err := s.engine.Run(s.ctx); err != nil {
			return err
		}
		return errEnded // ends the servers too
	})
	err = s.group.Wait()
	s.reconciler.stop()
	if err != nil && !errors.Is(err, errEnded) && !errors.Is(err, context.Canceled) {
		return err
	}
	o.Log.Info("inlay-nri ends")
	return nil
}

// service is a running inlay-nri.
type service struct {
	*options
	flags      *pflag.FlagSet
	adjuster   *lateAdjuster
	reconciler *reconciler
	registry   *observe.Registry
	metrics    *metrics
	engine     *engine.Engine
	group      *errgroup.Group
	ctx        context.Context // of the group: ends when one part of it fails
}

// start makes the adjuster and starts the servers. Ports and sockets are taken before anything runs.
func (s *service) start() error {
	if err := s.build(s.adjuster, s.reconciler); err != nil {
		return err
	}
	server, err := observe.Listen(s.HTTP, s.registry, s.missing)
	if err != nil {
		return err
	}
	status, err := nristatus.Listen(filepath.Join(s.RunDir, nristatus.SocketName))
	if err != nil {
		server.Close()
		return err
	}
	s.Log.WithFields(s.Fields()).WithField("version", buildinfo.Get().Version).Info("inlay-nri starts")
	s.group.Go(func() error { return server.Serve(s.ctx) })
	s.group.Go(func() error { return status.Serve(s.ctx, s.engine.Status) })
	return nil
}

var errEnded = errors.New("the plugin has ended")

func (s *service) engineOptions(conn net.Conn) engine.Options {
	opts := engine.Options{
		Name: "inlay", Index: s.nriIndex, Socket: s.nriSocket, Conn: conn,
		Adjuster: s.adjuster, Reconciler: s.reconciler,
		StatusChanged: func(status nristatus.Status) { s.metrics.nri.SetConnected(status.Ready() == nil) },
		Observer:      s.metrics, Log: s.Log, Version: buildinfo.Get().Version,
	}
	if conn != nil {
		opts.Configure = func(_ context.Context, config string) error {
			if err := s.configure(config); err != nil {
				return fmt.Errorf("configuration from the runtime: %w", err)
			}
			return s.start()
		}
	}
	return opts
}

// configure takes the runtime's configuration over.
func (s *service) configure(config string) error {
	if err := applyConfig(s.flags, config); err != nil {
		return err
	}
	return s.Configured()
}

// missing gives the lines of /readyz: why the runtime does not ask us, and why we would have to say no to everybody.
func (s *service) missing() []string {
	var lines []string
	if err := s.engine.Status().Ready(); err != nil {
		lines = append(lines, err.Error())
	}
	return append(lines, s.adjuster.missing()...)
}
