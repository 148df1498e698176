package apiserver

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Kubectl runs kubectl with one kubeconfig.
type Kubectl struct {
	path, kubeconfig, home string
}

// NewKubectl runs a kubectl program with a kubeconfig, for another cluster than this package's. Its caches go into home.
func NewKubectl(path, kubeconfig, home string) Kubectl {
	return Kubectl{path: path, kubeconfig: kubeconfig, home: home}
}

// Result is what a call of kubectl gave.
type Result struct {
	Stdout, Stderr string
	// Err is nil if kubectl ended with 0; else it holds Stderr.
	Err error
}

// kubectlLimit bounds one call.
const kubectlLimit = 60 * time.Second

// Admin runs kubectl as an administrator.
func (c *Cluster) Admin() Kubectl { return c.As(c.Kubeconfig()) }

// As runs kubectl with a kubeconfig, e.g. that of ServiceAccount.
func (c *Cluster) As(kubeconfig string) Kubectl {
	return Kubectl{path: c.binaries["kubectl"], kubeconfig: kubeconfig, home: c.Dir}
}

// Kubectl runs kubectl as an administrator and returns what it prints. Its failure is the test's.
func (c *Cluster) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	return c.Admin().Run(t, args...)
}

// Apply applies manifests as an administrator.
func (c *Cluster) Apply(t testing.TB, yaml string, args ...string) {
	t.Helper()
	if r := c.Admin().Try(t.Context(), yaml, append([]string{"apply", "-f", "-"}, args...)...); r.Err != nil {
		t.Fatal(r.Err)
	}
}

// Run runs kubectl and returns what it prints on stdout. Its failure is the test's.
func (k Kubectl) Run(t testing.TB, args ...string) string {
	t.Helper()
	r := k.Try(t.Context(), "", args...)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return r.Stdout
}

// Try runs kubectl with stdin; it may fail.
func (k Kubectl) Try(ctx context.Context, stdin string, args ...string) Result {
	ctx, cancel := context.WithTimeout(ctx, kubectlLimit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, k.path, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + k.home, "KUBECONFIG=" + k.kubeconfig}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	r := Result{Stdout: stdout.String(), Stderr: stderr.String()}
	if err != nil {
		r.Err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(r.Stderr))
	}
	return r
}

// Kubeconfig is the path of an administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return c.adminConfig() }

func (c *Cluster) adminConfig() string { return c.path("admin.kubeconfig") }

// Bound names the object that a token is bound to, e.g. the Pod or the Node that it speaks for; the zero value is none.
type Bound struct{ Kind, Name, UID string }

// ServiceAccount returns the path of a kubeconfig with a token of the ServiceAccount, which must exist.
func (c *Cluster) ServiceAccount(t testing.TB, namespace, name string, b Bound) string {
	t.Helper()
	file, err := c.NewServiceAccountConfig(t.Context(), namespace, name, b)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// NewServiceAccountConfig is ServiceAccount without a test.
func (c *Cluster) NewServiceAccountConfig(ctx context.Context, namespace, name string, b Bound) (string, error) {
	args := []string{"create", "token", name, "-n", namespace, "--duration=24h"}
	if b.Kind != "" {
		args = append(args, "--bound-object-kind="+b.Kind, "--bound-object-name="+b.Name)
		if b.UID != "" {
			args = append(args, "--bound-object-uid="+b.UID)
		}
	}
	r := c.Admin().Try(ctx, "", args...)
	if r.Err != nil {
		return "", r.Err
	}
	file := c.path(fmt.Sprintf("%s-%s-%d.kubeconfig", namespace, name, c.count.Add(1)))
	return file, c.writeKubeconfig(file, strings.TrimSpace(r.Stdout))
}

func (c *Cluster) writeKubeconfig(file, token string) error {
	return os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: test, user: {token: %q}}]
`, c.Server(), filepath.Base(c.pki.caFile()), token), 0o600)
}

// Namespace makes a namespace that no other test uses. Its default ServiceAccount, without which no pod is admitted,
// is there when Namespace returns.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test-%d", c.count.Add(1))
	if err := c.MakeNamespace(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	return name
}

// MakeNamespace is Namespace with a chosen name and without a test. What is there already is no error.
func (c *Cluster) MakeNamespace(ctx context.Context, name string) error {
	// One apply: it is idempotent, also beside a controller that makes the ServiceAccount.
	r := c.Admin().Try(ctx, fmt.Sprintf(`{"apiVersion":"v1","kind":"List","items":[
		{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%[1]q}},
		{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"namespace":%[1]q,"name":"default"}}]}`, name),
		"apply", "--server-side", "--force-conflicts", "--validate=ignore", "-f", "-")
	if r.Err != nil {
		return fmt.Errorf("namespace %s: %w", name, r.Err)
	}
	return nil
}
