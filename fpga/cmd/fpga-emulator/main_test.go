package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga/emulator"
)

func TestMain(m *testing.M) {
	emulator.Shim()
	os.Exit(m.Run())
}

// invoke runs one command line in this process.
func invoke(args ...string) (out string, code int, err error) {
	var b bytes.Buffer
	err = execute(&code, &b, args)
	return b.String(), code, err
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		name string
		args []string
		out  string // part of the output
		err  string // part of the error
	}{
		{"help teaches", []string{"--help"}, "fpga-emulator tree --card dfl:ports=2", ""},
		{"help of tree", []string{"tree", "--help"}, "numa", ""},
		{"no command", []string{"--host-root", dir}, "", `want "-- COMMAND"`},
		{"command without dashes", []string{"--host-root", dir, "true"}, "", `want "-- COMMAND"`},
		{"no host root", []string{"--", "true"}, "", "host-root"},
		{"host root without sys", []string{"--host-root", dir, "--", "true"}, "", "sys"},
		{"bad errno", []string{"--host-root", dir, "--pr-errno", "EWHAT", "--", "true"}, "", "--pr-errno"},
		{"bad card", []string{"tree", "--card", "gpu", dir}, "", "want dfl or opae"},
		{"tree without DIR", []string{"tree", "--card", "dfl"}, "", "want one DIR"},
		{"tree", []string{"tree", "--card", "dfl:ports=2", "--plain-nodes", filepath.Join(dir, "node")}, "", ""},
		{"tree twice", []string{"tree", "--card", "dfl", filepath.Join(dir, "node")}, "", "cards already"},
		{"txtar", []string{"tree", "--card", "dfl", "--txtar"}, "c 243:0", ""},
		{"bad loads", []string{"--host-root", filepath.Join(dir, "node"), "--pr-loads", "x", "--", "true"}, "", "32 hex digits"},
		{"gbs without afu", []string{"gbs", filepath.Join(dir, "x.gbs")}, "", "afu"},
		{"gbs", []string{"gbs", "--afu", emulator.DefaultAFU, filepath.Join(dir, "x.gbs")}, "", ""},
		{"aocx prints its name", []string{"aocx", "--afu", emulator.DefaultAFU, "--hash", strings.Repeat("AB", 20), filepath.Join(dir, "x.aocx")}, strings.Repeat("ab", 20) + "\n", ""},
		{"aocx with a short hash", []string{"aocx", "--afu", emulator.DefaultAFU, "--hash", "abcdef01", filepath.Join(dir, "y.aocx")}, "", `hash "abcdef01": want 40 hex digits`},
		{"aocx with a path", []string{"aocx", "--afu", emulator.DefaultAFU, "--hash", "../../x", filepath.Join(dir, "y.aocx")}, "", "want 40 hex digits"},
		{"gbs too large", []string{"gbs", "--afu", emulator.DefaultAFU, "--size", "99999999999999", filepath.Join(dir, "y.gbs")}, "", "want 1 to 1073741824"},
		{"aocx too large", []string{"aocx", "--afu", emulator.DefaultAFU, "--size", "1073741825", filepath.Join(dir, "y.aocx")}, "", "want 1 to 1073741824"},
		{"negative delay", []string{"--host-root", filepath.Join(dir, "node"), "--pr-delay", "-1s", "--", "true"}, "", "--pr-delay -1s is negative"},
		{"no such errno", []string{"--host-root", filepath.Join(dir, "node"), "--pr-errno", "999", "--", "true"}, "", `--pr-errno: errno "999"`},
		{"no bitstreams", []string{"--host-root", filepath.Join(dir, "node"), "--bitstreams", dir + "/none", "--", "true"}, "", "--bitstreams: stat " + dir + "/none: no such file"},
		{"bitstreams in a file", []string{"--host-root", filepath.Join(dir, "node"), "--bitstreams", filepath.Join(dir, "x.gbs"), "--", "true"}, "", "x.gbs is not a folder"},
		{"a key twice", []string{"tree", "--card", "dfl:ports=2,ports=3", "--txtar"}, "", "ports is given twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, _, err := invoke(tc.args...)
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
			if !strings.Contains(out, tc.out) {
				t.Errorf("output lacks %q:\n%s", tc.out, out)
			}
		})
	}
	for _, name := range []string{"x.gbs", "x.aocx", "node/dev/dfl-port.1"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// full is /dev/full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, unix.ENOSPC }

func TestWhatCannotBeWrittenIsAnError(t *testing.T) {
	for _, args := range [][]string{
		{"--help"},
		{"--version"},
		{"tree", "--help"},
		{"tree", "--card", "dfl", "--txtar"},
		{"aocx", "--afu", emulator.DefaultAFU, filepath.Join(t.TempDir(), "x.aocx")},
	} {
		code := 0
		if err := execute(&code, full{}, args); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestExitCodeIsTheCommands(t *testing.T) {
	dir := t.TempDir()
	if err := emulator.WriteTree(dir, []emulator.Card{{Driver: emulator.DFL, Ports: 1}}, emulator.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]int{"exit 7": 7, "kill -9 $$": 137, "true": 0} {
		_, code, err := invoke("--host-root", dir, "--", "sh", "-c", script)
		if err != nil {
			t.Skipf("SKIPPED: seccomp user notification is not permitted here: %v", err)
		}
		if code != want {
			t.Errorf("%s: exit code %d, want %d", script, code, want)
		}
	}
	if _, code, err := invoke("--host-root", dir, "--", "/nonexistent/command"); err == nil || code != 127 {
		t.Errorf("a command that is not there: exit code %d, %v", code, err)
	}
}
