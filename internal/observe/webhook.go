package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// WebhookMetrics are what inlay-webhook counts.
type WebhookMetrics struct {
	requests  [2]map[string]prometheus.Counter // of mutate, of check: by decision
	durations [2]prometheus.Observer
	panics    prometheus.Counter
}

// WebhookState is what a scrape asks for. A nil function leaves its metric out.
type WebhookState struct {
	Synced   func() bool      // are all mappings known?
	NotAfter func() time.Time // when the certificate that is served ends; zero = there is none
	Mappings func() map[MappingKey]int
}

// MappingKey is what mappings are counted by.
type MappingKey struct {
	Kind  string // "AcceleratorFunction", "FpgaRegion"
	Ready bool
}

// webhooks are the values of the label "webhook": what false and true stand for in Reviewed.
var webhooks = [2]string{"mutate", "check"}

// NewWebhookMetrics adds the metrics to a registry, once.
func NewWebhookMetrics(r *Registry, s WebhookState) *WebhookMetrics {
	requests := r.counters("webhook_requests_total",
		"Requests of the API server. decision is allowed, translated, denied, malformed, unready or busy.", "webhook", "decision")
	durations := r.histograms("webhook_request_duration_seconds",
		"Time from a request's header to its answer; the API server gives up after 10 s by default.",
		[]float64{.00002, .00005, .0001, .0002, .0005, .001, .0025, .005, .01, .05, .1, .5, 1, 5, 10}, "webhook")
	m := &WebhookMetrics{
		panics: r.counter("webhook_panics_total", "Requests that met a mistake in the program and were denied."),
	}
	for i, webhook := range webhooks {
		m.requests[i] = map[string]prometheus.Counter{}
		for _, decision := range []string{"allowed", "translated", "denied", "malformed", "unready", "busy"} {
			m.requests[i][decision] = requests.WithLabelValues(webhook, decision)
		}
		m.durations[i] = durations.WithLabelValues(webhook)
	}
	r.webhookState(s)
	return m
}

func (r *Registry) webhookState(s WebhookState) {
	if s.Synced != nil {
		r.gauge("webhook_synced", "1 once all mappings are known, else 0.", func() float64 {
			if s.Synced() {
				return 1
			}
			return 0
		})
	}
	if s.NotAfter != nil {
		r.gauge("webhook_certificate_expiry_timestamp_seconds",
			"When the certificate that is served ends, in Unix time; 0 = there is none.", func() float64 {
				if end := s.NotAfter(); !end.IsZero() {
					return float64(end.Unix())
				}
				return 0
			})
	}
	if s.Mappings != nil {
		r.prom.MustRegister(&mappingGauges{count: s.Mappings, desc: prometheus.NewDesc(
			namespace+"_webhook_mappings", "Mappings of all namespaces, by kind and whether they lead to a resource.",
			[]string{"kind", "ready"}, nil)})
	}
}

// Reviewed counts a request that was answered. It is called for every pod, so it looks up no label by its text.
func (m *WebhookMetrics) Reviewed(check bool, decision string, took time.Duration) {
	i := 0
	if check {
		i = 1
	}
	if counter := m.requests[i][decision]; counter != nil {
		counter.Inc()
	}
	m.durations[i].Observe(took.Seconds())
}

// Panicked counts a request that met a mistake in the program.
func (m *WebhookMetrics) Panicked() { m.panics.Inc() }

// mappingGauges asks for the numbers when it is scraped.
type mappingGauges struct {
	count func() map[MappingKey]int
	desc  *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (g *mappingGauges) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

// Collect implements prometheus.Collector.
func (g *mappingGauges) Collect(ch chan<- prometheus.Metric) {
	for key, n := range g.count() {
		ready := "false"
		if key.Ready {
			ready = "true"
		}
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(n), key.Kind, ready)
	}
}
