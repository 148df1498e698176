package critest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/integration"
)

// Tools are what runs need.
type Tools struct {
	// Node are those of a node with the runtime, Inlay's programs among them.
	Node integration.Tools
	// Critest is the program.
	Critest string
	// Registry is the address of the registry that serves critest's images.
	Registry string
}

// Run is one run of critest.
type Run struct {
	Runtime integration.RuntimeName
	// Inlay connects inlay-nri and starts what belongs to it: the device plugin, the
	// gate, a policy, a card.
	Inlay bool
	// Focus chooses specs, Skip leaves some out: regular expressions over their whole
	// names; none chooses all.
	Focus, Skip []string
	// Seed decides the order of the specs.
	Seed int64
	// Attempts is how often a spec may be tried until it passes; 0 means once.
	Attempts int
	// Started is called before critest is; nil is nothing.
	Started func(*integration.Node)
}

// limit ends a run of critest that hangs.
const limit = 25 * time.Minute

// Do starts a node for the run, runs critest on it and returns its report and the
// runtime's name and version. Specs that fail are no failure of the test.
func (r Run) Do(t testing.TB, tools Tools) (report Report, version string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit+5*time.Minute)
	defer cancel()
	n := integration.StartNode(t, tools.Node, integration.NodeOptions{Runtime: r.Runtime})
	if err := errors.Join(putNetwork(n), r.putRegistry(n, tools.Registry), putCard(ctx, n)); err != nil {
		t.Fatal(err)
	}
	if err := n.Runtime.Restart(ctx); err != nil { // it reads its configuration at its start
		t.Fatal(err)
	}
	name, number, err := n.Runtime.CRI().Version(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var inlay *integration.Inlay
	if r.Inlay {
		inlay = n.StartInlay(integration.InlayOptions{})
	}
	if r.Started != nil {
		r.Started(n)
	}
	report, err = r.critest(ctx, n, tools.Critest)
	if err != nil {
		t.Fatal(err)
	}
	if inlay != nil { // a plugin that the runtime has dropped changes nothing
		if err := inlay.NRIConnected(); err != nil {
			t.Errorf("after critest: %v", err)
		}
	}
	return report, name + " " + number
}

// critest runs the program in the runtime's mount namespace: its specs make mounts that
// the runtime's containers are to see.
func (r Run) critest(ctx context.Context, n *integration.Node, program string) (Report, error) {
	tmp, result := filepath.Join(n.Dir, "t"), filepath.Join(n.Dir, "critest.json")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return Report{}, err
	}
	log, err := os.Create(filepath.Join(n.Dir, "critest.log"))
	if err != nil {
		return Report{}, err
	}
	defer log.Close()
	args := []string{
		"--target", strconv.Itoa(n.Runtime.Process().Pid()), "--mount",
		"env", "-i", "--chdir=/", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + tmp, program,
		"-runtime-endpoint", "unix://" + socket(n, r.Runtime),
		"-ginkgo.json-report", result, "-ginkgo.no-color", "-ginkgo.timeout", limit.String(),
		"-ginkgo.seed", strconv.FormatInt(r.Seed, 10), "-ginkgo.flake-attempts", strconv.Itoa(max(r.Attempts, 1)),
	}
	for _, f := range r.Focus {
		args = append(args, "-ginkgo.focus", f)
	}
	for _, s := range r.Skip {
		args = append(args, "-ginkgo.skip", s)
	}
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Run()
	data, readErr := os.ReadFile(result)
	if readErr != nil {
		text, _ := os.ReadFile(log.Name())
		return Report{}, fmt.Errorf("critest wrote no report: %w\n%s", errors.Join(err, readErr), text[max(0, len(text)-4096):])
	}
	return ParseReport(data) // it says better than the exit code what failed
}

// daemonDir is where a node keeps its runtime's own files.
func daemonDir(n *integration.Node) string { return filepath.Join(n.Dir, "c") }

func socket(n *integration.Node, name integration.RuntimeName) string {
	if name == integration.Containerd {
		return filepath.Join(daemonDir(n), "c.sock")
	}
	return filepath.Join(daemonDir(n), "o.sock")
}

// cniPlugins is where Debian's containernetworking-plugins puts them.
const cniPlugins = "/usr/lib/cni"

