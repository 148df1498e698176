package observe

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scrape gives the lines of /metrics that begin with inlay_, without those of histogram buckets.
func scrape(t *testing.T, r *Registry) []string {
	t.Helper()
	code, body := get(t, serve(t, r), "/metrics")
	if code != 200 {
		t.Fatalf("/metrics: %d %s", code, body)
	}
	var lines []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "inlay_") && !strings.Contains(line, "_bucket{") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestDevicePluginMetrics(t *testing.T) {
	r := NewRegistry("deviceplugin")
	m := NewDevicePluginMetrics(r)
	region := DeviceKey{"fpga.intel.com/region-a", "Healthy"}
	m.SetDevices("fpga", map[DeviceKey]int{region: 7, {"fpga.intel.com/region-b", "Healthy"}: 1}, 0)
	m.SetDevices("fpga", map[DeviceKey]int{region: 2, {"fpga.intel.com/region-a", "Unhealthy"}: 1}, 3)
	m.SetDevices("gpu", map[DeviceKey]int{{"gpu.intel.com/xe", "Healthy"}: 4}, 0)
	m.DiscoveryEvent("fpga", "add")
	m.DiscoveryLag(20 * time.Millisecond)
	m.Registration(nil)
	m.Registration(errors.New("no socket"))
	m.RegistrationGap(5 * time.Millisecond)
	m.Allocation("fpga.intel.com/region-a", 250*time.Microsecond, nil)
	m.Allocation("fpga.intel.com/region-a", 250*time.Microsecond, errors.New("unknown device"))
	m.PreStart("fpga.intel.com/region-a", nil)
	m.HealthTransition("Healthy", "Unhealthy")
	m.Injection("cdi")
	m.Programmed(2 * time.Second)
	m.ProgramFailed("readback")
	m.WarmHit()

	want := []string{
		`inlay_allocation_duration_seconds_sum 0.0005`,
		`inlay_allocation_duration_seconds_count 2`,
		`inlay_allocations_total{resource="fpga.intel.com/region-a",result="error"} 1`,
		`inlay_allocations_total{resource="fpga.intel.com/region-a",result="ok"} 1`,
		`inlay_devices{family="fpga",health="Healthy",resource="fpga.intel.com/region-a"} 2`,
		`inlay_devices{family="fpga",health="Unhealthy",resource="fpga.intel.com/region-a"} 1`,
		`inlay_devices{family="gpu",health="Healthy",resource="gpu.intel.com/xe"} 4`,
		`inlay_devices_skipped{family="fpga"} 3`,
		`inlay_devices_skipped{family="gpu"} 0`,
		`inlay_discovery_events_total{action="add",family="fpga"} 1`,
		`inlay_discovery_lag_seconds_sum 0.02`,
		`inlay_discovery_lag_seconds_count 1`,
		`inlay_fpga_program_duration_seconds_sum 2`,
		`inlay_fpga_program_duration_seconds_count 1`,
		`inlay_fpga_programs_total{reason="",result="ok"} 1`,
		`inlay_fpga_programs_total{reason="readback",result="error"} 1`,
		`inlay_fpga_warm_hits_total 1`,
		`inlay_health_transitions_total{from="Healthy",to="Unhealthy"} 1`,
		`inlay_injections_total{mechanism="cdi"} 1`,
		`inlay_kubelet_registration_gap_seconds_sum 0.005`,
		`inlay_kubelet_registration_gap_seconds_count 1`,
		`inlay_kubelet_registrations_total{result="error"} 1`,
		`inlay_kubelet_registrations_total{result="ok"} 1`,
		`inlay_prestarts_total{resource="fpga.intel.com/region-a",result="ok"} 1`,
	}
	if diff := cmp.Diff(want, withoutBuildInfo(t, scrape(t, r), "deviceplugin")); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestNRIMetrics(t *testing.T) {
	r := NewRegistry("nri")
	m := NewNRIMetrics(r)
	m.Request("CreateContainer", 250*time.Millisecond, nil)
	m.Request("CreateContainer", 250*time.Millisecond, errors.New("broken"))
	m.Refused("CreateContainer", 250*time.Millisecond, "policy")
	m.Reconnect()
	m.SetConnected(false)
	m.SetConnected(true)
	m.Injection("nri")

	want := []string{
		`inlay_injections_total{mechanism="nri"} 1`,
		`inlay_nri_connected 1`,
		`inlay_nri_reconnects_total 1`,
		`inlay_nri_refusals_total{reason="policy"} 1`,
		`inlay_nri_request_duration_seconds_sum{event="CreateContainer"} 0.75`,
		`inlay_nri_request_duration_seconds_count{event="CreateContainer"} 3`,
		`inlay_nri_requests_total{event="CreateContainer",result="error"} 1`,
		`inlay_nri_requests_total{event="CreateContainer",result="ok"} 1`,
		`inlay_nri_requests_total{event="CreateContainer",result="refused"} 1`,
	}
	if diff := cmp.Diff(want, withoutBuildInfo(t, scrape(t, r), "nri")); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// withoutBuildInfo checks the line that differs from build to build and takes it out.
func withoutBuildInfo(t *testing.T, lines []string, component string) []string {
	t.Helper()
	var rest []string
	for _, line := range lines {
		if !strings.HasPrefix(line, "inlay_build_info{") {
			rest = append(rest, line)
			continue
		}
		for _, want := range []string{`component="` + component + `"`, `version="`, `goversion="go1.`, "} 1"} {
			if !strings.Contains(line, want) {
				t.Errorf("%s has no %s", line, want)
			}
		}
	}
	if len(rest) != len(lines)-1 {
		t.Error("no inlay_build_info")
	}
	return rest
}

func TestTwoRegistriesDoNotKnowEachOther(t *testing.T) {
	a, b := NewRegistry("a"), NewRegistry("b")
	NewNRIMetrics(a).Reconnect()
	NewNRIMetrics(b)
	for _, line := range scrape(t, b) {
		if strings.HasPrefix(line, "inlay_nri_reconnects_total") && !strings.HasSuffix(line, " 0") {
			t.Error(line)
		}
	}
}

func TestMetricsMayBeSetAndReadAtTheSameTime(t *testing.T) {
	r := NewRegistry("deviceplugin")
	m := NewDevicePluginMetrics(r)
	s := serve(t, r)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			counts := map[DeviceKey]int{}
			for i := range 200 {
				counts[DeviceKey{"fpga.intel.com/region-a", "Healthy"}] = i
				m.SetDevices("fpga", counts, i)
				m.Allocation("fpga.intel.com/region-a", time.Millisecond, nil)
			}
		})
	}
	for range 5 {
		if code, body := get(t, s, "/metrics"); code != 200 {
			t.Errorf("%d %s", code, body)
		}
	}
	wg.Wait()
}
