package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/inlay-project/inlay/integration/process"
)

const (
	requestGoal    = 1.4 // times the CPU time of a server that reads and answers
	manyGoal       = 1.05
	webhookRSSGoal = 40 << 20
	leadFor        = 30 * time.Second
)

// webhook loads two replicas, one that knows one mapping and one that knows 10,000, and beside them a server that does
// nothing: each a process of its own, in rounds in turn.
func webhook(ctx context.Context, b *bench) ([]row, error) {
	w := &webhooks{bench: b}
	defer w.end()
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	rounds, n := b.samples(40, 3), b.samples(4000, 400)
	for i := range rounds + 1 {
		for _, a := range []*asker{w.plain, w.one, w.many} {
			if err := a.round(ctx, n, i > 0); err != nil { // the first is for what is made at first use
				return nil, err
			}
		}
	}
	memory, err := process.RSSAnon(w.many.server.Pid())
	if err != nil {
		return nil, err
	}
	leading, err := w.leading(ctx)
	if err != nil {
		return nil, err
	}
	baseline, err := process.RSSAnon(w.plain.server.Pid())
	if err != nil {
		return nil, err
	}
	toPlain := bootstrap(medianOf, ratios(w.one.perRequest, w.plain.perRequest))
	toOne := bootstrap(medianOf, ratios(w.many.perRequest, w.one.perRequest))
	known := thousands(w.namespaces*aNamespace) + " mappings"
	each := fmt.Sprintf("%d rounds of %d each, in turn", rounds, n)
	micro := func(a *asker) string { return fmt.Sprintf("%.1f µs", median(a.perRequest)*1e6) }
	return []row{{
		what: "server CPU time of a usual pod's review (" + size(len(w.one.bodies[0])) + ") over TLS ÷ to read it and answer the same bytes", figure: toPlain.text("", 1, 2),
		baseline: fmt.Sprintf("plain HTTPS server: %s, inlay-webhook: %s", micro(w.plain), micro(w.one)),
		goal:     fmt.Sprintf("≤ %.1f", requestGoal), verdict: keeps(toPlain.figure <= requestGoal), samples: each,
	}, {
		what: "the same with " + known + " in " + thousands(w.namespaces) + " namespaces ÷ with one mapping", figure: toOne.text("", 1, 3),
		baseline: fmt.Sprintf("one mapping: %s, %s: %s", micro(w.one), known, micro(w.many)),
		goal:     fmt.Sprintf("≤ %.2f", manyGoal), verdict: keeps(toOne.figure <= manyGoal), samples: each,
	}, {
		what: fmt.Sprintf("requests a second over %d connections, the client on the same cores", connections), figure: fmt.Sprintf("%.0f", median(w.one.rate)),
		baseline: fmt.Sprintf("plain HTTPS server: %.0f", median(w.plain.rate)), samples: each,
	}, {
		what: "the same with " + known, figure: fmt.Sprintf("%.0f", median(w.many.rate)),
		baseline: fmt.Sprintf("plain HTTPS server: %.0f", median(w.plain.rate)), samples: each,
	}, {
		what: "such a request, p99", figure: show(w.one.took.p(99)), baseline: "plain HTTPS server: " + show(w.plain.took.p(99)),
		samples: fmt.Sprint(len(w.one.took)),
	}, {
		what: fmt.Sprintf("RssAnon of inlay-webhook with %s after %d requests", known, len(w.many.took)+n), figure: mib(memory),
		baseline: "plain HTTPS server: " + mib(baseline), goal: "≤ " + mib(webhookRSSGoal), verdict: keeps(memory <= webhookRSSGoal), samples: "1",
	}, {
		what: "the same while it then leads and writes the mappings' status, the most seen", figure: mib(leading), baseline: "before: " + mib(memory),
		goal: "≤ " + mib(webhookRSSGoal), verdict: keeps(leading <= webhookRSSGoal), samples: fmt.Sprintf("%v, looked at every 20 ms", leadFor),
	}}, nil
}

