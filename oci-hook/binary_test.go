package main

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestTheBinaryIsSmallAndMadeOfTheStandardLibrary(t *testing.T) {
	hook := programs.path(t, "inlay-hook")
	st, err := os.Stat(hook)
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() > 4<<20 {
		t.Errorf("%d bytes", st.Size())
	}
	info, err := buildinfo.ReadFile(hook)
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range info.Deps {
		if dep.Path != "golang.org/x/sys" {
			t.Errorf("depends on %s", dep.Path)
		}
	}
}

// A runtime starts hooks with an empty environment, and whatever it hands over as standard input.
func TestAsARuntimeStartsIt(t *testing.T) {
	n := newNode(t, "dfl").put(nlb0)
	for _, tt := range []struct {
		name, stdin string
		args        []string
		wantErr     string
	}{
		{"program", "", []string{"program", "--pair", pairArg("dfl-port.0", card0, nlb0)}, ""},
		{"program that fails", "", []string{"program", "--pair", pairArg("dfl-port.0", card0, nlb3)}, "inlay-hook: port dfl-port.0: function " + nlb3},
		{"stand-alone", container{env: asks(nlb0), devices: []device{port(0)}}.state(t), nil, ""},
		{"stand-alone without state", "", nil, "inlay-hook: OCI state on standard input: empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(programs.path(t, "inlay-hook"), append(tt.args, "--host-root", n.root)...)
			cmd.Env = []string{}
			cmd.Dir = "/"
			cmd.Stdin = strings.NewReader(tt.stdin)
			out, err := cmd.CombinedOutput()
			if tt.wantErr == "" {
				if err != nil || len(out) > 0 {
					t.Errorf("%v: %q", err, out)
				}
				return
			}
			if cmd.ProcessState.ExitCode() != 1 || strings.Count(string(out), "\n") != 1 || !strings.HasSuffix(string(out), "\n") {
				t.Errorf("exit code %d, output %q", cmd.ProcessState.ExitCode(), out)
			}
			want(t, string(out), tt.wantErr)
		})
	}
}
