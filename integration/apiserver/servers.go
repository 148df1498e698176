package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/inlay-project/inlay/integration/process"
)

// Tokens of the cluster's own users. They are no secrets: the server listens on loopback for the time of a test.
const (
	adminToken      = "admin"
	controllerToken = "controllers"
)

const tokens = adminToken + `,admin,admin,"system:masters"
` + controllerToken + `,system:kube-controller-manager,controllers,"system:masters"
`

// auditPolicy keeps what the tests look at; the rest would be most of the log.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    verbs: [create, update, patch, delete]
    resources:
      - group: ""
        resources: [pods]
      - group: fpga.intel.com
  - level: None
`

func (c *Cluster) startEtcd() error {
	client, peer := "http://"+c.net.etcd.String(), "http://"+c.net.etcdPeer.String()
	_, err := c.run("etcd", "--name=test", "--data-dir="+c.path("etcd"), "--log-level=warn",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=test="+peer,
		// What is written need not outlive the test.
		"--unsafe-no-fsync")
	return err // kube-apiserver waits for it
}

func (c *Cluster) startAPIServer(ctx context.Context, o Options) error {
	if err := errors.Join(
		os.WriteFile(c.path("tokens.csv"), []byte(tokens), 0o600),
		os.WriteFile(c.path("audit-policy.yaml"), []byte(auditPolicy), 0o644),
	); err != nil {
		return err
	}
	address := c.net.apiserver
	args := []string{
		"--etcd-servers=http://" + c.net.etcd.String(),
		"--bind-address=" + host(address), "--advertise-address=" + host(address), fmt.Sprintf("--secure-port=%d", address.Port()),
		// The addresses of a Service "kubernetes" must not be loopback's, and nobody uses it here.
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=" + c.net.services.String(),
		"--cert-dir=" + c.Dir, "--tls-cert-file=" + c.pki.certFile(), "--tls-private-key-file=" + c.pki.keyFile(),
		"--token-auth-file=" + c.path("tokens.csv"),
		"--anonymous-auth=false", "--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.pki.accountKeyFile(), "--service-account-signing-key-file=" + c.pki.accountKeyFile(),
		"--audit-log-path=" + c.auditLog(), "--audit-policy-file=" + c.path("audit-policy.yaml"),
	}
	authorization, err := c.authorization(o)
	if err != nil {
		return err
	}
	p, err := c.run("kube-apiserver", slices.Concat(args, authorization, o.Flags)...)
	if err != nil {
		return err
	}
	return c.waitReady(ctx, p, c.Server()+"/readyz")
}

// authorization gives the flags that say who authorizes requests.
func (c *Cluster) authorization(o Options) ([]string, error) {
	if o.Authorization == "" {
		return []string{"--authorization-mode=Node,RBAC"}, nil
	}
	nobody := c.path("nobody.kubeconfig")
	config := strings.ReplaceAll(o.Authorization, "/etc/kubernetes/nobody.kubeconfig", nobody)
	return []string{"--authorization-config=" + c.path("authorization.yaml")}, errors.Join(
		os.WriteFile(c.path("authorization.yaml"), []byte(config), 0o600),
		os.WriteFile(nobody, []byte(`{apiVersion: v1, kind: Config, current-context: nobody, clusters: [{name: nobody, cluster: {server: "https://127.0.0.1:1"}}],
contexts: [{name: nobody, context: {cluster: nobody, user: nobody}}], users: [{name: nobody, user: {}}]}`), 0o600),
	)
}

func (c *Cluster) startControllers(ctx context.Context, o Options) error {
	if len(o.Controllers) == 0 {
		return nil
	}
	config := c.path("controllers.kubeconfig")
	if err := c.writeKubeconfig(config, controllerToken); err != nil {
		return err
	}
	address := c.net.controllers
	p, err := c.run("kube-controller-manager", "--kubeconfig="+config,
		"--controllers="+strings.Join(o.Controllers, ","), "--leader-elect=false",
		"--bind-address="+host(address), fmt.Sprintf("--secure-port=%d", address.Port()), "--cert-dir="+c.Dir,
		"--service-account-private-key-file="+c.pki.accountKeyFile(), "--root-ca-file="+c.pki.caFile())
	if err != nil {
		return err
	}
	return c.waitReady(ctx, p, "https://"+address.String()+"/healthz")
}

// waitReady waits until the address answers 200, or fails with the end of the log.
func (c *Cluster) waitReady(ctx context.Context, p *process.Process, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	// kube-controller-manager makes its certificate itself; who answers on our own address is not in doubt.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	err := process.Poll(ctx, func() error {
		if !p.Alive() {
			return process.Permanent(fmt.Errorf("%s has ended", p.Name()))
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+adminToken)
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s: %s", url, answer.Status, body)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, p.Tail(15))
	}
	return nil
}
