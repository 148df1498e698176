//go:build integration

package chaos

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cluster"
)

// busyBackLimit is what the test fails above, on a machine that is busy; soak holds the bound of 2 s.
const busyBackLimit = 15 * time.Second

// INLAY_CHAOS_PODS and INLAY_CHAOS_ROLLOUTS make it longer.
func TestPodsRunOnWhileInlayIsUpgraded(t *testing.T) {
	u, err := Upgrade(t.Context(), UpgradeOptions{
		Cluster: cluster.Options{Tools: kit.Tools(t), Runtime: integration.RuntimeName(os.Getenv("INLAY_CHAOS_RUNTIME"))},
		Next:    images(t), Pods: int(number(t, "INLAY_CHAOS_PODS", 20)), Rollouts: int(number(t, "INLAY_CHAOS_ROLLOUTS", 3)),
		Log: testLog{t}, Name: t.Name(), BackLimit: busyBackLimit,
	})
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	u.Write(&s)
	t.Log("\n" + s.String())
	for n, r := range u.Rollouts {
		if r.late(backLimit) {
			t.Logf("roll-out %d: later than %v, the bound of a machine that is not busy: %+v", n+1, backLimit, r)
		}
	}
	for _, v := range u.Violations {
		t.Errorf("roll-out %d, %s: %s", v.Step, v.Invariant, v.Text)
	}
	if len(u.Rollouts) == 0 || u.Readings == 0 {
		t.Errorf("nothing was tested: %+v", u)
	}
}
