package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/inlay-project/inlay/integration/apiserver"
	"github.com/inlay-project/inlay/integration/process"
)

const (
	// Namespace is the webhook's, Service the name that deploy/ gives to all its objects.
	Namespace = "inlay-system"
	Service   = "inlay-webhook"
	// NodeNamespace is that of what runs on the nodes.
	NodeNamespace = "inlay-node"
	// ServerName is what the webhook's certificate is for.
	ServerName = Service + "." + Namespace + ".svc"
)

// System is a cluster with the webhook's manifests and replicas.
type System struct {
	*apiserver.Cluster
	Proxy *apiserver.Proxy

	program, kubeconfig string
	args                []string // of the Deployment
	mu                  sync.Mutex
	replicas            []*Replica
	count               int
}

// Replica is one process of the webhook.
type Replica struct {
	*process.Process
	// Address answers the API server, HTTP has metrics and health; both are host:port.
	Address, HTTP string
}

const (
	// readyLimit is how long a replica may take to be ready; build machines are slow.
	readyLimit = 30 * time.Second
	// endGrace is how long a replica may take to end after SIGTERM, its drain included.
	endGrace = 15 * time.Second
)

// Root is the folder of this source tree.
func Root() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(string(bytes.TrimSpace(out))), nil
}

// Build gives the webhook's program: that in the folder bin, e.g. a release to be tested, or if bin is empty compiled
// from this source tree into dir.
func Build(ctx context.Context, bin, dir string) (string, error) {
	if bin != "" {
		program := filepath.Join(bin, "inlay-webhook")
		_, err := os.Stat(program)
		return program, err
	}
	program := filepath.Join(dir, "inlay-webhook")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "github.com/inlay-project/inlay/webhook")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the webhook: %w\n%s", err, out)
	}
	return program, nil
}

// Install applies the manifests of the CRDs and of the webhook. No replica runs yet.
func Install(ctx context.Context, c *apiserver.Cluster, program string) (*System, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	s := &System{Cluster: c, program: program}
	for _, args := range [][]string{
		{"apply", "-k", filepath.Join(root, "deploy", "crds")},
		{"wait", "--for=condition=Established", "--timeout=30s", "crd/acceleratorfunctions.fpga.intel.com", "crd/fpgaregions.fpga.intel.com"},
		{"apply", "-k", filepath.Join(root, "deploy", "webhook")},
	} {
		if r := c.Admin().Try(ctx, "", args...); r.Err != nil {
			return nil, r.Err
		}
	}
	r := c.Admin().Try(ctx, "", "get", "deployment", Service, "-n", Namespace, "-o", "jsonpath={.spec.template.spec.containers[0].args}")
	if r.Err != nil {
		return nil, r.Err
	}
	if err := json.Unmarshal([]byte(r.Stdout), &s.args); err != nil {
		return nil, fmt.Errorf("arguments of the Deployment: %w", err)
	}
	if s.kubeconfig, err = c.NewServiceAccountConfig(ctx, Namespace, Service, apiserver.Bound{}); err != nil {
		return nil, err
	}
	s.Proxy, err = c.NewProxy(ctx, Namespace, Service)
	return s, err
}

// StartReplica starts a replica with the Deployment's arguments and the given flags, and does not wait for it.
func (s *System) StartReplica(flags ...string) (*Replica, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	host := s.Address()
	r := &Replica{Address: host + ":9443", HTTP: host + ":9772"}
	name := fmt.Sprintf("%s-%d", Service, s.count)
	args := append(slices.Clone(s.args), "--kubeconfig", s.kubeconfig, "--listen", r.Address, "--http", r.HTTP)
	var err error
	r.Process, err = process.Start(process.Command{
		Name: name, Path: s.program, Args: append(args, flags...), Log: filepath.Join(s.Dir, name+".log"),
		Env: []string{"POD_NAMESPACE=" + Namespace, "POD_NAME=" + name},
	})
	if err != nil {
		return nil, err
	}
	s.replicas = append(s.replicas, r)
	s.Proxy.Add(apiserver.Backend{Address: r.Address, Ready: "http://" + r.HTTP + "/readyz"})
	return r, nil
}

// StartReplicas starts n replicas and waits until they, beside those that run, are ready.
func (s *System) StartReplicas(ctx context.Context, n int, flags ...string) error {
	for range n {
		if _, err := s.StartReplica(flags...); err != nil {
			return err
		}
	}
	return s.AwaitReady(ctx, len(s.Running()))
}

// AwaitReady waits until n replicas are ready; if one ends meanwhile, its output is in the error.
func (s *System) AwaitReady(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	err := s.Proxy.AwaitReady(ctx, n)
	if err == nil {
		return nil
	}
	errs := []error{err}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.replicas {
		errs = append(errs, fmt.Errorf("%s (alive: %v):\n%s", r.Name(), r.Alive(), r.Tail(15)))
	}
	return errors.Join(errs...)
}

// Running are the replicas that have not ended.
func (s *System) Running() []*Replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.replicas), func(r *Replica) bool { return !r.Alive() })
}

// Stop ends a replica as the deletion of its pod does: SIGTERM, while the Service learns that it goes by its readiness.
func (s *System) Stop(ctx context.Context, r *Replica) error {
	err := r.Terminate(ctx, endGrace)
	s.Proxy.Remove(r.Address)
	return err
}

// Kill ends a replica without a chance to say so. The Service learns of it by the next probe.
func (s *System) Kill(ctx context.Context, r *Replica) error { return r.Kill(ctx) }

// Forbidden are the lines of all replicas' logs that tell of a right that deploy/ does not give and they wanted.
func (s *System) Forbidden() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, r := range s.replicas {
		for line := range strings.Lines(r.Output()) {
			if strings.Contains(line, "forbidden") && strings.Contains(line, "system:serviceaccount:"+Namespace+":"+Service) {
				lines = append(lines, r.Name()+": "+line)
			}
		}
	}
	return lines
}

// Close ends the replicas and the proxy, and the cluster.
func (s *System) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyLimit)
	defer cancel()
	var errs []error
	for _, r := range s.Running() {
		errs = append(errs, s.Kill(ctx, r))
	}
	if s.Proxy != nil {
		s.Proxy.Close()
	}
	return errors.Join(append(errs, s.Cluster.Close())...)
}
