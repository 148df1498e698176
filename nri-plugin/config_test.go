package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/internal/record"
)

func TestConfigurationFromTheRuntime(t *testing.T) {
	for _, tt := range []struct {
		name, config, want, wantErr string
	}{
		{"nothing", "", "1m0s 536870912 /p true", ""},
		{"only a comment", "# later\n", "1m0s 536870912 /p true", ""},
		{"values of each kind", "timeout: 90s\nsize: 1073741824\npolicy: /x\nflag: false\n", "1m30s 1073741824 /x false", ""},
		{"quoted", "timeout: '2m'\nsize: \"7\"\n", "2m0s 7 /p true", ""},
		{"empty text", "policy: \"\"\n", "1m0s 536870912  true", ""},
		{"a flag that was given stays", "given: theirs\n", "1m0s 536870912 /p true", ""},
		{"JSON", `{"size": 8}`, "1m0s 8 /p true", ""},
		{"a word that is no flag", "timout: 90s\n", "", `"timout" is not a setting`},
		{"what is settled by then", "host-root: /x\n", "", `"host-root" is not a setting`},
		{"what the runtime says", "nri-index: 50\n", "", `"nri-index" is not a setting`},
		{"a value that does not fit", "timeout: soon\n", "", "timeout: "},
		{"nothing as a value", "policy:\n", "", "policy: <nil> is no single value"},
		{"a list", "policy: [a, b]\n", "", "policy: [a b] is no single value"},
		{"a setting twice", "size: 1\nsize: 2\n", "", "size"},
		{"no settings at all", "- a\n- b\n", "", "it is not a list of <flag>: <value> lines"},
		{"not YAML", "\t{", "", "yaml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := pflag.NewFlagSet("test", pflag.ContinueOnError)
			timeout, size := f.Duration("timeout", time.Minute, ""), f.Int64("size", 512<<20, "")
			policy, flag, given := f.String("policy", "/p", ""), f.Bool("flag", true, ""), f.String("given", "", "")
			for _, name := range fixed {
				f.String(name, "", "")
			}
			if err := f.Set("given", "ours"); err != nil {
				t.Fatal(err)
			}
			err := applyConfig(f, tt.config)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %v, want %q", err, tt.wantErr)
				}
				return
			}
			got := strings.Join([]string{timeout.String(), f.Lookup("size").Value.String(), *policy, f.Lookup("flag").Value.String()}, " ")
			if err != nil || got != tt.want || *given != "ours" || *size < 0 || *flag != (f.Lookup("flag").Value.String() == "true") {
				t.Errorf("%s, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestBeforeItIsConfiguredNoContainerSlipsThrough(t *testing.T) {
	l := &lateAdjuster{}
	if !l.Wants(&api.PodSandbox{}, &api.Container{}) {
		t.Error("a container passes unseen")
	}
	if _, err := l.Adjust(context.Background(), nil, nil); err == nil || !strings.Contains(err.Error(), "not configured yet") {
		t.Error(err)
	}
}

func TestSynchronizeNamesContainersThatTheGateWillStop(t *testing.T) {
	hook := func(command string) *api.Hook {
		return &api.Hook{Path: "/opt/inlay/bin/inlay-hook", Args: []string{"inlay-hook", command}}
	}
	ours := map[string]string{record.Key("region-" + iface): "dfl-fme.0@" + card0}
	created, running := api.ContainerState_CONTAINER_CREATED, api.ContainerState_CONTAINER_RUNNING
	log, logs := logrustest.NewNullLogger()
	(&reconciler{log: log}).Synchronize(context.Background(), nil, []*api.Container{
		{Name: "plain", State: created, Hooks: &api.Hooks{CreateRuntime: []*api.Hook{hook("gate")}}},
		{Name: "granted", State: created, Annotations: ours, Hooks: &api.Hooks{CreateRuntime: []*api.Hook{hook("gate"), hook("program")}}},
		{Name: "missed", State: created, Annotations: ours, Hooks: &api.Hooks{CreateRuntime: []*api.Hook{hook("gate")}}},
		{Name: "running", State: running, Annotations: ours, Hooks: &api.Hooks{CreateRuntime: []*api.Hook{hook("gate")}}},
		{Name: "stand-alone", State: created, Annotations: ours, Hooks: &api.Hooks{CreateRuntime: []*api.Hook{{Path: "/h", Args: []string{"inlay-hook"}}}}},
		{Name: "untold", State: created, Annotations: ours},
	})
	var named []string
	for _, e := range logs.AllEntries() {
		if name, ok := e.Data["container"]; ok {
			named = append(named, name.(string))
		}
	}
	if strings.Join(named, " ") != "missed" {
		t.Errorf("named %q", named)
	}
	if e := logs.LastEntry(); e.Message != "synchronized" || e.Data["containers"] != 6 || e.Data["fpga"] != 5 {
		t.Errorf("%+v", e)
	}
}
