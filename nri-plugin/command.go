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
	"golang.org/x/sync/errgroup"

	"github.com/inlay-project/inlay/internal/buildinfo"
	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/internal/observe"
	"github.com/inlay-project/inlay/nri-plugin/engine"
)

const long = `inlay-nri is the NRI plugin of Inlay: it gives FPGA containers their device nodes and the hook that programs
them. It grants a container what its allocation record, the kubelet and the policy file agree on, and refuses it with
a reason otherwise; any other container passes untouched.

It needs no capabilities and opens no device. Its work can be watched at /metrics, and /readyz says whether the runtime
asks it about new containers.`

// options are the flags of inlay-nri beside the common ones.
type options struct {
	*cli.Common
	nriSocket, nriIndex      string
	kubeletDir, podresources string
	hookPath, hookHostRoot   string
	hookTimeout              time.Duration
	maxBitstream             int64
	policy                   string
	policyMaxAge             time.Duration
	fpgaMode                 string
}

func newCommand() (*cobra.Command, *cli.Common) {
	o := &options{}
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
	o.Path(&o.hookPath, "hook-path", "/opt/inlay/bin/inlay-hook", "inlay-hook, which the runtime runs on the host")
	f.StringVar(&o.hookHostRoot, "hook-host-root", "",
		"host root as the hook sees it, where that is not / (a host tree made for tests)")
	f.DurationVar(&o.hookTimeout, "hook-timeout", time.Minute, "how long the hook may wait and program; below the kubelet's 2 min")
	f.Int64Var(&o.maxBitstream, "max-bitstream", 512<<20, "bytes that a bitstream's payload may have")
	f.StringVar(&o.policy, "policy", "",
		"policy file: what each namespace may have; without it containers are believed, and each grant says so")
	f.DurationVar(&o.policyMaxAge, "policy-max-age", 0, "a policy file older than this grants nothing; 0 = no limit")
	f.StringVar(&o.fpgaMode, "fpga-mode", "auto",
		"this node's FPGA mode: af, region, regiondevel; auto = as inlay-deviceplugin says in the run folder")
	return cmd, o.Common
}

// run connects everything and serves until it is told to stop.
func (o *options) run(cmd *cobra.Command) error {
	conn, err := engine.Inherited(os.Getenv)
	if err != nil {
		return err
	}
	adjuster := &lateAdjuster{}
	if conn == nil {
		if err := o.build(adjuster); err != nil {
			return err
		}
	}
	registry := observe.NewRegistry("nri")
	metrics := newMetrics(registry)
	e, err := engine.New(o.engineOptions(cmd, conn, adjuster, metrics))
	if err != nil {
		return err
	}
	server, err := observe.Listen(o.HTTP, registry, func() []string { return missing(e.Status()) })
	if err != nil {
		return err
	}
	status, err := nristatus.Listen(filepath.Join(o.RunDir, nristatus.SocketName))
	if err != nil {
		server.Close()
		return err
	}
	o.Log.WithFields(o.Fields()).WithField("version", buildinfo.Get().Version).Info("inlay-nri starts")
	group, ctx := errgroup.WithContext(cmd.Context())
	group.Go(func() error { return server.Serve(ctx) })
	group.Go(func() error { return status.Serve(ctx, e.Status) })
	group.Go(func() error {
		if err := e.Run(ctx); err != nil {
			return err
		}
		return errEnded // ends the servers too
	})
	if err := group.Wait(); err != nil && !errors.Is(err, errEnded) && !errors.Is(err, context.Canceled) {
		return err
	}
	o.Log.Info("inlay-nri ends")
	return nil
}

var errEnded = errors.New("the plugin has ended")

func (o *options) engineOptions(cmd *cobra.Command, conn net.Conn, adjuster *lateAdjuster, m *metrics) engine.Options {
	opts := engine.Options{
		Name: "inlay", Index: o.nriIndex, Socket: o.nriSocket, Conn: conn,
		Adjuster: adjuster, Reconciler: &reconciler{log: o.Log},
		StatusChanged: func(s nristatus.Status) { m.nri.SetConnected(s.Ready() == nil) },
		Observer:      m, Log: o.Log, Version: buildinfo.Get().Version,
	}
	if conn != nil {
		opts.Configure = func(_ context.Context, config string) error {
			if err := applyConfig(cmd.Flags(), config); err != nil {
				return fmt.Errorf("configuration from the runtime: %w", err)
			}
			return o.build(adjuster)
		}
	}
	return opts
}

// missing puts a status into the words of /readyz.
func missing(s nristatus.Status) []string {
	if err := s.Ready(); err != nil {
		return []string{err.Error()}
	}
	return nil
}
