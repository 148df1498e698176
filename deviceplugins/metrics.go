package main

import (
	"errors"
	"sync"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/observe"
)

// metrics counts what the engine tells. It implements plugin.Observer.
type metrics struct {
	plugin.NopObserver
	programs *observe.ProgramMetrics
	counts   *observe.DevicePluginMetrics

	mu      sync.Mutex
	skipped map[string]int                       // by family
	devices map[string]map[observe.DeviceKey]int // by family
}

func newMetrics(r *observe.Registry) *metrics {
	counts := observe.NewDevicePluginMetrics(r)
	return &metrics{programs: counts.ProgramMetrics, counts: counts, devices: map[string]map[observe.DeviceKey]int{}, skipped: map[string]int{}}
}

// LeftOut implements plugin.Observer.
func (m *metrics) LeftOut(family string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.skipped[family] = n
	m.show(family)
}

// Triggered implements plugin.Observer.
func (m *metrics) Triggered(family, source string) { m.counts.DiscoveryEvent(family, source) }

// Published implements plugin.Observer.
func (m *metrics) Published(family, resource string, healthy, unhealthy int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	byKey := m.devices[family]
	if byKey == nil {
		byKey = map[observe.DeviceKey]int{}
		m.devices[family] = byKey
	}
	for health, n := range map[string]int{plugin.Healthy: healthy, plugin.Unhealthy: unhealthy} {
		key := observe.DeviceKey{Resource: resource, Health: health}
		if byKey[key] = n; healthy+unhealthy == 0 {
			delete(byKey, key)
		}
	}
	m.show(family)
}

// show is called with mu held.
func (m *metrics) show(family string) {
	devices := make(map[observe.DeviceKey]int, len(m.devices[family]))
	for key, n := range m.devices[family] {
		devices[key] = n
	}
	m.counts.SetDevices(family, devices, m.skipped[family])
}

// HealthChanged implements plugin.Observer.
func (m *metrics) HealthChanged(_, _, from, to string) { m.counts.HealthTransition(from, to) }

// Registered implements plugin.Observer.
func (m *metrics) Registered(_ string, gap time.Duration, err error) {
	m.counts.Registration(err)
	if err == nil {
		m.counts.RegistrationGap(gap)
	}
}

// ListSent implements plugin.Observer.
func (m *metrics) ListSent(_ string, lag time.Duration) { m.counts.DiscoveryLag(lag) }

// Allocated implements plugin.Observer.
func (m *metrics) Allocated(resource, result string, took time.Duration) {
	var err error
	if result != plugin.ResultOK {
		err = errors.New(result)
	}
	m.counts.Allocation(resource, took, err)
}
