package gpu

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the doctor says of a host tree lies beside the golden trees. This is what it says of services for health.
func TestTheDoctorLooksAtTheSocketOfASource(t *testing.T) {
	dir, err := os.MkdirTemp("", "gpu")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	live, file := filepath.Join(dir, "live.sock"), filepath.Join(dir, "file")
	ln, err := net.Listen("unix", live)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for flags, want := range map[string]string{
		"": "",
		"--gpu-health-management --gpu-levelzero-socket=" + live:          "",
		"--gpu-health-management --gpu-levelzero-socket=" + file:          "this is no socket",
		"--gpu-health-management --gpu-levelzero-socket=" + dir + "/none": "no such file",
		"--gpu-xpumd-endpoint=" + live:                                    "",
		"--gpu-xpumd-endpoint=" + dir + "/none":                           "no such file",
		"--gpu-wsl --gpu-levelzero-socket=" + live:                        "no WSL guest",
	} {
		root, _ := golden(t, "links-all")
		var said []string
		for _, f := range family(t, root, parse(t, strings.Fields(flags)...)).Diagnose(t.Context()) {
			said = append(said, f.Reason)
			if f.Remedy == "" || f.Path == "" {
				t.Errorf("%s: %+v", flags, f)
			}
		}
		if got := strings.Join(said, "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: the doctor says %q, want %q", flags, got, want)
		}
	}
}

// A service that nobody needs is not missed.
func TestWithoutACardNoSourceIsMissed(t *testing.T) {
	if got := family(t, empty(t), parse(t, "--gpu-health-management")).Diagnose(t.Context()); len(got) > 0 {
		t.Errorf("the doctor says %v", got)
	}
}
