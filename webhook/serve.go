package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/internal/buildinfo"
	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/kube"
	"github.com/inlay-project/inlay/internal/observe"
	"github.com/inlay-project/inlay/webhook/api/follow"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/certs"
	"github.com/inlay-project/inlay/webhook/fpga"
	"github.com/inlay-project/inlay/webhook/mappings"
	"github.com/inlay-project/inlay/webhook/server"
	"github.com/inlay-project/inlay/webhook/status"
)

const program = "inlay-webhook"

const longServe = `serve answers the API server's questions about pods, over HTTPS: POST /pods translates (the mutating webhook),
POST /pods/check only looks (the validating one). It follows the AcceleratorFunctions and FpgaRegions of all namespaces
and is not ready before it knows them. If a pod asks for one that it has not heard of yet, it asks the API server for
that one before it refuses the pod.

Certificates: without --tls-cert and --tls-key it is its own authority. It keeps the CA and the certificate in a Secret
that all replicas share, writes the CA into the two webhook configurations, and renews both in time. With them, somebody
else does that (cert-manager, say); the files are read again when they change.

Any number of replicas serve. One of them, by a Lease, writes the status of the mappings.

When it is told to end it is no longer ready, serves for --drain more, and then lets the requests under way finish.`

// serving are the flags of serve beside the common ones.
type serving struct {
	*cli.Service
	listen, kubeconfig             string
	namespace                      string
	service, secret, configuration string
	tlsCert, tlsKey                string
	options                        fpga.Options
	validity, caValidity           time.Duration
	rotateBefore, caOverlap        time.Duration
	drain                          time.Duration
	events                         bool
}

func serveCommand() (*cobra.Command, *cli.Service) {
	s := &serving{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "answers the API server, over HTTPS",
		Long:  longServe,
		RunE:  func(cmd *cobra.Command, _ []string) error { return s.run(cmd.Context()) },
	}
	s.Service = cli.AddService(cmd, ":9772")
	f := cmd.Flags()
	f.StringVar(&s.listen, "listen", ":9443", "address of the HTTPS server")
	f.StringVar(&s.kubeconfig, "kubeconfig", "", "kubeconfig file; empty = as a pod of the cluster")
	f.StringVar(&s.namespace, "namespace", "inlay-system", "namespace of the Service, the Secret and the Lease")
	_ = cli.AlsoEnv(f, "namespace", "POD_NAMESPACE") // an error says that there is no such flag, and it is defined above
	f.StringVar(&s.service, "service", "inlay-webhook", "the Service by which the API server calls; it names the certificate and the Lease")
	f.StringVar(&s.secret, "secret", "inlay-webhook-certs", "Secret of the own CA and certificate")
	f.StringVar(&s.configuration, "configuration", "inlay-webhook", "name of the two webhook configurations that get the CA")
	f.StringVar(&s.tlsCert, "tls-cert", "", "certificate file that somebody else keeps; with --tls-key")
	f.StringVar(&s.tlsKey, "tls-key", "", "its key")
	f.BoolVar(&s.options.ModeAffinity, "mode-affinity", false,
		"send pods to nodes whose label "+v2.ModeLabel+" has the mode that they need")
	f.DurationVar(&s.validity, "certificate-validity", certs.DefaultValidity, "how long an own certificate is valid")
	f.DurationVar(&s.caValidity, "ca-validity", certs.DefaultCAValidity, "how long an own CA is valid")
	f.DurationVar(&s.rotateBefore, "rotate-before", 0, "how long before its end a certificate is renewed; 0 = a third of its validity")
	f.DurationVar(&s.caOverlap, "ca-overlap", certs.DefaultOverlap, "how long each stage of a change of the CA lasts")
	f.DurationVar(&s.drain, "drain", 5*time.Second, "how long it still serves when it is told to end")
	f.BoolVar(&s.events, "events", true, "write an event when a mapping loses its name to another")
	return cmd, s.Service
}

// check finds mistakes in flags that are wrong only together.
func (s *serving) check() error {
	if (s.tlsCert == "") != (s.tlsKey == "") {
		return cli.UsageError("--tls-cert and --tls-key go together")
	}
	if s.drain < 0 {
		return cli.UsageError("--drain %s is negative", s.drain)
	}
	for _, f := range []struct{ name, value string }{
		{"listen", s.listen},
		{"namespace", s.namespace},
		{"service", s.service},
		{"secret", s.secret},
		{"configuration", s.configuration},
	} {
		if f.value == "" {
			return cli.UsageError("--%s is empty", f.name)
		}
	}
	return nil
}

