package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/inlay-project/inlay/integration/process"
)

// Script runs shell commands as a user would at the top of the source tree, with kubectl in the PATH and the cluster's
// kubeconfig, and returns what they print. The first command that fails ends it.
func (c *Cluster) Script(ctx context.Context, text string) (string, error) {
	cmd := exec.CommandContext(ctx, "bash", "-e", "-o", "pipefail", "-c", text)
	cmd.Dir = c.tools.Tree
	cmd.Env = []string{"HOME=" + c.Dir, "KUBECONFIG=" + c.Kubeconfig(), "PATH=" + filepath.Dir(c.tools.Path("kubectl")) + ":/usr/sbin:/usr/bin:/sbin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w:\n%s\n%s", err, text, out)
	}
	return string(out), err
}

// OnNode runs shell commands as root on the node, in its namespaces and under the emulator, and returns what they print.
// The first command that fails ends it. What it mounts below one of the node's own folders is seen by all of the node's
// programs, and by the test in NodePath only.
func (c *Cluster) OnNode(ctx context.Context, text string) (string, error) {
	log := c.path(fmt.Sprintf("on-node-%d.log", c.count.Add(1)))
	p, err := c.node.Start(ctx, process.Command{
		Name: "sh", Path: "/bin/sh", Args: []string{"-c", "(set -e\n" + text + "\n)\necho \"status $?\""}, Env: environment(), Log: log,
	})
	if err != nil {
		return "", err
	}
	defer os.Remove(log)
	if err := p.Wait(ctx); err != nil {
		return p.Output(), err
	}
	out, status, _ := strings.Cut("\n"+p.Output(), "\nstatus ")
	out = strings.TrimPrefix(out, "\n")
	if status = strings.TrimSpace(status); status != "0" {
		return out, fmt.Errorf("on the node: status %s:\n%s\n%s", status, text, out)
	}
	return out, nil
}

// NodePath is where this process finds a path as the node's programs see it, mounts on the node included. It is good as
// long as the kubelet that runs now.
func (c *Cluster) NodePath(p string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", c.Kubelet.Process().Pid()), p)
}
