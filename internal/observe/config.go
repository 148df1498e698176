package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ConfigMetrics are about the configuration file. A process without one has none of them.
type ConfigMetrics struct {
	good, at *prometheus.GaugeVec // without labels: they appear when they are first set
}

// NewConfigMetrics adds the metrics to a registry, once.
func NewConfigMetrics(r *Registry) *ConfigMetrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, nil)
		r.prom.MustRegister(g)
		return g
	}
	return &ConfigMetrics{
		good: gauge("config_last_reload_successful", "Whether the configuration file as it is now is in force; 0 = an earlier one is."),
		at:   gauge("config_last_reload_success_timestamp_seconds", "When a configuration file was last taken."),
	}
}

// Taken says that the file is in force as of now.
func (m *ConfigMetrics) Taken() {
	m.good.WithLabelValues().Set(1)
	m.at.WithLabelValues().Set(float64(time.Now().Unix()))
}

// Rejected says that the file as it is now cannot be used.
func (m *ConfigMetrics) Rejected() { m.good.WithLabelValues().Set(0) }
