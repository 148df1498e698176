package observe

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// What an operator can scrape is in the table of docs/operate.md, and nothing else is.
func TestThePageHasEveryMetric(t *testing.T) {
	deviceplugin, nri, webhook := NewRegistry("deviceplugin"), NewRegistry("nri"), NewRegistry("webhook")
	NewDevicePluginMetrics(deviceplugin)
	NewPolicyMetrics(deviceplugin)
	NewConfigMetrics(deviceplugin)
	NewNRIMetrics(nri)
	NewWebhookMetrics(webhook, WebhookState{
		Synced: func() bool { return true }, NotAfter: time.Now, Mappings: func() map[MappingKey]int { return nil },
	})
	exported := map[string]bool{}
	name := regexp.MustCompile(`fqName: "inlay_(\w+)"`)
	for _, r := range []*Registry{deviceplugin, nri, webhook} {
		descs := make(chan *prometheus.Desc)
		go func() {
			r.prom.Describe(descs)
			close(descs)
		}()
		for d := range descs {
			if m := name.FindStringSubmatch(d.String()); m != nil {
				exported[m[1]] = true
			}
		}
	}
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllSubmatch(page, -1) {
		told[string(row[1])] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(exported)), slices.Sorted(maps.Keys(told))); diff != "" {
		t.Errorf("docs/operate.md (-programs +page):\n%s", diff)
	}
}
