package observe

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DevicePluginMetrics are what inlay-deviceplugin counts.
type DevicePluginMetrics struct {
	*ProgramMetrics
	devices            *deviceGauges
	discoveryEvents    *prometheus.CounterVec
	discoveryLag       prometheus.Histogram
	registrations      *prometheus.CounterVec
	registrationGap    prometheus.Histogram
	allocations        *prometheus.CounterVec
	allocationDuration prometheus.Histogram
	preStarts          *prometheus.CounterVec
	healthTransitions  *prometheus.CounterVec
	injections         *prometheus.CounterVec
}

// DeviceKey is what devices are counted by.
type DeviceKey struct {
	Resource string // "fpga.intel.com/region-…"
	Health   string // "Healthy", "Unhealthy"
}

// NewDevicePluginMetrics adds the metrics to a registry, once.
func NewDevicePluginMetrics(r *Registry) *DevicePluginMetrics {
	devices := newDeviceGauges()
	r.prom.MustRegister(devices)
	return &DevicePluginMetrics{
		ProgramMetrics: newProgramMetrics(r),
		devices:        devices,
		discoveryEvents: r.counters("discovery_events_total",
			"Events that made a family look at its devices again.", "family", "action"),
		discoveryLag: r.histogram("discovery_lag_seconds",
			"Time from an event to the new device list sent to the kubelet.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}),
		registrations: r.counters("kubelet_registrations_total",
			"Registrations of a resource with the kubelet.", "result"),
		registrationGap: r.histogram("kubelet_registration_gap_seconds",
			"Time from a new kubelet socket to the first device list sent through it.",
			[]float64{.001, .0025, .005, .01, .02, .05, .1, .5, 1, 5, 30, 300}),
		allocations: r.counters("allocations_total",
			"Allocate calls of the kubelet.", "resource", "result"),
		allocationDuration: r.histogram("allocation_duration_seconds",
			"Time that an Allocate call took.",
			[]float64{.00005, .0001, .0002, .0003, .0005, .001, .0025, .005, .01, .05, .1, 1}),
		preStarts: r.counters("prestarts_total",
			"PreStartContainer calls of the kubelet.", "resource", "result"),
		healthTransitions: r.counters("health_transitions_total",
			"Changes of a device's health.", "from", "to"),
		injections: injections(r),
	}
}

// SetDevices replaces what a family offers: how many devices for each resource and health, and how many it had to
// skip. A scrape sees the old numbers or the new ones, never some of both.
func (m *DevicePluginMetrics) SetDevices(family string, devices map[DeviceKey]int, skipped int) {
	m.devices.set(family, devices, skipped)
}

// DiscoveryEvent counts an event that made a family look again: "add", "remove", "change", "poll", …
func (m *DevicePluginMetrics) DiscoveryEvent(family, action string) {
	m.discoveryEvents.WithLabelValues(family, action).Inc()
}

// DiscoveryLag records the time from an event to the list sent.
func (m *DevicePluginMetrics) DiscoveryLag(d time.Duration) { m.discoveryLag.Observe(d.Seconds()) }

// Registration counts a registration that ended with err.
func (m *DevicePluginMetrics) Registration(err error) {
	m.registrations.WithLabelValues(resultOf(err)).Inc()
}

// RegistrationGap records the time from a new kubelet socket to the first list sent.
func (m *DevicePluginMetrics) RegistrationGap(d time.Duration) {
	m.registrationGap.Observe(d.Seconds())
}

// Allocation counts an Allocate call that ended with err.
func (m *DevicePluginMetrics) Allocation(resource string, d time.Duration, err error) {
	m.allocations.WithLabelValues(resource, resultOf(err)).Inc()
	m.allocationDuration.Observe(d.Seconds())
}

// PreStart counts a PreStartContainer call that ended with err.
func (m *DevicePluginMetrics) PreStart(resource string, err error) {
	m.preStarts.WithLabelValues(resource, resultOf(err)).Inc()
}

// HealthTransition counts a device that changed from one health to another.
func (m *DevicePluginMetrics) HealthTransition(from, to string) {
	m.healthTransitions.WithLabelValues(from, to).Inc()
}

// Injection counts a container that was given devices by a mechanism of Allocate: "allocate", "cdi".
func (m *DevicePluginMetrics) Injection(mechanism string) {
	m.injections.WithLabelValues(mechanism).Inc()
}

// deviceGauges gives devices{family,resource,health} and devices_skipped{family} from one state, so that numbers of
// resources that are gone vanish with them.
type deviceGauges struct {
	devices, skipped *prometheus.Desc

	mu       sync.Mutex
	families map[string]familyDevices
}

type familyDevices struct {
	counts  map[DeviceKey]int
	skipped int
}

func newDeviceGauges() *deviceGauges {
	return &deviceGauges{
		devices: prometheus.NewDesc(prometheus.BuildFQName(namespace, "", "devices"),
			"Devices offered to the kubelet.", []string{"family", "resource", "health"}, nil),
		skipped: prometheus.NewDesc(prometheus.BuildFQName(namespace, "", "devices_skipped"),
			"Devices found but not offered; `inlay-deviceplugin discover` gives the reasons.", []string{"family"}, nil),
		families: map[string]familyDevices{},
	}
}

func (g *deviceGauges) set(family string, devices map[DeviceKey]int, skipped int) {
	counts := make(map[DeviceKey]int, len(devices))
	for k, n := range devices {
		counts[k] = n
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.families[family] = familyDevices{counts, skipped}
}

func (g *deviceGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.devices
	ch <- g.skipped
}

func (g *deviceGauges) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for family, f := range g.families {
		for k, n := range f.counts {
			ch <- prometheus.MustNewConstMetric(g.devices, prometheus.GaugeValue, float64(n), family, k.Resource, k.Health)
		}
		ch <- prometheus.MustNewConstMetric(g.skipped, prometheus.GaugeValue, float64(f.skipped), family)
	}
}