// network is a bridge of our own network namespace.
const network = `{
  "cniVersion": "1.0.0",
  "name": "critest",
  "plugins": [
    {
      "type": "bridge", "bridge": "critest0", "isGateway": true, "hairpinMode": true,
      "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.123.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

// putNetwork gives pods a network.
func putNetwork(n *integration.Node) error {
	bin, conf := filepath.Join(daemonDir(n), "cni/bin"), filepath.Join(daemonDir(n), "cni/net.d")
	if err := errors.Join(os.MkdirAll(bin, 0o755), os.MkdirAll(conf, 0o755)); err != nil {
		return err
	}
	for _, plugin := range []string{"bridge", "host-local", "loopback", "portmap"} {
		if err := os.Symlink(filepath.Join(cniPlugins, plugin), filepath.Join(bin, plugin)); err != nil {
			return err
		}
	}
	text := fmt.Sprintf(network, filepath.Join(daemonDir(n), "ipam"))
	return os.WriteFile(filepath.Join(conf, "10-critest.conflist"), []byte(text), 0o644)
}

// registries are those that critest's images are said to come from.
var registries = [...]string{"registry.k8s.io", "gcr.io"}

// putRegistry has the runtime ask addr instead of these registries.
func (r Run) putRegistry(n *integration.Node, addr string) error {
	if r.Runtime != integration.Containerd {
		var text strings.Builder
		for _, name := range registries {
			fmt.Fprintf(&text, "[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n\n", name, addr)
		}
		err := os.WriteFile(filepath.Join(daemonDir(n), "registries.conf"), []byte(text.String()), 0o644)
		return errors.Join(err, wrapRunc(n))
	}
	hosts := filepath.Join(daemonDir(n), "hosts")
	for _, name := range registries {
		text := fmt.Sprintf("server = \"http://%s\"\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", addr, addr)
		if err := errors.Join(
			os.MkdirAll(filepath.Join(hosts, name), 0o755),
			os.WriteFile(filepath.Join(hosts, name, "hosts.toml"), []byte(text), 0o644),
		); err != nil {
			return err
		}
	}
	return edit(filepath.Join(daemonDir(n), "containerd.toml"), func(text string) (string, error) {
		return text + fmt.Sprintf("\n[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = %q\n", hosts), nil
	})
}

// wrapRunc has CRI-O start runc through a script that asks for less where root lacks
// CAP_SYS_RESOURCE: a pod's infra container, which critest's pods have, would get an
// oom_score_adj of -998, and a privileged container that capability. Containerd does the
// same by itself, or by restrict_oom_score_adj.
func wrapRunc(n *integration.Node) error {
	runc, wrapper := n.Tools.Path("runc"), filepath.Join(daemonDir(n), "runc-wrapper")
	script := `#!/bin/sh
last=
for a; do
  case $last in
  --bundle) sed -i 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj":0/; s/"CAP_SYS_RESOURCE", *//g' "$a/config.json" ;;
  --process) sed -i 's/"CAP_SYS_RESOURCE", *//g' "$a" ;;
  esac
  last=$a
done
exec ` + runc + ` "$@"
`
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		return err
	}
	return edit(filepath.Join(daemonDir(n), "crio.conf"), func(text string) (string, error) {
		line := fmt.Sprintf("runtime_path = %q", runc)
		if !strings.Contains(text, line) {
			return "", fmt.Errorf("crio.conf does not have %s", line)
		}
		return strings.Replace(text, line, fmt.Sprintf("runtime_path = %q", wrapper), 1), nil
	})
}

func edit(file string, change func(string) (string, error)) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err := change(string(data))
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// putCard puts an FPGA card into the host's tree, so that inlay-deviceplugin has
// something to offer. Nothing runs behind the emulator: no spec opens the card, and the
// emulator's seccomp filter would be seen in the containers.
func putCard(ctx context.Context, n *integration.Node) error {
	tree := filepath.Join(n.Dir, "tree")
	if out, err := exec.CommandContext(ctx, n.Tools.Path("fpga-emulator"), "tree", "--card", "dfl:ports=2", tree).CombinedOutput(); err != nil {
		return fmt.Errorf("fpga-emulator tree: %w: %s", err, out)
	}
	for _, dir := range []string{"dev", "sys"} {
		if err := os.Rename(filepath.Join(tree, dir), filepath.Join(n.HostRoot, dir)); err != nil {
			return err
		}
	}
	return os.RemoveAll(tree)
}
