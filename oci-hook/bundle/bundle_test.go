package bundle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatARuntimeWritesIsRead(t *testing.T) {
	dir := t.TempDir()
	config := `{"ociVersion":"1.3.0","process":{"env":["A=b","noequals"],"args":["sh"]},"hooks":{"createRuntime":[
{"path":"/x","args":["x","gate"],"timeout":10}]},"linux":{"devices":[{"path":"/dev/p","type":"c","major":243,"minor":0,"uid":0}]},
"annotations":{"k":"v"}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ReadState(strings.NewReader(`{"ociVersion":"1.0.2","id":"c1","status":"creating","pid":42,"bundle":"` + dir + `","annotations":{"a":"b"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(State{ID: "c1", PID: 42, Bundle: dir, Annotations: map[string]string{"a": "b"}}, s); diff != "" {
		t.Error(diff)
	}
	got, err := s.Config()
	if err != nil {
		t.Fatal(err)
	}
	var wanted Config
	wanted.Process.Env = []string{"A=b", "noequals"}
	wanted.Hooks.CreateRuntime = []Hook{{Path: "/x", Args: []string{"x", "gate"}}}
	wanted.Linux.Devices = []Device{{Path: "/dev/p", Type: "c", Major: 243}}
	wanted.Annotations = map[string]string{"k": "v"}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
}

func TestSizeAndKindAreBounded(t *testing.T) {
	if _, err := ReadState(endless{}); err == nil || !strings.Contains(err.Error(), "more than 4194304 bytes") {
		t.Error(err)
	}
	for name, put := range map[string]func(string) error{
		"link to a device":  func(p string) error { return os.Symlink("/dev/zero", p) },
		"folder":            func(p string) error { return os.Mkdir(p, 0o755) },
		"larger than 32 MB": func(p string) error { return errorsOf(os.WriteFile(p, nil, 0o600), os.Truncate(p, maxConfig+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := put(filepath.Join(dir, "config.json")); err != nil {
				t.Fatal(err)
			}
			if _, err := (State{Bundle: dir}).Config(); err == nil || !strings.Contains(err.Error(), "config.json") {
				t.Error(err)
			}
		})
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}
