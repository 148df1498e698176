package main

import (
	"context"
	"errors"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/inlay-project/inlay/nri-plugin/engine"
)

// answers is an adjuster that claims containers with an annotation and has one answer for them.
type answers struct {
	annotation string
	adjust     func(*api.ContainerAdjustment)
	err        error
}

func (a answers) Wants(_ *api.PodSandbox, ctr *api.Container) bool {
	return ctr.GetAnnotations()[a.annotation] != ""
}

func (a answers) Adjust(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, error) {
	if a.err != nil {
		return nil, a.err
	}
	adjust := &api.ContainerAdjustment{}
	a.adjust(adjust)
	return adjust, nil
}

func TestAContainerGetsWhatAllItsFamiliesSay(t *testing.T) {
	port := func(a *api.ContainerAdjustment) {
		a.AddDevice(&api.LinuxDevice{Path: "/dev/dfl-port.0", Type: "c", Major: 243})
		a.AddHooks(&api.Hooks{CreateRuntime: []*api.Hook{{Path: "/opt/inlay/bin/inlay-hook"}}})
		a.AddEnv("A", "1")
	}
	links := func(a *api.ContainerAdjustment) {
		a.RemoveMount("/dev/dri/by-path/x")
		a.AddMount(&api.Mount{Destination: "/dev/dri/by-path"})
		a.AddEnv("B", "2")
		a.AddLinuxUnified("misc.max", "sgx_epc 4096")
	}
	both := &adjusters{all: []engine.Adjuster{answers{annotation: "fpga", adjust: port}, answers{annotation: "gpu", adjust: links}}}
	ctr := func(annotations ...string) *api.Container {
		c := &api.Container{Annotations: map[string]string{}}
		for _, a := range annotations {
			c.Annotations[a] = "x"
		}
		return c
	}
	for _, tt := range []struct {
		name string
		ctr  *api.Container
		want []func(*api.ContainerAdjustment)
	}{
		{"one", ctr("fpga"), []func(*api.ContainerAdjustment){port}},
		{"the other", ctr("gpu"), []func(*api.ContainerAdjustment){links}},
		{"both", ctr("gpu", "fpga"), []func(*api.ContainerAdjustment){port, links}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := &api.ContainerAdjustment{}
			for _, add := range tt.want {
				add(want)
			}
			got, err := both.Adjust(t.Context(), nil, tt.ctr)
			if d := cmp.Diff(want, got, protocmp.Transform()); err != nil || d != "" {
				t.Errorf("%v\n%s", err, d)
			}
		})
	}
	if both.Wants(nil, ctr("other")) {
		t.Error("a container of nobody is claimed")
	}
}

func TestOneRefusalIsEnough(t *testing.T) {
	no := errors.New("no")
	both := &adjusters{all: []engine.Adjuster{answers{annotation: "a", adjust: func(*api.ContainerAdjustment) {}}, answers{annotation: "a", err: no}}}
	got, err := both.Adjust(t.Context(), nil, &api.Container{Annotations: map[string]string{"a": "x"}})
	if got != nil || !errors.Is(err, no) {
		t.Errorf("%v, %v", got, err)
	}
}
