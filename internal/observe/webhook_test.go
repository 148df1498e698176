package observe

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWebhookMetrics(t *testing.T) {
	r := NewRegistry("webhook")
	synced, end := false, time.Time{}
	m := NewWebhookMetrics(r, WebhookState{
		Synced:   func() bool { return synced },
		NotAfter: func() time.Time { return end },
		Mappings: func() map[MappingKey]int {
			return map[MappingKey]int{{"AcceleratorFunction", true}: 3, {"FpgaRegion", false}: 1}
		},
	})
	m.Reviewed(false, "translated", 250*time.Millisecond)
	m.Reviewed(false, "denied", 250*time.Millisecond)
	m.Reviewed(true, "allowed", 250*time.Millisecond)
	m.Reviewed(true, "a decision that nobody makes", 250*time.Millisecond)
	m.Panicked()

	want := []string{
		`inlay_webhook_certificate_expiry_timestamp_seconds 0`,
		`inlay_webhook_mappings{kind="AcceleratorFunction",ready="true"} 3`,
		`inlay_webhook_mappings{kind="FpgaRegion",ready="false"} 1`,
		`inlay_webhook_panics_total 1`,
		`inlay_webhook_request_duration_seconds_sum{webhook="check"} 0.5`,
		`inlay_webhook_request_duration_seconds_count{webhook="check"} 2`,
		`inlay_webhook_request_duration_seconds_sum{webhook="mutate"} 0.5`,
		`inlay_webhook_request_duration_seconds_count{webhook="mutate"} 2`,
		`inlay_webhook_requests_total{decision="allowed",webhook="check"} 1`,
		`inlay_webhook_requests_total{decision="allowed",webhook="mutate"} 0`,
		`inlay_webhook_requests_total{decision="busy",webhook="check"} 0`,
		`inlay_webhook_requests_total{decision="busy",webhook="mutate"} 0`,
		`inlay_webhook_requests_total{decision="denied",webhook="check"} 0`,
		`inlay_webhook_requests_total{decision="denied",webhook="mutate"} 1`,
		`inlay_webhook_requests_total{decision="malformed",webhook="check"} 0`,
		`inlay_webhook_requests_total{decision="malformed",webhook="mutate"} 0`,
		`inlay_webhook_requests_total{decision="translated",webhook="check"} 0`,
		`inlay_webhook_requests_total{decision="translated",webhook="mutate"} 1`,
		`inlay_webhook_requests_total{decision="unready",webhook="check"} 0`,
		`inlay_webhook_requests_total{decision="unready",webhook="mutate"} 0`,
		`inlay_webhook_synced 0`,
	}
	if diff := cmp.Diff(want, withoutBuildInfo(t, scrape(t, r), "webhook")); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	synced, end = true, time.Unix(4102444800, 0)
	want[0], want[len(want)-1] = `inlay_webhook_certificate_expiry_timestamp_seconds 4.1024448e+09`, `inlay_webhook_synced 1`
	if diff := cmp.Diff(want, withoutBuildInfo(t, scrape(t, r), "webhook")); diff != "" {
		t.Errorf("metrics later (-want +got):\n%s", diff)
	}
}
