package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/fpga"
)

const (
	translateGoal = 30 * time.Microsecond
	translations  = 100 // a sample: a single one is too short to be timed
)

// translate measures the webhook's own work for a usual pod, in this process: from the pod's JSON to the patch, and
// beside it what reading the JSON into Kubernetes' type takes.
func translate(ctx context.Context, b *bench) ([]row, error) {
	raw := review(0, namespaceName("shop", 0), alias(0))
	mapping := &v2.AcceleratorFunction{Spec: v2.AcceleratorFunctionSpec{Mode: "region", InterfaceID: iface, AfuID: nlb0}}
	mapping.Name = alias(0)
	table := fpga.NewTable([]fpga.Entry{fpga.EntryOf(mapping)})
	var ask admissionv1.AdmissionReview
	if err := json.Unmarshal(raw, &ask); err != nil {
		return nil, err
	}
	pod := ask.Request.Object.Raw
	whole := func() error {
		p, err := fpga.ParsePod(pod)
		if err != nil {
			return err
		}
		verdict := fpga.Translate(p, namespaceName("shop", 0), table, fpga.Options{ModeAffinity: true})
		patch, err := verdict.MarshalPatch()
		if err == nil && (verdict.Denied != "" || len(patch) < 100) {
			err = fmt.Errorf("no patch: %s %s", verdict.Denied, patch)
		}
		return err
	}
	parse := func() error {
		var p corev1.Pod
		return json.Unmarshal(pod, &p)
	}
	var took [2]times
	n := b.samples(2000, 100)
	for range n {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		for i, f := range []func() error{whole, parse} {
			began := time.Now()
			for range translations {
				if err := f(); err != nil {
					return nil, err
				}
			}
			took[i] = append(took[i], time.Since(began)/translations)
		}
	}
	return []row{{
		what: "a usual pod's translation, from the pod's JSON to the patch, p50", figure: show(took[0].p(50)),
		baseline: "encoding/json, to read the pod (" + size(len(pod)) + "): " + show(took[1].p(50)), goal: "≤ " + show(translateGoal),
		verdict: keeps(took[0].p(50) <= translateGoal), samples: fmt.Sprintf("%d of %d each, in turn", n, translations),
	}, {
		what: "the same, p99", figure: show(took[0].p(99)), baseline: "to read the pod: " + show(took[1].p(99)),
		samples: fmt.Sprintf("%d of %d each, in turn", n, translations),
	}}, nil
}
