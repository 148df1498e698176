package main

import (
	"os"
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
		{"versioned", hooks(gateHook, program("/opt/inlay/bin/inlay-hook-v1.2.3-4-gabcdef0-dirty-0a1b2c3d")), ""},
		{"versioned, of a devel build", hooks(gateHook, program("/opt/inlay/bin/inlay-hook-devel-0a1b2c3d")), ""},
		{"a version without digest", hooks(gateHook, program("/opt/inlay/bin/inlay-hook-1.2.3")), notSeen},
		{"a digest without version", hooks(gateHook, program("/opt/inlay/bin/inlay-hook-0a1b2c3d")), notSeen},
		{"a digest that is none", hooks(gateHook, program("/opt/inlay/bin/inlay-hook-v1-0a1b2c3g")), notSeen},
		{"a digest in capitals", hooks(gateHook, program("/opt/inlay/bin/inlay-hook-v1-0A1B2C3D")), notSeen},
		{"a version with a space", hooks(gateHook, program("/opt/inlay/bin/inlay-hook-v1 2-0a1b2c3d")), notSeen},
		{"versioned otherwise", hooks(gateHook, program("/opt/inlay/bin/inlay-hook_v1")), notSeen},
		{"in another folder", hooks(gateHook, program("/tmp/inlay-hook-v1-0a1b2c3d")), "gate: the program hook /tmp/inlay-hook-v1-0a1b2c3d is not in the gate's own folder"},
		{"the stable name in another folder", hooks(gateHook, program("/usr/bin/inlay-hook")), "gate: the program hook /usr/bin/inlay-hook is not in the gate's own folder"},
		{"in a folder below", hooks(gateHook, program("/opt/inlay/bin/x/inlay-hook")), "is not in the gate's own folder"},
		{"by a detour", hooks(gateHook, program("/tmp/../opt/inlay/bin/inlay-hook")), notSeen},
		{"relative", hooks(gateHook, program("inlay-hook")), notSeen},
		{"another name for itself", hooks(gateHook, `{"path":"/opt/inlay/bin/inlay-hook","args":["true","program"]}`), notSeen},
		{"where the gate is no hook", hooks(program("/opt/inlay/bin/inlay-hook")), "is not in the gate's own folder"},
		{"one elsewhere and one here", hooks(gateHook, program("/usr/bin/inlay-hook"), program("/opt/inlay/bin/inlay-hook-v1-0a1b2c3d")), ""},
		{"without", hooks(gateHook), notSeen},
		{"no hooks", `{}`, notSeen},
		{"hooks of null", `{"hooks":null}`, notSeen},
		{"another program", hooks(gateHook, program("/opt/inlay/bin/other-hook")), notSeen},
		{"a program that begins like ours", hooks(gateHook, program("/opt/inlay/bin/inlay-hooker")), notSeen},
		{"a folder that is called so", hooks(gateHook, program("/opt/inlay/bin/inlay-hook/true")), notSeen},
		{"another command", hooks(gateHook, `{"path":"/opt/inlay/bin/inlay-hook","args":["inlay-hook","version","program"]}`), notSeen},
		{"no arguments", hooks(gateHook, `{"path":"/opt/inlay/bin/inlay-hook"}`), notSeen},
		{"the name alone", hooks(gateHook, `{"path":"/opt/inlay/bin/inlay-hook","args":["program"]}`), notSeen},
		{"at another stage", `{"hooks":{"createRuntime":[` + gateHook + `],"createContainer":[` + program("/opt/inlay/bin/inlay-hook") + `]}}`, notSeen},
		{"words of a pod", `{"process":{"env":["hooks=createRuntime"],"args":["inlay-hook","program"]},"annotations":{"hooks.createRuntime":"inlay-hook program"}}`, notSeen},
		{"malformed", `{"hooks":{"createRuntime":{}}}`, "gate: …config.json: json: cannot unmarshal object"},
		{"cut off", `{"hooks":{"createRuntime":[`, "gate: …config.json: unexpected end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want(t, call(t, container{raw: tt.config}.state(t), "gate"), tt.wantErr)
		})
	}
}

// A folder may have two names for one container: a link on the way, a host tree made for tests. A copy is another folder.
func TestTheGateKnowsItsFolderByAnotherName(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(dir+"/bin", 0o755), os.Mkdir(dir+"/copy", 0o755), os.Symlink("bin", dir+"/link"),
		os.WriteFile(dir+"/bin/inlay-hook", nil, 0o755), os.WriteFile(dir+"/copy/inlay-hook", nil, 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for folder, wantErr := range map[string]string{"bin": "", "link": "", "copy": "is not in the gate's own folder", "nothing": "is not in the gate's own folder"} {
		config := `{"hooks":{"createRuntime":[{"path":"` + dir + `/bin/inlay-hook","args":["inlay-hook","gate"]},` +
			`{"path":"` + dir + "/" + folder + `/inlay-hook","args":["inlay-hook","program"]}]}}`
		want(t, call(t, container{raw: config}.state(t), "gate"), wantErr)
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

// Inlay gives the CDI devices of an earlier plugin's answers to nobody: not even inlay-nri's word opens them.
func TestTheGateOfAnEarlierPluginsDeviceIsAlwaysShut(t *testing.T) {
	const bin = "/opt/inlay/bin/inlay-hook"
	for name, config := range map[string]string{
		"as it restarts":    `{"hooks":{"createRuntime":[{"path":"` + bin + `","args":["inlay-hook","gate","--earlier","dfl-fme.0"]}]}}`,
		"with both":         `{"hooks":{"createRuntime":[{"path":"` + bin + `","args":["inlay-hook","gate"]},{"path":"` + bin + `","args":["inlay-hook","program"]}]}}`,
		"whatever is in it": `{"hooks":`,
	} {
		t.Run(name, func(t *testing.T) {
			got := call(t, container{raw: config}.state(t), "gate", "--earlier", "dfl-fme.0")
			if got != "inlay-hook: gate: device dfl-fme.0: allocated by an earlier plugin: delete the pod" {
				t.Error(got)
			}
		})
	}
	want(t, call(t, "", "gate", "--earlier", "dfl-fme.0"), "allocated by an earlier plugin") // no state either
	want(t, call(t, container{raw: "{}"}.state(t), "gate", "--earlier", ""), "inlay-nri did not see this container")
}
