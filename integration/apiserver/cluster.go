package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/integration/components"
	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/integration/workdir"
)

// Options choose what a cluster is made of; the zero value is etcd and kube-apiserver.
type Options struct {
	// Controllers are the controllers of a kube-controller-manager, e.g. "replicaset-controller"; none means no
	// kube-controller-manager.
	Controllers []string
	// Flags are added to kube-apiserver's command line.
	Flags []string
	// Authorization is the text of an AuthorizationConfiguration; empty asks the authorizers Node and RBAC. Its folder has
	// nobody.kubeconfig, the address of an authorizer that does not answer.
	Authorization string
	// Log gets what is being built, the first time on a machine; nil is standard error.
	Log io.Writer
}

// Cluster is a running API server with its surroundings.
type Cluster struct {
	// Dir holds all that the cluster keeps, logs (*.log) and the audit log (audit.jsonl) included.
	Dir string

	binaries  map[string]string
	net       *loopback
	pki       *pki
	processes []*process.Process // in the order of their start
	unlock    func()
	closed    atomic.Bool
	count     atomic.Int64 // names given
}

const (
	// startLimit bounds the start of one component; build machines are slow.
	startLimit = 90 * time.Second
	// endLimit bounds the end of a component that is killed.
	endLimit = 10 * time.Second
)

// Start starts a cluster that ends with the test. The logs of a test that failed are kept, and their place is printed.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.KeepLogs(t.Name()))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// New starts a cluster. It lives until Close, also when ctx has ended.
func New(ctx context.Context, o Options) (*Cluster, error) {
	if o.Log == nil {
		o.Log = os.Stderr
	}
	workdir.Sweep(dirPrefix(), o.Log, func(dir string) error { return process.KillAll(process.With(dir + "/")) })
	binaries, err := build(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	dir, unlock, err := workdir.New(dirPrefix(), 0o700)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, binaries: binaries, unlock: unlock}
	if err := c.start(ctx, o); err != nil {
		kept := c.KeepLogs("start")
		return nil, errors.Join(fmt.Errorf("start an API server: %w\n%s", err, kept), c.Close())
	}
	return c, nil
}

// dirPrefix begins the path of every cluster's folder.
func dirPrefix() string { return filepath.Join(os.TempDir(), "inlay-apiserver-") }

// build makes the components, or finds them in the cache.
func build(ctx context.Context, log io.Writer) (map[string]string, error) {
	dir, err := components.DefaultDir()
	if err != nil {
		return nil, err
	}
	cache, err := components.Open(dir, log)
	if err != nil {
		return nil, err
	}
	return cache.Ensure(ctx, "etcd", "kubernetes")
}

func (c *Cluster) start(ctx context.Context, o Options) (err error) {
	if c.net, err = newLoopback(); err != nil {
		return err
	}
	if c.pki, err = newPKI(c.Dir, c.net.apiserver); err != nil {
		return err
	}
	if err := c.writeKubeconfig(c.adminConfig(), adminToken); err != nil {
		return err
	}
	if err := c.startEtcd(); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx, o); err != nil {
		return err
	}
	return c.startControllers(ctx, o)
}

// Close ends the cluster and removes its folder. Only the first call does something.
func (c *Cluster) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	var errs []error
	for i := len(c.processes) - 1; i >= 0; i-- {
		// Killed: nothing that they hold outlives them, and kube-apiserver's own end waits for its watchers.
		errs = append(errs, c.processes[i].Kill(ctx))
	}
	if c.net != nil {
		errs = append(errs, c.net.release())
	}
	errs = append(errs, os.RemoveAll(c.Dir))
	c.unlock()
	return errors.Join(errs...)
}

// Server is the API server's address, https://….
func (c *Cluster) Server() string { return "https://" + c.net.apiserver.String() }

// Address gives a loopback address that nobody else gets, for a program of the test.
func (c *Cluster) Address() string { return c.net.next().String() }

// RESTConfig is an administrator's, for Go clients. Client-side rate limits are off.
func (c *Cluster) RESTConfig() *rest.Config { return c.restConfig(adminToken) }

func (c *Cluster) restConfig(token string) *rest.Config {
	return &rest.Config{
		Host: c.Server(), BearerToken: token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.pki.caFile()},
	}
}

func (c *Cluster) path(name string) string { return filepath.Join(c.Dir, name) }

// run starts a component; its output is in <name>.log.
func (c *Cluster) run(name string, args ...string) (*process.Process, error) {
	p, err := process.Start(process.Command{
		Name: name, Path: c.binaries[name], Args: args, Log: c.path(name + ".log"),
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.Dir, "TMPDIR=" + c.Dir},
	})
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, p)
	return p, nil
}

// host is the address without its port.
func host(a netip.AddrPort) string { return a.Addr().String() }
