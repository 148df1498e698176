package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/apiserver"
	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/integration/workdir"
)

// Options choose what a cluster is made of; the zero value is a node with containerd and one card with one port.
type Options struct {
	// Runtime is the container runtime; empty is containerd.
	Runtime integration.RuntimeName
	// NoNRI turns the runtime's NRI off (CRI-O only).
	NoNRI bool
	// NRITimeout is NRI's request timeout; 0 is the runtimes' default, 2 s.
	NRITimeout time.Duration
	// Cards are card descriptions of `fpga-emulator tree`, e.g. "dfl:ports=2"; none is one "dfl:ports=1".
	Cards []string
	// EmulatorFlags are added to the emulator's command line, e.g. "--pr-delay", "3s".
	EmulatorFlags []string
	// StatusEvery is how often the kubelet looks whether the Node's status has changed; 0 is 1 s.
	StatusEvery time.Duration
	// KubeletConfig is added to the kubelet's configuration, YAML.
	KubeletConfig string
	// Tools are what the cluster is made of.
	Tools *Tools
}

// Cluster is a Kubernetes cluster of one node. The methods that take no testing.TB may be called from any goroutine.
type Cluster struct {
	// Dir holds all that the cluster keeps, logs (*.log) included; HostRoot below it is the root of the emulated host.
	Dir, HostRoot string

	Etcd, APIServer, Scheduler, ControllerManager, Kubelet, Runtime *Component

	// Phases are the parts of the start and how long each took.
	Phases Phases

	tools         *Tools
	node, control *process.Launcher
	net           *netns
	door          *door
	services      *services
	runtime       integration.Runtime
	token         string
	client        *kubernetes.Clientset
	unlock        func()
	closed        atomic.Bool
	count         atomic.Int64
}

// Components are all programs of the cluster that have a handle, in the order of their start.
func (c *Cluster) Components() []*Component {
	var all []*Component
	for _, one := range []*Component{c.Etcd, c.APIServer, c.Scheduler, c.ControllerManager, c.Runtime, c.Kubelet} {
		if one != nil {
			all = append(all, one)
		}
	}
	return all
}

// New starts a cluster and returns when its node is Ready. It lives until Close, also when ctx has ended.
func New(ctx context.Context, o Options) (*Cluster, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a cluster of real components needs root")
	}
	if o.Tools == nil {
		return nil, errors.New("a cluster needs Tools")
	}
	o.Runtime = cmp.Or(o.Runtime, integration.Containerd)
	o.StatusEvery = cmp.Or(o.StatusEvery, time.Second)
	if len(o.Cards) == 0 {
		o.Cards = []string{"dfl:ports=1"}
	}
	SweepAbandoned(ctx, o.Tools.log)
	if err := o.Tools.forRuntime(ctx, o.Runtime); err != nil {
		return nil, err
	}
	dir, unlock, err := workdir.New(dirPrefix, 0o755) // programs run as other users in containers
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, HostRoot: dir + "/h", tools: o.Tools, unlock: unlock}
	if err := c.start(ctx, o); err != nil {
		kept := c.KeepLogs("cluster-start")
		return nil, errors.Join(fmt.Errorf("start a cluster: %w\n%s", err, kept), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, o Options) (err error) {
	phase := c.Phases.begin("namespaces and the emulated card")
	if err := c.startNode(ctx, o); err != nil {
		return err
	}
	if c.net, err = openNetns(c.node.Pid()); err != nil {
		return err
	}
	if c.door, err = openDoor(c.net, apiAddress); err != nil {
		return err
	}
	c.control, err = process.NewLauncher(ctx, process.LauncherOptions{
		Prefix: []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", c.node.Pid()), "--"}, Env: environment(), Log: c.path("control.log"),
	})
	if err != nil {
		return err
	}
	if err := errors.Join(c.layOutControl(), c.makeCgroups(), c.newRuntime(o), c.newKubelet(o)); err != nil {
		return err
	}
	c.controlPlane()
	phase.end()
	for _, component := range c.Components() {
		phase := c.Phases.begin(component.Name())
		if err := component.Start(ctx); err != nil {
			return err
		}
		phase.end()
		switch component {
		case c.APIServer:
			if c.client, err = kubernetes.NewForConfig(c.RESTConfig()); err != nil {
				return err
			}
			c.services = startServices(c.net, c.client)
		case c.Runtime:
			phase := c.Phases.begin("test images")
			if err := c.Import(ctx, c.tools.testImages()); err != nil {
				return err
			}
			phase.end()
		}
	}
	defer c.Phases.begin("the node Ready").end()
	return c.waitNode(ctx)
}

// Client is an administrator's.
func (c *Cluster) Client() *kubernetes.Clientset { return c.client }

// Admin runs kubectl as an administrator.
func (c *Cluster) Admin() apiserver.Kubectl {
	return apiserver.NewKubectl(c.tools.Path("kubectl"), c.Kubeconfig(), c.Dir)
}

// Close ends the cluster and removes its folder. Only the first call does something.
func (c *Cluster) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	if c.services != nil {
		c.services.close()
	}
	if c.door != nil {
		c.door.close()
	}
	// Killed, the kubelet first, so that it does not restart what goes: nothing that they hold outlives them.
	all := c.Components()
	for i := len(all) - 1; i >= 0; i-- {
		errs = append(errs, all[i].Kill(ctx))
	}
	if c.runtime != nil {
		errs = append(errs, c.runtime.CRI().Close())
	}
	errs = append(errs, integration.TakeDown(ctx, c.Dir))
	for _, l := range []*process.Launcher{c.control, c.node} {
		if l != nil {
			errs = append(errs, l.Close(ctx))
		}
	}
	if c.net != nil {
		c.net.close()
	}
	errs = append(errs, os.RemoveAll(c.Dir))
	c.unlock()
	return errors.Join(errs...)
}
