package checks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/inlay-project/inlay/internal/cli"
)

// programs are where the images have their programs, and the folders that they are built from: deploy/images/recipes.go.
var programs = map[string]string{
	"/usr/bin/inlay-deviceplugin": "deviceplugins",
	"/usr/bin/inlay-nri":          "nri-plugin",
	"/usr/bin/inlay-hook":         "oci-hook",
	"/usr/bin/inlay-webhook":      "webhook",
}

// built holds the programs of this tree, built when a test first asks.
var built struct {
	sync.Mutex
	dir string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// program builds a program and gives its path.
func program(t *testing.T, name string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	folder := programs[name]
	if folder == "" {
		t.Fatalf("%q is in no image", name)
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "inlay-checks")
		if err != nil {
			t.Fatal(err)
		}
		built.dir = dir
	}
	file := filepath.Join(built.dir, filepath.Base(name))
	if _, err := os.Stat(file); err == nil {
		return file
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "grpcnotrace", "-o", file, "./"+folder)
	cmd.Dir = tree
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", folder, err, out)
	}
	return file
}

// entry is what runs in a container: the image's own program where the container names none.
func entry(c corev1.Container) string {
	if len(c.Command) > 0 {
		return c.Command[0]
	}
	return "/usr/bin/inlay-webhook" // the one image with an entrypoint
}

// ours tells whether a container runs one of our images.
func ours(c corev1.Container) bool { return strings.Contains(c.Image, "inlay-") }

func run(t *testing.T, file string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), file, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// understood asks a program whether it knows the arguments of a container: with --help behind them it parses all.
func understood(t *testing.T, c corev1.Container) error {
	t.Helper()
	args := append(slices.Clone(c.Args), "--help")
	out, err := run(t, program(t, entry(c)), args...)
	if err != nil {
		return fmt.Errorf("%q: %w: %s", c.Args, err, out)
	}
	for _, e := range c.Env {
		if !strings.HasPrefix(e.Name, cli.EnvPrefix) {
			continue
		}
		flag := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(e.Name, cli.EnvPrefix), "_", "-"))
		if !strings.Contains(out, "--"+flag+" ") {
			return fmt.Errorf("%s: there is no flag --%s", e.Name, flag)
		}
	}
	return nil
}

func TestEveryContainerIsAProgramThatKnowsItsArguments(t *testing.T) {
	asked := map[string]error{} // most overlays have the same
	for _, p := range pods(t) {
		for _, c := range p.containers() {
			if !ours(c) {
				if !strings.HasPrefix(p.source, "demo/") {
					t.Errorf("%s: %s: image %s is not ours", p.source, p.owner, c.Image)
				}
				continue
			}
			if strings.Contains(c.Image, "inlay-node") && len(c.Command) != 1 {
				t.Errorf("%s: %s: %s names no program; the image has no entrypoint", p.source, p.owner, c.Name)
			}
			if c.ImagePullPolicy != corev1.PullIfNotPresent {
				t.Errorf("%s: %s: %s is pulled %q", p.source, p.owner, c.Name, c.ImagePullPolicy)
			}
			call := fmt.Sprint(entry(c), c.Args, c.Env)
			if _, before := asked[call]; !before {
				asked[call] = understood(t, c)
			}
			if err := asked[call]; err != nil {
				t.Errorf("%s: %s: %s: %v", p.source, p.owner, c.Name, err)
			}
		}
	}
}

func TestAnArgumentThatNoProgramKnowsIsFound(t *testing.T) {
	for _, c := range []corev1.Container{
		{Command: []string{"/usr/bin/inlay-deviceplugin"}, Args: []string{"--fpga-mod=region"}},
		{Command: []string{"/usr/bin/inlay-nri"}, Args: []string{"--hook-timeout=soon"}},
		{Command: []string{"/usr/bin/inlay-hook"}, Args: []string{"install-host", "--hostroot", "/host"}},
		{Args: []string{"serve", "--mode-affinities"}},
		{Command: []string{"/usr/bin/inlay-deviceplugin"}, Env: []corev1.EnvVar{{Name: "INLAY_FPGA_MODES", Value: "region"}}},
	} {
		if err := understood(t, c); err == nil {
			t.Errorf("%s %q %v was understood", entry(c), c.Args, c.Env)
		}
	}
}