// certificates are those of files or of an authority of our own.
func (s *serving) certificates(c *rest.Config) (certs.Source, error) {
	if s.tlsCert != "" {
		return certs.NewFiles(s.tlsCert, s.tlsKey, s.Log), nil
	}
	secret, registrations, err := certs.Kube(c, s.namespace, s.secret, s.configuration)
	if err != nil {
		return nil, err
	}
	own, err := certs.NewOwn(certs.OwnConfig{
		Policy: certs.Policy{
			Service: s.service, Namespace: s.namespace, Validity: s.validity, RotateBefore: s.rotateBefore,
			CAValidity: s.caValidity, Overlap: s.caOverlap,
		},
		Secret: secret, Registrations: registrations, Log: s.Log,
	})
	if err != nil {
		return nil, cli.UsageError("%w", err)
	}
	return own, nil
}

// writer writes the status of the mappings while this replica leads.
func (s *serving) writer(config *rest.Config, client rest.Interface, index *mappings.Index) (*status.Writer, error) {
	c := status.Config{Client: client, Log: s.Log}
	if s.events {
		var err error
		if c.Events, err = status.EventClient(config); err != nil {
			return nil, err
		}
	}
	return status.New(c, index), nil
}

// finder asks for mappings that the index does not have yet, past the limit of requests that the status is written by: it
// has its own.
func (s *serving) finder(config *rest.Config) (*mappings.Finder, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := follow.Client(config)
	if err != nil {
		return nil, err
	}
	return mappings.NewFinder(mappings.Ask(client), s.Log), nil
}

// run serves until it is told to stop. Ports are taken before anything runs.
func (s *serving) run(ctx context.Context) error {
	if err := s.check(); err != nil {
		return err
	}
	config, err := kube.Config(s.kubeconfig, program)
	if errors.Is(err, rest.ErrNotInCluster) {
		return fmt.Errorf("this is no pod of a cluster: --kubeconfig says how to reach the API server")
	}
	if err != nil {
		return err
	}
	certificates, err := s.certificates(config)
	if err != nil {
		return err
	}
	client, err := follow.Client(config)
	if err != nil {
		return err
	}
	index := mappings.NewIndex()
	writer, err := s.writer(config, client, index)
	if err != nil {
		return err
	}
	finder, err := s.finder(config)
	if err != nil {
		return err
	}
	leads, err := newLeader(config, s.namespace, s.service, s.Log)
	if err != nil {
		return err
	}
	registry := observe.NewRegistry("webhook")
	metrics := observe.NewWebhookMetrics(registry, observe.WebhookState{
		Synced:   func() bool { return len(index.Missing()) == 0 },
		NotAfter: certificates.NotAfter,
		Mappings: func() map[observe.MappingKey]int { return count(index) },
	})
	https, err := server.New(server.Config{
		Listen: s.listen, Certificates: certificates, Tables: index, Finder: finder, Options: s.options,
		Drain: s.drain, Observer: metrics, Log: s.Log,
	})
	if err != nil {
		return err
	}
	health, err := observe.Listen(s.HTTP, registry, https.Missing)
	if err != nil {
		https.Close()
		return err
	}
	if os.Getenv("GOGC") == "" {
		// A request leaves 4 KB behind. A third of the usual collections, for some 10 MB at 10,000 mappings.
		debug.SetGCPercent(300)
	}
	s.Log.WithFields(s.Fields()).WithField("version", buildinfo.Get().Version).Info("inlay-webhook starts")
	group, ctx := errgroup.WithContext(ctx)
	// What answers are made of is kept up until the last one is given: the server ends with ctx, the rest after it.
	work, done := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer done()
		return https.Run(ctx)
	})
	group.Go(func() error { return health.Serve(work) })
	group.Go(func() error { return certificates.Run(work) })
	for _, kind := range v2.Kinds() {
		group.Go(func() error {
			// The tables first: the status says where they lead.
			follow.Mappings{Client: client, Kind: kind, Log: s.Log}.Run(work, follow.Both(index.Handler(kind), writer.Handler(kind)))
			return nil
		})
	}
	group.Go(func() error {
		leads.Run(ctx, whileLeading(s.Log, writer.Lead))
		return nil
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	s.Log.Info("inlay-webhook ends")
	return nil
}

// count is the mappings as the metric has them.
func count(index *mappings.Index) map[observe.MappingKey]int {
	counts := map[observe.MappingKey]int{}
	for kind, tally := range index.Count() {
		counts[observe.MappingKey{Kind: string(kind), Ready: true}] = tally.Ready
		counts[observe.MappingKey{Kind: string(kind), Ready: false}] = tally.NotReady
	}
	return counts
}
