package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// NRIMetrics are what inlay-nri counts.
type NRIMetrics struct {
	requests        *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec
	reconnects      prometheus.Counter
	connected       prometheus.Gauge
	injections      *prometheus.CounterVec
	refusals        *prometheus.CounterVec
}

// NewNRIMetrics adds the metrics to a registry, once.
func NewNRIMetrics(r *Registry) *NRIMetrics {
	connected := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "nri_connected",
		Help: "1 while the runtime has synchronized with us, else 0.",
	})
	r.prom.MustRegister(connected)
	return &NRIMetrics{
		requests: r.counters("nri_requests_total",
			"NRI requests of the runtime. result is ok, refused (by us, on purpose) or error.", "event", "result"),
		requestDuration: r.histograms("nri_request_duration_seconds",
			"Time that a request took us; the runtime gives up after 2 s by default.",
			[]float64{.000005, .00001, .00002, .00005, .0001, .0005, .001, .005, .01, .05, .1, .5, 1, 2}, "event"),
		reconnects: r.counter("nri_reconnects_total", "Connections to the runtime after the first one."),
		connected:  connected,
		injections: injections(r),
		refusals: r.counters("nri_refusals_total",
			"Containers that were refused, by what was wrong.", "reason"),
	}
}

// Request counts a request that ended with err.
func (m *NRIMetrics) Request(event string, d time.Duration, err error) {
	m.observe(event, resultOf(err), d)
}

// Refused counts a request that was refused on purpose. reason is one of few words ("policy", "record", …), never text
// with names in it.
func (m *NRIMetrics) Refused(event string, d time.Duration, reason string) {
	m.observe(event, "refused", d)
	m.refusals.WithLabelValues(reason).Inc()
}

func (m *NRIMetrics) observe(event, result string, d time.Duration) {
	m.requests.WithLabelValues(event, result).Inc()
	m.requestDuration.WithLabelValues(event).Observe(d.Seconds())
}

// Reconnect counts a connection after the first.
func (m *NRIMetrics) Reconnect() { m.reconnects.Inc() }

// SetConnected says whether the runtime has synchronized with us.
func (m *NRIMetrics) SetConnected(connected bool) {
	if connected {
		m.connected.Set(1)
	} else {
		m.connected.Set(0)
	}
}

// Injection counts a container that was given devices, by mechanism: "nri".
func (m *NRIMetrics) Injection(mechanism string) { m.injections.WithLabelValues(mechanism).Inc() }

// injections is the same metric in both daemons.
func injections(r *Registry) *prometheus.CounterVec {
	return r.counters("injections_total", "Containers that were given devices, by mechanism.", "mechanism")
}
