//go:build integration

package cluster

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration"
)

func TestAfModeGivesThePortThatHoldsTheFunction(t *testing.T) {
	c := kit.Start(t, Options{Cards: []string{"dfl:ports=2,afu=" + integration.NLB0 + "/" + integration.NLB3}})
	c.InstallInlay(Install{Overlay: "af"})
	c.Grant("", "nlb3", integration.NLB3, "af")
	pod := PodSpec{Name: "reader", Resources: map[string]int64{"fpga.intel.com/nlb3": 1}}
	c.RunPod(pod)
	if diff := cmp.Diff(map[string]string{"dfl-port.1": integration.NLB3}, c.Ports(pod)); diff != "" {
		t.Errorf("the pod's log (-want +got):\n%s", diff)
	}
	if programmed, err := c.Programmed(); err != nil || len(programmed) > 0 {
		t.Errorf("a card was programmed in af mode: %v, %v", programmed, err)
	}
	c.Delete(pod)
}

// A namespace without a mapping gets nothing, whichever way it asks, and the user sees why where he looks.
func TestWithoutAMappingAPodIsRefusedAndToldWhy(t *testing.T) {
	c := kit.Start(t, Options{})
	c.StoreBitstream(integration.NLB3)
	c.InstallInlay(Install{})
	c.WaitAllocatable(region, 1)
	c.Kubectl("create", "namespace", "granted")
	c.Kubectl("create", "namespace", "without")
	c.Grant("granted", "nlb3", integration.NLB3, "region")
	granted := PodSpec{Name: "granted", Namespace: "granted", Resources: map[string]int64{"fpga.intel.com/nlb3": 1}}
	c.RunPod(granted)
	c.Delete(granted)

	t.Run("by the webhook", func(t *testing.T) {
		_, err := c.CreatePod(t.Context(), PodSpec{Name: "asks", Namespace: "without", Resources: map[string]int64{"fpga.intel.com/nlb3": 1}})
		if err == nil || !strings.Contains(err.Error(), "fpga.mutator.webhooks.intel.com") || !strings.Contains(err.Error(), "nlb3") {
			t.Errorf("the API server's answer: %v", err)
		}
	})
	t.Run("by the node", func(t *testing.T) {
		// Past the webhook, with what it would have written for the other namespace.
		c.Kubectl("delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "inlay-webhook")
		pod := PodSpec{
			Name: "past-the-webhook", Namespace: "without", RestartPolicy: corev1.RestartPolicyNever,
			Resources: map[string]int64{region: 1},
			Env:       map[string]string{"FPGA_REGION_1": emulator.DefaultInterface, "FPGA_AFU_1": integration.NLB3},
		}
		c.WaitAdmitted(pod) // the API server may not have heard of that yet
		c.Create(pod)
		c.must(c.Await(t.Context(), podLimit, "the refusal in kubectl describe", func(ctx context.Context) error {
			r := c.Admin().Try(ctx, "", "describe", "pod", pod.Name, "-n", pod.Namespace)
			if r.Err == nil && !refusal.MatchString(r.Stdout) {
				r.Err = errors.New(r.Stdout)
			}
			return r.Err
		}))
		now, err := c.PodNow(t.Context(), pod.Namespace, pod.Name)
		c.must(err)
		for _, s := range now.Status.ContainerStatuses {
			if s.State.Running != nil || s.LastTerminationState.Terminated != nil {
				t.Errorf("it has run: %+v", s)
			}
		}
	})
}

// refusal is inlay-nri's, as an event of the pod shows it.
var refusal = regexp.MustCompile(`Warning +Failed .*namespace without has no AcceleratorFunction of mode region for interface ` + emulator.DefaultInterface)
