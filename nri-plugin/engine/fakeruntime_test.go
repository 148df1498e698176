package engine

import (
	"context"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/net/multiplex"
	"github.com/containerd/ttrpc"
)

// fakeRuntime is the runtime's side of the wire by hand, for what the adaptation library cannot be made to do: an old
// NRI version, an end in the middle of a registration.
type fakeRuntime struct {
	listener net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex
	peers    []*fakePeer
}

// fakePeer is one connected plugin.
type fakePeer struct {
	api.PluginService               // calls to the plugin
	registered        chan struct{} // RegisterPlugin was answered
	gone              chan struct{} // closed by us
	once              sync.Once
	mux               multiplex.Mux
	client            *ttrpc.Client
	server            *ttrpc.Server
	listener          net.Listener
}

func (p *fakePeer) close() {
	p.once.Do(func() { close(p.gone) })
	p.mux.Close()
	p.client.Close()
	p.server.Close()
}

// awaitRegistration is false if the peer was closed instead.
func (p *fakePeer) awaitRegistration() bool {
	select {
	case <-p.registered:
		return true
	case <-p.gone:
		return false
	}
}

func (p *fakePeer) RegisterPlugin(context.Context, *api.RegisterPluginRequest) (*api.Empty, error) {
	close(p.registered)
	return &api.Empty{}, nil
}

func (p *fakePeer) UpdateContainers(context.Context, *api.UpdateContainersRequest) (*api.UpdateContainersResponse, error) {
	return &api.UpdateContainersResponse{}, nil
}

// startFakeRuntime calls serve for each connection, with its number; the peer is closed when the runtime stops, or by
// serve.
func startFakeRuntime(t testing.TB, socket string, serve func(n int, p *fakePeer)) (stop func()) {
	t.Helper()
	os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeRuntime{listener: l}
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p, err := newFakePeer(conn)
			if err != nil {
				t.Error(err)
				return
			}
			f.mu.Lock()
			f.peers = append(f.peers, p)
			f.mu.Unlock()
			f.wg.Add(2)
			go func() { defer f.wg.Done(); p.answer() }()
			go func() { defer f.wg.Done(); serve(n, p) }()
		}
	}()
	stop = sync.OnceFunc(func() {
		l.Close()
		f.mu.Lock()
		for _, p := range f.peers {
			p.close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func newFakePeer(conn net.Conn) (*fakePeer, error) {
	// Frames for a service that is not there yet would be dropped.
	mux := multiplex.Multiplex(conn, multiplex.WithBlockedRead())
	defer mux.Unblock()
	pc, err := mux.Open(multiplex.PluginServiceConn)
	if err != nil {
		return nil, err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return nil, err
	}
	listener, err := mux.Listen(multiplex.RuntimeServiceConn)
	if err != nil {
		return nil, err
	}
	client := ttrpc.NewClient(pc)
	return &fakePeer{
		PluginService: api.NewPluginClient(client), registered: make(chan struct{}), gone: make(chan struct{}),
		mux: mux, client: client, server: server, listener: listener,
	}, nil
}

// answer serves the plugin's calls until the peer is closed.
func (p *fakePeer) answer() {
	api.RegisterRuntimeService(p.server, p)
	_ = p.server.Serve(context.Background(), p.listener)
}
