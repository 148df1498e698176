package main

import (
	"strings"
	"testing"
)

func TestTheGatePassesOnlyContainersThatInlayNriAdjusted(t *testing.T) {
	const notSeen = "inlay-hook: inlay-nri did not see this container"
	gateHook := `{"path":"/opt/inlay/bin/inlay-hook","args":["inlay-hook","gate"],"timeout":10}`
	program := func(path string) string {
		return `{"path":"` + path + `","args":["inlay-hook","program","--mode","region"]}`
	}
	hooks := func(list ...string) string { return `{"hooks":{"createRuntime":[` + strings.Join(list, ",") + `]}}` }
	for _, tt := range []struct{ name, config, wantErr string }{
		{"with the program hook", hooks(gateHook, program("/opt/inlay/bin/inlay-hook")), ""},
		{"before the gate", hooks(program("/opt/inlay/bin/inlay-hook"), gateHook), ""},
		{"among others", hooks(gateHook, `{"path":"/usr/bin/nvidia-ctk","args":["nvidia-ctk","hook"]}`, program("/opt/inlay/bin/inlay-hook")), ""},
		{"versioned", hooks(program("/opt/inlay/bin/inlay-hook-1.2.3")), ""},
		{"versioned otherwise", hooks(program("/opt/inlay/1.2/inlay-hook_v1")), ""},
		{"without", hooks(gateHook), notSeen},
		{"no hooks", `{}`, notSeen},
		{"hooks of null", `{"hooks":null}`, notSeen},
		{"another program", hooks(program("/usr/bin/other-hook")), notSeen},
		{"a program that begins like ours", hooks(program("/usr/bin/inlay-hooker")), notSeen},
		{"a folder that is called so", hooks(program("/inlay-hook/true")), notSeen},
		{"another command", hooks(`{"path":"/opt/inlay/bin/inlay-hook","args":["inlay-hook","version","program"]}`), notSeen},
		{"no arguments", hooks(`{"path":"/opt/inlay/bin/inlay-hook"}`), notSeen},
		{"the name alone", hooks(`{"path":"/opt/inlay/bin/inlay-hook","args":["program"]}`), notSeen},
		{"at another stage", `{"hooks":{"createContainer":[` + program("/opt/inlay/bin/inlay-hook") + `]}}`, notSeen},
		{"words of a pod", `{"process":{"env":["hooks=createRuntime"],"args":["inlay-hook","program"]},"annotations":{"hooks.createRuntime":"inlay-hook program"}}`, notSeen},
		{"malformed", `{"hooks":{"createRuntime":{}}}`, "gate: …config.json: json: cannot unmarshal object"},
		{"cut off", `{"hooks":{"createRuntime":[`, "gate: …config.json: unexpected end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want(t, call(t, container{raw: tt.config}.state(t), "gate"), tt.wantErr)
		})
	}
}

func TestTheGateIsShutWhenItCannotTell(t *testing.T) {
	for _, tt := range []struct {
		name, stdin, wantErr string
		args                 []string
	}{
		{"no state", "", "gate: OCI state on standard input: empty", nil},
		{"no bundle", `{}`, "gate: OCI state on standard input names no bundle", nil},
		{"no config", `{"bundle":"/proc/self/fd"}`, "gate: bundle: …config.json: no such file", nil},
		{"an argument that nobody heeds", `{}`, `gate: flag provided but not defined: -strict`, []string{"--strict"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want(t, call(t, tt.stdin, append([]string{"gate"}, tt.args...)...), tt.wantErr)
		})
	}
}