// mounted tells whether a path lies in a folder that a container has mounted.
func mounted(c corev1.Container, path string) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return path == m.MountPath || strings.HasPrefix(path, m.MountPath+"/")
	})
}

// A path that an argument names is in a folder that is mounted, or the program would find an empty place.
func TestEveryPathOfAnArgumentIsMounted(t *testing.T) {
	for _, p := range pods(t) {
		for _, c := range p.containers() {
			values := slices.Clone(c.Args)
			for _, e := range c.Env {
				values = append(values, e.Value)
			}
			for _, e := range c.Env {
				if strings.HasPrefix(e.Name, cli.EnvPrefix) && strings.HasPrefix(e.Value, "/") && !mounted(c, e.Value) {
					t.Errorf("%s: %s: %s: %s=%s is mounted nowhere", p.source, p.owner, c.Name, e.Name, e.Value)
				}
			}
			for _, v := range values {
				if _, path, ok := strings.Cut(v, "/host/"); ok && !strings.Contains(v, " ") && !mounted(c, "/host/"+path) {
					// Not opened in there: the store's place on the host, for the hook.
					if strings.HasPrefix(v, "--bitstreams=") && c.Name != "inlay-nri" {
						continue
					}
					t.Errorf("%s: %s: %s: %s is mounted nowhere", p.source, p.owner, c.Name, v)
				}
			}
		}
	}
}

