package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// PolicyMetrics are about the node's policy file, which inlay-deviceplugin writes. A node that writes none has none of
// them, and one without cards only counts its writes: an alert on the age is about files that somebody needs.
type PolicyMetrics struct {
	synced, mappings *prometheus.GaugeVec // without labels: they appear when they are first set
	writes           *prometheus.CounterVec
}

// NewPolicyMetrics adds the metrics to a registry, once.
func NewPolicyMetrics(r *Registry) *PolicyMetrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, nil)
		r.prom.MustRegister(g)
		return g
	}
	return &PolicyMetrics{
		synced: gauge("policy_synced_timestamp_seconds",
			"When the policy file was last known to equal the API server's mappings; 0 = there is no file yet that can be used."),
		mappings: gauge("policy_mappings", "Mappings in the policy file."),
		writes:   r.counters("policy_writes_total", "Writes of the policy file.", "result"),
	}
}

// Holds says what the file holds now: when it was last in step, the zero time if there is no such file, and how many
// mappings.
func (m *PolicyMetrics) Holds(synced time.Time, mappings int) {
	seconds := 0.0
	if !synced.IsZero() {
		seconds = float64(synced.Unix())
	}
	m.synced.WithLabelValues().Set(seconds)
	m.mappings.WithLabelValues().Set(float64(mappings))
}

// Written counts a write that ended with err.
func (m *PolicyMetrics) Written(err error) { m.writes.WithLabelValues(resultOf(err)).Inc() }
