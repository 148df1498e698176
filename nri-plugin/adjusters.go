package main

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/containerd/nri/pkg/api"
	"google.golang.org/protobuf/proto"

	"github.com/inlay-project/inlay/nri-plugin/engine"
)

// adjusters is everybody who has a say in what a container gets. Each knows its own families; what they add up to is one
// adjustment, and one refusal is enough.
type adjusters struct {
	all []engine.Adjuster
	// missing says what keeps every container of ours from being granted now, a line each.
	missing func() []string
}

// Wants implements engine.Adjuster.
func (a *adjusters) Wants(pod *api.PodSandbox, ctr *api.Container) bool {
	for _, one := range a.all {
		if one.Wants(pod, ctr) {
			return true
		}
	}
	return false
}

// Adjust implements engine.Adjuster.
func (a *adjusters) Adjust(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, error) {
	sum := &api.ContainerAdjustment{}
	for _, one := range a.all {
		if !one.Wants(pod, ctr) {
			continue
		}
		part, err := one.Adjust(ctx, pod, ctr)
		if err != nil {
			return nil, err
		}
		proto.Merge(sum, part)
	}
	return sum, nil
}

// lateAdjuster stands in until the configuration is known: a pre-installed plugin gets it from the runtime, before the
// first container.
type lateAdjuster struct{ real atomic.Pointer[adjusters] }

func (l *lateAdjuster) Wants(pod *api.PodSandbox, ctr *api.Container) bool {
	a := l.real.Load()
	return a == nil || a.Wants(pod, ctr)
}

func (l *lateAdjuster) Adjust(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, error) {
	a := l.real.Load()
	if a == nil {
		return nil, errors.New("inlay-nri is not configured yet")
	}
	return a.Adjust(ctx, pod, ctr)
}

func (l *lateAdjuster) missing() []string {
	if a := l.real.Load(); a != nil {
		return a.missing()
	}
	return nil
}
