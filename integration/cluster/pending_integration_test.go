//go:build integration

package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/integration"
)

// A mapping of a card that no node has: the pod waits, and the scheduler says for what.
func TestAPodThatNoNodeHasADeviceForWaitsAndSaysSo(t *testing.T) {
	c := kit.Start(t, Options{})
	c.InstallInlay(Install{})
	c.WaitAllocatable(region, 1)
	c.Apply(Function("", "elsewhere", integration.OtherInterface, integration.NLB3, "region"))
	pod := PodSpec{Name: "waits", Resources: map[string]int64{"fpga.intel.com/elsewhere": 1}}
	c.WaitAdmitted(pod)
	c.Create(pod)
	const said = "Insufficient fpga.intel.com/region-" + integration.OtherInterface
	c.must(c.Await(t.Context(), podLimit, "the scheduler's event in kubectl describe", func(ctx context.Context) error {
		r := c.Admin().Try(ctx, "", "describe", "pod", pod.Name)
		if r.Err == nil && !strings.Contains(r.Stdout, said) {
			r.Err = errors.New(r.Stdout)
		}
		return r.Err
	}))
	c.Delete(pod)
}
