package observe

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPolicyMetrics(t *testing.T) {
	r := NewRegistry("deviceplugin")
	m := NewPolicyMetrics(r)
	m.Written(nil)
	m.Written(nil)
	m.Written(errors.New("no space left on device"))
	want := []string{`inlay_policy_writes_total{result="error"} 1`, `inlay_policy_writes_total{result="ok"} 2`}
	if diff := cmp.Diff(want, withoutBuildInfo(t, scrape(t, r), "deviceplugin")); diff != "" {
		t.Errorf("before anything is followed (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		synced time.Time
		want   string
	}{
		{time.Time{}, `inlay_policy_synced_timestamp_seconds 0`},
		{time.Unix(1_000_000, 999), `inlay_policy_synced_timestamp_seconds 1e+06`},
	} {
		m.Holds(c.synced, 7)
		want := append([]string{`inlay_policy_mappings 7`, c.want}, want...)
		if diff := cmp.Diff(want, withoutBuildInfo(t, scrape(t, r), "deviceplugin")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
