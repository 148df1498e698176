package observe

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/inlay-project/inlay/internal/buildinfo"
)

// namespace begins every name: "inlay_devices".
const namespace = "inlay"

// Results of what is counted with a label "result".
const (
	resultOK    = "ok"
	resultError = "error"
)

func resultOf(err error) string {
	if err != nil {
		return resultError
	}
	return resultOK
}

// Registry holds the metrics of one process.
type Registry struct {
	prom *prometheus.Registry
}

// NewRegistry makes a registry that tells about the build, the Go runtime and the process already.
func NewRegistry(component string) *Registry {
	r := &Registry{prom: prometheus.NewRegistry()}
	build := buildinfo.Get()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace,
		Name:      "build_info",
		Help:      "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{
			"component": component, "version": build.Version, "commit": build.Commit, "goversion": build.Go,
		},
	})
	info.Set(1)
	r.prom.MustRegister(info,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// handler serves the registry. A metric that cannot be gathered does not hide the others.
func (r *Registry) handler() http.Handler {
	return promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             writeTimeout - time.Second,
	})
}

func (r *Registry) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	r.prom.MustRegister(c)
	return c
}

func (r *Registry) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	r.prom.MustRegister(c)
	return c
}

func (r *Registry) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
	r.prom.MustRegister(h)
	return h
}

func (r *Registry) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(
		prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	r.prom.MustRegister(h)
	return h
}

// gauge asks for its value when it is scraped.
func (r *Registry) gauge(name, help string, value func() float64) {
	r.prom.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, value))
}