// The containers that end are run: on a host whose folders are those that they mount, and with /host there.
func TestInitContainersDoTheirWorkWithWhatIsMounted(t *testing.T) {
	done := map[string]bool{}
	for _, p := range pods(t) {
		if !strings.HasPrefix(p.owner, "DaemonSet.apps/") {
			continue
		}
		host := t.TempDir()
		for _, c := range p.spec.InitContainers {
			for _, m := range c.VolumeMounts {
				if err := os.MkdirAll(filepath.Join(host, strings.TrimPrefix(m.MountPath, "/host")), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var args []string
			for _, a := range c.Args {
				args = append(args, strings.ReplaceAll(a, "/host", host))
			}
			if out, err := run(t, program(t, entry(c)), args[0:]...); err != nil {
				t.Errorf("%s: %s: %v: %s", p.source, c.Name, err, out)
			}
			done[c.Name] = true
		}
		for _, c := range p.spec.InitContainers {
			want := map[string]string{"install-hook": "opt/inlay/bin/inlay-hook", "install-hooks-d": "opt/inlay/bin/inlay-hook", "install-nri": "opt/nri/plugins/40-inlay"}[c.Name]
			if _, err := os.Stat(filepath.Join(host, want)); err != nil {
				t.Errorf("%s: %s: %v", p.source, c.Name, err)
			}
		}
	}
	if len(done) != 3 {
		t.Errorf("run were only %v", done)
	}
}

// What discover takes, the daemon takes: modes, families and grants are checked by both.
func TestTheSettingsOfTheDevicePluginAreValid(t *testing.T) {
	tried := map[string]bool{}
	discover := func(env []corev1.EnvVar) (string, error) {
		cmd := exec.CommandContext(t.Context(), program(t, "/usr/bin/inlay-deviceplugin"), "discover", "--host-root="+t.TempDir())
		for _, e := range env {
			if e.ValueFrom == nil && e.Name != "INLAY_POLICY" {
				cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
			}
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, p := range pods(t) {
		for _, c := range p.containers() {
			if call := fmt.Sprint(c.Env); c.Name == "inlay-deviceplugin" && !tried[call] {
				tried[call] = true
				if out, err := discover(c.Env); err != nil {
					t.Errorf("%s: %v: %s", p.source, err, out)
				}
			}
		}
	}
	if len(tried) < 3 {
		t.Errorf("tried only %v", tried)
	}
	for name, value := range map[string]string{"INLAY_FPGA_MODE": "regions", "INLAY_FAMILIES": "fpgas", "INLAY_FPGA_GRANT": "all"} {
		if out, err := discover([]corev1.EnvVar{{Name: name, Value: value}}); err == nil {
			t.Errorf("%s=%s was taken: %s", name, value, out)
		}
	}
}

// What stands in values of the chart is what the daemon reads.
func TestTheConfigurationOfTheChartIsValid(t *testing.T) {
	validate := func(text string) (string, error) {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return run(t, program(t, "/usr/bin/inlay-deviceplugin"), "validate", file)
	}
	n := 0
	for source, objects := range everything(t) {
		for _, o := range objects {
			if o.GetKind() != "ConfigMap" {
				continue
			}
			text, _, err := unstructured.NestedString(o.Object, "data", "config.yaml")
			if err != nil {
				t.Fatal(err)
			}
			n++
			if out, err := validate(text); err != nil {
				t.Errorf("%s: %s: %v: %s", source, id(o), err, out)
			}
			if p := podsOf(t, source, objects); len(p) == 0 || !reads(p[0], o.GetName()) {
				t.Errorf("%s: nobody reads %s", source, id(o))
			}
		}
	}
	if n < 2 {
		t.Errorf("only %d configurations", n)
	}
	if out, err := validate("gpu: {sharedDevNum: 2}\n"); err == nil {
		t.Errorf("a file without a version was taken: %s", out)
	}
}

// reads tells whether a pod has a ConfigMap mounted.
func reads(p pod, configMap string) bool {
	return slices.ContainsFunc(p.spec.Volumes, func(v corev1.Volume) bool { return v.ConfigMap != nil && v.ConfigMap.Name == configMap })
}

func TestTheModeOfAnOverlayIsTheOneItIsCalledAfter(t *testing.T) {
	for overlay, want := range map[string]string{
		"af": "af", "region": "region", "regiondevel": "regiondevel", "cert-manager": "region", "crio-hooks": "region", "preinstalled-nri": "region", "all": "region",
	} {
		for _, o := range kustomized(t, "overlays/"+overlay) {
			p, ok := podOf(t, overlay, o)
			if !ok || o.GetKind() != "DaemonSet" {
				continue
			}
			env := map[string]string{}
			for _, e := range p.spec.Containers[0].Env {
				env[e.Name] = e.Value
			}
			nri := len(p.spec.Containers) == 2
			if env["INLAY_FPGA_MODE"] != want {
				t.Errorf("%s: mode %q", overlay, env["INLAY_FPGA_MODE"])
			}
			if (overlay == "crio-hooks") != (env["INLAY_FPGA_GRANT"] == "allocate") {
				t.Errorf("%s: grant %q", overlay, env["INLAY_FPGA_GRANT"])
			}
			if nri != (overlay != "crio-hooks" && overlay != "preinstalled-nri") {
				t.Errorf("%s: containers %d", overlay, len(p.spec.Containers))
			}
			// A variable would beat the families that the file names for a node.
			if (overlay == "all") != (env["INLAY_FAMILIES"] == "") {
				t.Errorf("%s: families %q", overlay, env["INLAY_FAMILIES"])
			}
			// Without a policy file inlay-nri believes what containers ask for.
			if overlay != "crio-hooks" && env["INLAY_POLICY"] == "" {
				t.Errorf("%s: nobody writes the policy file", overlay)
			}
			if nri && !slices.Contains(p.spec.Containers[1].Args, "--policy="+env["INLAY_POLICY"]) {
				t.Errorf("%s: inlay-nri reads another policy file than the one that is written: %q", overlay, p.spec.Containers[1].Args)
			}
		}
	}
}
