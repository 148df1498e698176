package cluster

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/integration/process"
)

// users are those of the control plane, by a token each. The kubelet's has the groups of a node's.
var users = [...]struct{ name, groups string }{
	{"admin", "system:masters"},
	{"system:kube-controller-manager", "system:masters"},
	{"system:kube-scheduler", "system:masters"},
	{"system:node:" + NodeName, "system:nodes"},
}

// auditPolicy keeps the writes of pods and mappings.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    verbs: [create, update, patch, delete]
    resources:
      - {group: "", resources: [pods]}
      - {group: fpga.intel.com}
  - level: None
`

const (
	etcdAddress       = "127.0.0.1:2379"
	etcdPeer          = "127.0.0.1:2380"
	schedulerAddress  = "127.0.0.1:10259"
	controllerAddress = "127.0.0.1:10257"
)

// layOutControl writes what the control plane's programs read, into the folder k.
func (c *Cluster) layOutControl() error {
	dir := c.path("k")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := writePKI(dir); err != nil {
		return err
	}
	var tokens strings.Builder
	for i, u := range users {
		token := rand.Text()
		fmt.Fprintf(&tokens, "%s,%s,user-%d,%q\n", token, u.name, i, u.groups)
		server := "https://" + apiAddress
		if u.name == "admin" {
			c.token, server = token, c.Server()
		}
		if err := c.writeKubeconfig(c.kubeconfigOf(u.name), server, token); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(c.path("k/tokens.csv"), []byte(tokens.String()), 0o600),
		os.WriteFile(c.path("k/audit-policy.yaml"), []byte(auditPolicy), 0o644),
	)
}

func (c *Cluster) kubeconfigOf(user string) string {
	return c.path("k/" + user[strings.LastIndexByte(user, ':')+1:] + ".kubeconfig")
}

// Kubeconfig is an administrator's, for programs of this machine.
func (c *Cluster) Kubeconfig() string { return c.kubeconfigOf("admin") }

// Server is where programs of this machine reach the API server.
func (c *Cluster) Server() string { return "https://" + c.door.address() }

// RESTConfig is an administrator's, for Go clients. Client-side rate limits are off.
func (c *Cluster) RESTConfig() *rest.Config {
	return &rest.Config{
		Host: c.Server(), BearerToken: c.token, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAFile: c.path("k/" + caFile)},
	}
}

func (c *Cluster) writeKubeconfig(file, server, token string) error {
	return os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: inlay
contexts: [{name: inlay, context: {cluster: inlay, user: inlay}}]
clusters: [{name: inlay, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: inlay, user: {token: %q}}]
`, server, c.path("k/"+caFile), token), 0o600)
}

// component describes a program of the control plane that is ready when url answers 200.
func (c *Cluster) component(name, url string, args ...string) *Component {
	return &Component{name: name, start: func(ctx context.Context) (*process.Process, error) {
		p, err := c.control.Start(ctx, process.Command{
			Name: name, Path: c.tools.Path(name), Args: args, Log: c.path(name + ".log"),
			Env: append(environment(), "HOME="+c.Dir, "TMPDIR="+c.Dir),
		})
		if err != nil {
			return nil, err
		}
		return p, c.waitOK(ctx, p, url)
	}}
}

// controlPlane makes the handles of the control plane's programs.
func (c *Cluster) controlPlane() {
	in := func(name string) string { return c.path("k/" + name) }
	host, port := func(a string) string { h, _, _ := net.SplitHostPort(a); return h }, func(a string) string { _, p, _ := net.SplitHostPort(a); return p }
	client, peer := "http://"+etcdAddress, "http://"+etcdPeer
	c.Etcd = c.component("etcd", client+"/readyz",
		"--name=inlay", "--data-dir="+in("etcd"), "--log-level=warn", "--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=inlay="+peer,
		// Survives the end of the process, and need not survive the machine's.
		"--unsafe-no-fsync")
	c.APIServer = c.component("kube-apiserver", "https://"+apiAddress+"/readyz",
		"--etcd-servers="+client, "--bind-address="+gateway, "--advertise-address="+gateway, "--secure-port="+port(apiAddress),
		"--service-cluster-ip-range="+serviceNet, "--cert-dir="+in(""),
		"--tls-cert-file="+in(serverCert), "--tls-private-key-file="+in(serverKey), "--client-ca-file="+in(caFile),
		// Nobody has a certificate of that name; without the flag others complain that there is no such authority.
		"--requestheader-client-ca-file="+in(caFile), "--requestheader-allowed-names=front-proxy",
		"--kubelet-client-certificate="+in(clientCert), "--kubelet-client-key="+in(clientKey), "--kubelet-preferred-address-types=InternalIP",
		"--token-auth-file="+in("tokens.csv"), "--anonymous-auth=false",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+in(accountKey), "--service-account-signing-key-file="+in(accountKey),
		// A request that hangs must not hold up its end.
		"--shutdown-delay-duration=0s",
		"--audit-log-path="+c.auditLog(), "--audit-policy-file="+in("audit-policy.yaml"))
	c.Scheduler = c.component("kube-scheduler", "https://"+schedulerAddress+"/healthz",
		"--kubeconfig="+c.kubeconfigOf("system:kube-scheduler"), "--leader-elect=false",
		"--authentication-kubeconfig="+c.kubeconfigOf("system:kube-scheduler"), "--authorization-kubeconfig="+c.kubeconfigOf("system:kube-scheduler"),
		"--bind-address="+host(schedulerAddress), "--secure-port="+port(schedulerAddress), "--cert-dir="+in(""))
	c.ControllerManager = c.component("kube-controller-manager", "https://"+controllerAddress+"/healthz",
		"--kubeconfig="+c.kubeconfigOf("system:kube-controller-manager"), "--leader-elect=false",
		"--bind-address="+host(controllerAddress), "--secure-port="+port(controllerAddress), "--cert-dir="+in(""),
		"--service-account-private-key-file="+in(accountKey), "--root-ca-file="+in(caFile),
		"--flex-volume-plugin-dir="+in("volume-plugins"))
}

func (c *Cluster) auditLog() string { return c.path("audit.jsonl") }

// waitOK waits until the address answers 200.
func (c *Cluster) waitOK(ctx context.Context, p *process.Process, url string) error {
	transport := &http.Transport{
		DialContext: c.net.dial, DisableKeepAlives: true,
		// Some make their certificates themselves; who answers there is not in doubt.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	client := http.Client{Transport: transport, Timeout: 2 * time.Second}
	return process.Poll(ctx, func() error {
		if !p.Alive() {
			return process.Permanent(fmt.Errorf("%s has ended", p.Name()))
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+c.token)
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
}