// leading gives the most memory that the webhook with many mappings has in its first time as the leader.
func (w *webhooks) leading(ctx context.Context) (int64, error) {
	watch := watchMemory(ctx, w.many.server)
	err := w.leads[1](ctx)
	if err == nil {
		err = pause(ctx, leadFor)
	}
	most, watchErr := watch()
	return most, ended(errors.Join(err, watchErr), w.many.server)
}

// thousands writes a number with a comma at the thousands.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

func size(n int) string { return fmt.Sprintf("%.1f KB", float64(n)/1e3) }

// webhooks are the three servers.
type webhooks struct {
	*bench
	dir, cert, key   string
	roots            *x509.CertPool
	plain, one, many *asker
	namespaces       int                           // that many knows
	leads            []func(context.Context) error // that let one and many lead
	ends             []func()
}

func (w *webhooks) end() {
	for _, e := range slices.Backward(w.ends) {
		e()
	}
}

func (w *webhooks) start(ctx context.Context) error {
	dir, remove, err := w.folder()
	if err != nil {
		return err
	}
	w.dir, w.ends = dir, append(w.ends, remove)
	if w.cert, w.key, w.roots, err = certificate(dir); err != nil {
		return err
	}
	single := [][]byte{review(0, namespaceName("shop", 0), alias(0))}
	if w.one, err = w.replica(ctx, "one", 1, 1, single); err != nil {
		return err
	}
	var all [][]byte
	w.namespaces = w.samples(manyNamespaces, manyNamespaces/10)
	for i := range w.namespaces {
		all = append(all, review(i, namespaceName("shop", i), alias(i%(aNamespace-2))))
	}
	if w.many, err = w.replica(ctx, "many", w.namespaces, aNamespace, all); err != nil {
		return err
	}
	// The plain server answers what the webhook does.
	text, err := w.one.answer(ctx, w.one.clients[0], single[0])
	if err != nil {
		return ended(err, w.one.server)
	}
	answer := filepath.Join(dir, "answer.json")
	if err := os.WriteFile(answer, text, 0o600); err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	p, end, err := w.bench.start(dir, "plainhttps", w.helper("plainhttps"), "-listen", address, "-cert", w.cert, "-key", w.key, "-answer", answer)
	if err != nil {
		return err
	}
	w.ends = append(w.ends, end)
	w.plain = w.ask(p, address, single)
	ready, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return ended(process.Poll(ready, func() error {
		_, err := w.plain.answer(ready, w.plain.clients[0], single[0])
		return err
	}), p)
}

func (w *webhooks) ask(p *process.Process, address string, bodies [][]byte) *asker {
	a := newAsker(p, address, w.roots, bodies)
	w.ends = append(w.ends, a.close)
	return a
}

// replica starts an API server with some mappings, and a webhook that follows it. It returns when the webhook has
// nothing more to do but to answer.
func (w *webhooks) replica(ctx context.Context, name string, count, each int, bodies [][]byte) (*asker, error) {
	m, err := w.startMappings(ctx)
	if m != nil {
		w.ends = append(w.ends, func() { m.end(w.bench) })
	}
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := errors.Join(m.takeLead(ctx), m.seed(ctx, "shop", iface, count, each)); err != nil {
		return nil, err
	}
	w.leads = append(w.leads, m.giveLead)
	w.say("%s mappings made in %v", thousands(count*each), time.Since(began).Round(100*time.Millisecond))
	var address [2]string
	for i := range address {
		if address[i], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	began = time.Now()
	p, end, err := w.bench.start(w.dir, "inlay-webhook-"+name, w.ours("inlay-webhook"), "serve", "--kubeconfig", m.Kubeconfig(),
		"--listen", address[0], "--http", address[1], "--tls-cert", w.cert, "--tls-key", w.key, "--mode-affinity", "--drain", "0s")
	if err != nil {
		return nil, err
	}
	w.ends = append(w.ends, end)
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := answers(ready, "http://"+address[1]+"/readyz", p); err != nil {
		return nil, err
	}
	w.say("%s is ready after %v", p.Name(), time.Since(began).Round(10*time.Millisecond))
	if err := calm(ctx, p); err != nil {
		return nil, err
	}
	w.say("%s is at rest after %v", p.Name(), time.Since(began).Round(time.Second))
	return w.ask(p, address[0], bodies), nil
}
