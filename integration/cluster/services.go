package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// services stands in for kube-proxy, for TCP: it listens on the address of each Service that has an endpoint, and
// sends each new connection to one of those that are ready. Where none is, connections are refused.
type services struct {
	net   *netns
	stop  context.CancelFunc
	ctx   context.Context
	tasks sync.WaitGroup

	informers informers.SharedInformerFactory
	wake      chan struct{}

	mu     sync.Mutex
	fronts map[netip.AddrPort]*front
}

// front is one port of one Service.
type front struct {
	listener net.Listener
	backends []string
}

// startServices follows the Services of an API server until close.
func startServices(n *netns, client kubernetes.Interface) *services {
	s := &services{
		net: n, wake: make(chan struct{}, 1), fronts: map[netip.AddrPort]*front{},
		informers: informers.NewSharedInformerFactory(client, time.Minute),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	changed := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { s.poke() }, UpdateFunc: func(any, any) { s.poke() }, DeleteFunc: func(any) { s.poke() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		s.informers.Core().V1().Services().Informer(), s.informers.Discovery().V1().EndpointSlices().Informer(),
	} {
		// An error would tell of an informer that has been stopped.
		_, _ = informer.AddEventHandler(changed)
	}
	s.informers.Start(s.ctx.Done())
	s.tasks.Go(s.run)
	return s
}

func (s *services) close() {
	s.stop()
	s.informers.Shutdown()
	s.mu.Lock()
	for _, f := range s.fronts {
		_ = f.listener.Close()
	}
	s.mu.Unlock()
	s.tasks.Wait()
}

func (s *services) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// retryEvery is how long an address that could not be listened on waits.
const retryEvery = time.Second

func (s *services) run() {
	for {
		retry := (<-chan time.Time)(nil)
		if err := s.apply(); err != nil {
			retry = time.After(retryEvery)
		}
		select {
		case <-s.wake:
		case <-retry:
		case <-s.ctx.Done():
			return
		}
	}
}

// apply makes the listeners what the API server says.
func (s *services) apply() error {
	want, err := s.table()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, f := range s.fronts {
		if len(want[at]) == 0 {
			_ = f.listener.Close()
			delete(s.fronts, at)
		}
	}
	var errs []error
	for at, backends := range want {
		if f := s.fronts[at]; f != nil {
			f.backends = backends
			continue
		}
		l, err := s.net.listen(s.ctx, at.String())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f := &front{listener: l, backends: backends}
		s.fronts[at] = f
		s.tasks.Go(func() { s.accept(f) })
	}
	return errors.Join(errs...)
}

// table is every port of a Service that has ready endpoints, with them.
func (s *services) table() (map[netip.AddrPort][]string, error) {
	all, err := s.informers.Core().V1().Services().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	table := map[netip.AddrPort][]string{}
	for _, service := range all {
		address, err := netip.ParseAddr(service.Spec.ClusterIP)
		if err != nil {
			continue // headless
		}
		slices, err := s.informers.Discovery().V1().EndpointSlices().Lister().EndpointSlices(service.Namespace).
			List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name}))
		if err != nil {
			return nil, err
		}
		for _, port := range service.Spec.Ports {
			if backends := ready(slices, port); len(backends) > 0 {
				table[netip.AddrPortFrom(address, uint16(port.Port))] = backends
			}
		}
	}
	return table, nil
}

// ready are the addresses behind one port of a Service.
func ready(slices []*discoveryv1.EndpointSlice, port corev1.ServicePort) []string {
	var backends []string
	for _, slice := range slices {
		for _, p := range slice.Ports {
			if p.Port == nil || p.Name == nil || *p.Name != port.Name {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready != nil && !*e.Conditions.Ready {
					continue
				}
				for _, a := range e.Addresses {
					if ip, err := netip.ParseAddr(a); err == nil {
						backends = append(backends, netip.AddrPortFrom(ip, uint16(*p.Port)).String())
					}
				}
			}
		}
	}
	return backends
}

func (s *services) accept(f *front) {
	for {
		client, err := f.listener.Accept()
		if err != nil {
			return // closed
		}
		s.mu.Lock()
		to := f.backends[rand.IntN(len(f.backends))]
		s.mu.Unlock()
		s.tasks.Go(func() { forward(s.ctx, s.net, client, to) })
	}
}
