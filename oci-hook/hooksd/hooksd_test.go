package hooksd_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/common/pkg/hooks"

	"github.com/inlay-project/inlay/oci-hook/hooksd"
)

// installation gives one into fresh folders whose program is a small file.
func installation(t *testing.T) hooksd.Installation {
	t.Helper()
	dir := t.TempDir()
	self := filepath.Join(dir, "self")
	if err := os.WriteFile(self, []byte("#!/bin/true\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return hooksd.Installation{
		HooksDir: filepath.Join(dir, "etc", "hooks.d"),
		BinDir:   filepath.Join(dir, "opt", "bin"),
		Self:     self,
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// names lists everything in the folders, hidden files too.
func names(t *testing.T, dirs ...string) []string {
	t.Helper()
	all := []string{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, e.Name())
		}
	}
	return all
}

func TestRuntimesAddTheHookToContainersWithTheAnnotationAlone(t *testing.T) {
	in := installation(t)
	in.Args = []string{"--bitstreams", "/srv/intel.com/fpga"}
	if err := in.Install(); err != nil {
		t.Fatal(err)
	}
	manager, err := hooks.New(context.Background(), []string{in.HooksDir}, nil)
	if err != nil {
		t.Fatalf("the runtimes' own library refuses the folder: %v", err)
	}
	timeout := 60
	want := []rspec.Hook{{
		Path:    in.BinaryPath(),
		Args:    []string{"inlay-hook", "--bitstreams", "/srv/intel.com/fpga"},
		Timeout: &timeout,
	}}
	for _, tt := range []struct {
		name        string
		annotations map[string]string
		want        []rspec.Hook
	}{
		{"the mode of the reference", map[string]string{"com.intel.fpga.mode": "fpga.intel.com/region"}, want},
		{"another value", map[string]string{"com.intel.fpga.mode": "off"}, want},
		{"an empty value", map[string]string{"com.intel.fpga.mode": ""}, want},
		{"several lines", map[string]string{"com.intel.fpga.mode": "\n\nfpga.intel.com/region\n"}, want},
		{"among others", map[string]string{"a": "b", "com.intel.fpga.mode": "x", "z": "y"}, want},
		{"no annotation", nil, nil},
		{"a longer key", map[string]string{"com.intel.fpga.mode2": "fpga.intel.com/region"}, nil},
		{"a key with a prefix", map[string]string{"x.com.intel.fpga.mode": "fpga.intel.com/region"}, nil},
		{"dots are dots", map[string]string{"comXintelXfpgaXmode": "fpga.intel.com/region"}, nil},
		{"the value as a key", map[string]string{"fpga.intel.com/region": "com.intel.fpga.mode"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := &rspec.Spec{Process: &rspec.Process{Args: []string{"sh"}}}
			left, err := manager.Hooks(spec, tt.annotations, true)
			if err != nil || len(left) != 0 {
				t.Fatalf("Hooks() = %v, %v", left, err)
			}
			var got []rspec.Hook
			if spec.Hooks != nil {
				got = spec.Hooks.CreateRuntime
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("createRuntime hooks (-want +got):\n%s", diff)
			}
		})
	}
}

// The trap that the order exists for: a JSON without its program is dropped without an error.
func TestWithoutTheProgramTheRuntimesDropTheHook(t *testing.T) {
	in := installation(t)
	if err := in.Install(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(in.BinaryPath()); err != nil {
		t.Fatal(err)
	}
	manager, err := hooks.New(context.Background(), []string{in.HooksDir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec := &rspec.Spec{Process: &rspec.Process{Args: []string{"sh"}}}
	if _, err := manager.Hooks(spec, map[string]string{hooksd.AnnotationKey: "x"}, false); err != nil || spec.Hooks != nil {
		t.Errorf("hooks %v, error %v: the order of Install would no longer matter", spec.Hooks, err)
	}
}

func TestTheJSONNamesTheProgramAsTheHostSeesIt(t *testing.T) {
	in := installation(t)
	in.HostPath = func(path string) (string, error) {
		if path != in.BinaryPath() {
			t.Errorf("HostPath(%q), want %q", path, in.BinaryPath())
		}
		return "/opt/inlay/bin/inlay-hook", nil
	}
	if err := in.Install(); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(read(t, in.ConfigPath())), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"version": "1.0.0",
		"hook":    map[string]any{"path": "/opt/inlay/bin/inlay-hook", "args": []any{"inlay-hook"}, "timeout": 60.0},
		"when":    map[string]any{"annotations": map[string]any{`^com\.intel\.fpga\.mode$`: ".*"}},
		"stages":  []any{"createRuntime"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestAFolderOutsideTheHostIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	in := installation(t)
	outside := errors.New("outside the host root")
	in.HostPath = func(string) (string, error) { return "", outside }
	if err := in.Install(); !errors.Is(err, outside) {
		t.Errorf("Install() = %v", err)
	}
	if _, err := os.Stat(in.BinDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s was made", in.BinDir)
	}
}

func TestASecondInstallChangesNothing(t *testing.T) {
	in := installation(t)
	if err := in.Install(); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, path := range []string{in.BinaryPath(), in.ConfigPath()} {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Install(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{in.BinaryPath(), in.ConfigPath()} {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !st.ModTime().Equal(long) {
			t.Errorf("%s was written again", path)
		}
	}
}

func TestInstallRepairsWhatIsNotAsItShouldBe(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(in hooksd.Installation) error
	}{
		{"program of another version", func(in hooksd.Installation) error {
			return os.WriteFile(in.BinaryPath(), []byte("#!/bin/false\n"), 0o755)
		}},
		{"program of the same length", func(in hooksd.Installation) error {
			return os.WriteFile(in.BinaryPath(), []byte("#!/bin/tru_\n"), 0o755)
		}},
		{"program not executable", func(in hooksd.Installation) error { return os.Chmod(in.BinaryPath(), 0o600) }},
		{"program gone", func(in hooksd.Installation) error { return os.Remove(in.BinaryPath()) }},
		{"JSON cut short", func(in hooksd.Installation) error { return os.Truncate(in.ConfigPath(), 20) }},
		{"leftovers of a killed installer", func(in hooksd.Installation) error {
			return errors.Join(
				os.WriteFile(filepath.Join(in.BinDir, ".inlay-hook.123456"), []byte("#!/b"), 0o600),
				os.WriteFile(filepath.Join(in.HooksDir, ".inlay-fpga.json.123456"), []byte("{"), 0o600))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := installation(t)
			if err := in.Install(); err != nil {
				t.Fatal(err)
			}
			config := read(t, in.ConfigPath())
			if err := tt.spoil(in); err != nil {
				t.Fatal(err)
			}
			if err := in.Install(); err != nil {
				t.Fatal(err)
			}
			if got := read(t, in.BinaryPath()); got != read(t, in.Self) {
				t.Errorf("program is %q", got)
			}
			if st, err := os.Stat(in.BinaryPath()); err != nil || st.Mode().Perm() != 0o755 {
				t.Errorf("program's mode: %v, %v", st.Mode(), err)
			}
			if got := read(t, in.ConfigPath()); got != config {
				t.Errorf("JSON is %q", got)
			}
			if diff := cmp.Diff([]string{"inlay-hook", "inlay-fpga.json"}, names(t, in.BinDir, in.HooksDir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUninstallLeavesOthersFilesAndMayBeRepeated(t *testing.T) {
	in := installation(t)
	if err := in.Uninstall(); err != nil {
		t.Errorf("Uninstall of nothing: %v", err)
	}
	if err := in.Install(); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(in.HooksDir, "other.json")
	if err := os.WriteFile(other, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := in.Uninstall(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"other.json"}, names(t, in.BinDir, in.HooksDir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, in *hooksd.Installation) (file string)
	}{
		{"no program to copy", func(_ *testing.T, in *hooksd.Installation) string {
			in.Self += "-gone"
			return in.Self
		}},
		{"the program is a folder", func(t *testing.T, in *hooksd.Installation) string {
			in.Self = t.TempDir()
			return in.Self
		}},
		{"a folder in the place of the program", func(t *testing.T, in *hooksd.Installation) string {
			mkdir(t, in.BinaryPath())
			return in.BinaryPath()
		}},
		{"a folder in the place of the JSON", func(t *testing.T, in *hooksd.Installation) string {
			mkdir(t, in.ConfigPath())
			return in.ConfigPath()
		}},
		{"a file in the place of a folder", func(t *testing.T, in *hooksd.Installation) string {
			mkdir(t, filepath.Dir(in.HooksDir))
			if err := os.WriteFile(in.HooksDir, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			return in.HooksDir
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := installation(t)
			file := tt.spoil(t, &in)
			err := in.Install()
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line that names %s", err, file)
			}
		})
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "not-empty"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestConfigRefusesWhatRuntimesWouldDrop(t *testing.T) {
	for _, tt := range []struct {
		path    string
		timeout time.Duration
	}{
		{"inlay-hook", time.Minute},
		{"", time.Minute},
		{"/opt/inlay/bin/inlay-hook", 0},
		{"/opt/inlay/bin/inlay-hook", time.Millisecond},
	} {
		if b, err := hooksd.Config(tt.path, tt.timeout); err == nil {
			t.Errorf("Config(%q, %s) = %s", tt.path, tt.timeout, b)
		}
	}
}
