package cluster

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/inlay-project/inlay/integration/relay"
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

// forward relays a client to an address of the cluster.
func forward(ctx context.Context, n *netns, client net.Conn, address string) {
	relay.Forward(ctx, client, func(ctx context.Context) (net.Conn, error) { return n.dial(ctx, "tcp", address) })
}
