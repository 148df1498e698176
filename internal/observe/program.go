package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ProgramMetrics are about the programming of FPGA ports. Ports are programmed by inlay-hook, which lives for an
// instant and leaves a line in the run folder (internal/journal); inlay-deviceplugin reads it and counts.
type ProgramMetrics struct {
	programs *prometheus.CounterVec
	duration prometheus.Histogram
	warmHits prometheus.Counter
}

func newProgramMetrics(r *Registry) *ProgramMetrics {
	return &ProgramMetrics{
		programs: r.counters("fpga_programs_total",
			"Partial reconfigurations, by result and, for a failed one, by what was wrong.", "result", "reason"),
		duration: r.histogram("fpga_program_duration_seconds",
			"Time that a successful partial reconfiguration took.",
			[]float64{.05, .1, .25, .5, 1, 2, 3, 5, 10, 20, 32, 60}),
		warmHits: r.counter("fpga_warm_hits_total",
			"Containers whose function was loaded already: no reconfiguration."),
	}
}

// Programmed counts a partial reconfiguration that succeeded.
func (m *ProgramMetrics) Programmed(d time.Duration) {
	m.programs.WithLabelValues(resultOK, "").Inc()
	m.duration.Observe(d.Seconds())
}

// ProgramFailed counts one that did not. reason is one of few words ("pr", "bitstream", "device", "wait", "other").
func (m *ProgramMetrics) ProgramFailed(reason string) {
	m.programs.WithLabelValues(resultError, reason).Inc()
}

// WarmHit counts a function that was loaded already.
func (m *ProgramMetrics) WarmHit() { m.warmHits.Inc() }
