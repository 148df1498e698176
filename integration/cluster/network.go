package cluster

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// The addresses of a cluster. They are the same in each: every cluster has a network of its own, without a way out.
const (
	// gateway is the node's address on the bridge that its pods are connected to. Everything listens there.
	gateway    = "10.88.0.1"
	gatewayNet = gateway + "/16"
	podNet     = "10.88.0.0/16"
	// The whole range of Services belongs to the node itself, so that the stand-in for kube-proxy can listen on any
	// address of it.
	serviceNet  = "10.96.0.0/16"
	firstOfThem = "10.96.0.1"

	apiAddress = gateway + ":6443"
)

func networkSetup() []string {
	return []string{
		"ip link set lo up",
		// Left to itself a bridge changes its address when a pod goes, and the other pods cannot reach it for a while.
		"ip link add cni0 address 0a:58:0a:58:00:01 type bridge", "ip address add " + gatewayNet + " dev cni0", "ip link set cni0 up",
		"ip route add local " + serviceNet + " dev lo",
	}
}

// cniConfig connects pods to the bridge.
const cniConfig = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true,
    "ipam": {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": "` + podNet + `"}]]}
  }]
}
`

// writeCNI puts configuration and plugins, of CNI and of NRI, where the runtimes of package integration look for them.
func writeCNI(runtimeDir string) error {
	dir := filepath.Join(runtimeDir, "cni", "net.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "10-pods.conflist"), []byte(cniConfig), 0o644); err != nil {
		return err
	}
	for link, target := range map[string]string{
		"cni/bin": "/usr/lib/cni",
		// Where a distribution's configuration has pre-installed NRI plugins.
		"nri-plugins": "/opt/nri/plugins", "nri-conf": "/etc/nri/conf.d",
	} {
		if err := os.Symlink(target, filepath.Join(runtimeDir, link)); err != nil {
			return err
		}
	}
	return nil
}

// door lets programs of the machine reach one address of the cluster, at a port of the machine's loopback interface.
type door struct {
	listener net.Listener
	tasks    sync.WaitGroup
	stop     context.CancelFunc
}

// openDoor listens on any free port.
func openDoor(n *netns, address string) (*door, error) {
	ctx, stop := context.WithCancel(context.Background()) // until close
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		stop()
		return nil, err
	}
	d := &door{listener: l, stop: stop}
	d.tasks.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			d.tasks.Go(func() { forward(ctx, n, client, address) })
		}
	})
	return d, nil
}

func (d *door) address() string { return d.listener.Addr().String() }

func (d *door) close() {
	d.stop()
	_ = d.listener.Close()
	d.tasks.Wait()
}

// forward connects to an address of the cluster and copies both ways until both have ended, or ctx has.
func forward(ctx context.Context, n *netns, client net.Conn, address string) {
	server, err := n.dial(ctx, "tcp", address)
	if err != nil {
		reset(client)
		return
	}
	release := context.AfterFunc(ctx, func() { reset(client); reset(server) })
	defer release()
	var both sync.WaitGroup
	both.Go(func() { pipe(client, server) })
	both.Go(func() { pipe(server, client) })
	both.Wait()
	_, _ = client.Close(), server.Close()
}

// pipe copies one way and passes on how it ended.
func pipe(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		reset(to)
		reset(from)
		return
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

// reset closes a connection without saying goodbye, as a program does that has died.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
