package kubelettest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/internal/unixsock"
)

// Kubelet is one scripted kubelet. Its methods are safe for concurrent use.
type Kubelet struct {
	folder string
	opts   options

	mu        sync.Mutex
	life      *life // nil while it does not run
	abandoned []*life
	resources map[string]*Resource
	history   []Registration
	refuse    int
	changed   chan struct{} // closed and replaced at every change
}

// life is one run of the kubelet process.
type life struct {
	k        *Kubelet
	server   *grpc.Server
	listener *unixsock.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	tasks    sync.WaitGroup
	clients  map[string]*client // newest by resource; guarded by Kubelet.mu
	all      []*client
}

// Registration is one Register call that was answered without error.
type Registration struct {
	Resource string
	Endpoint string
	At       time.Time
}

// Resource is what the kubelet knows of one resource.
type Resource struct {
	Name    string
	Options *v1beta1.DevicePluginOptions
	Devices []*v1beta1.Device // of the last list
	Lists   int               // received in all
	Stopped bool              // its connection has ended; all its devices count as unhealthy
	At      time.Time         // of the last list
}

// Allocatable counts the devices that pods may get, as the node's status shows it.
func (r Resource) Allocatable() int {
	n := 0
	for _, d := range r.Devices {
		if !r.Stopped && d.GetHealth() == v1beta1.Healthy {
			n++
		}
	}
	return n
}

// IDs of the devices of the last list, in its order.
func (r Resource) IDs() []string {
	var ids []string
	for _, d := range r.Devices {
		ids = append(ids, d.GetID())
	}
	return ids
}

type options struct {
	slow  time.Duration
	dead  bool
	marks bool
}

// Option changes how a Kubelet behaves.
type Option func(*options)

// SlowStreams makes the kubelet wait before it reads each list.
func SlowStreams(d time.Duration) Option { return func(o *options) { o.slow = d } }

// DeadStreams makes the kubelet open its streams and never read from them.
func DeadStreams() Option { return func(o *options) { o.dead = true } }

// MarksNewest makes the kubelet treat the end of an older stream of a resource as its later versions do: the newest
// endpoint counts as stopped, and its stream stays open. Versions up to 1.36 hang up on the newest one.
func MarksNewest() Option { return func(o *options) { o.marks = true } }

// New makes a kubelet for a device plugin folder; it does not run yet.
func New(folder string, opts ...Option) *Kubelet {
	k := &Kubelet{folder: folder, resources: map[string]*Resource{}, changed: make(chan struct{})}
	for _, o := range opts {
		o(&k.opts)
	}
	return k
}

// Folder is the device plugin folder.
func (k *Kubelet) Folder() string { return k.folder }

// Start begins a life of the kubelet: it makes the folder, wipes its sockets and serves Registration.
func (k *Kubelet) Start() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life != nil {
		return errors.New("the kubelet runs already")
	}
	if err := os.MkdirAll(k.folder, 0o750); err != nil {
		return err
	}
	entries, err := os.ReadDir(k.folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type() == os.ModeSocket {
			os.Remove(filepath.Join(k.folder, e.Name()))
		}
	}
	for _, r := range k.resources { // as read from the checkpoint: known, not connected
		r.Stopped, r.Devices = true, nil
	}
	listener, err := unixsock.Listen(filepath.Join(k.folder, "kubelet.sock"))
	if err != nil {
		return err
	}
	l := &life{k: k, server: grpc.NewServer(grpc.WaitForHandlers(true)), listener: listener, clients: map[string]*client{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	v1beta1.RegisterRegistrationServer(l.server, &registration{life: l})
	l.tasks.Go(func() { l.server.Serve(listener) })
	k.life = l
	k.tell()
	return nil
}

// Kill ends the kubelet as SIGKILL does: connections break, kubelet.sock stays behind and nobody answers there.
func (k *Kubelet) Kill() { k.end(false) }

// Stop ends the kubelet and removes kubelet.sock.
func (k *Kubelet) Stop() { k.end(true) }

// Restart is Kill and Start.
func (k *Kubelet) Restart() error {
	k.Kill()
	return k.Start()
}

// Abandon ends the kubelet without hanging up: its streams stay open until Close, and nobody cares for them.
func (k *Kubelet) Abandon() {
	k.mu.Lock()
	l := k.life
	k.life = nil
	if l != nil {
		k.abandoned = append(k.abandoned, l)
	}
	k.mu.Unlock()
	if l != nil {
		l.listener.Close()
		l.server.Stop()
	}
}

// HangUp closes what earlier Abandons left open.
func (k *Kubelet) HangUp() {
	k.mu.Lock()
	lives := k.abandoned
	k.abandoned = nil
	k.mu.Unlock()
	for _, l := range lives {
		l.close()
	}
}

// HangUpOn breaks the newest connection of a resource, as a kubelet does when it cannot take a message.
func (k *Kubelet) HangUpOn(resource string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life != nil && k.life.clients[resource] != nil {
		k.life.clients[resource].conn.Close()
	}
}

// Close ends everything and waits for it.
func (k *Kubelet) Close() {
	k.Stop()
	k.HangUp()
}

func (k *Kubelet) end(remove bool) {
	k.mu.Lock()
	l := k.life
	k.life = nil
	k.mu.Unlock()
	if l == nil {
		return
	}
	if remove {
		l.listener.Remove()
	}
	l.close()
}

// close breaks the connections of a life and waits for its goroutines.
func (l *life) close() {
	l.cancel()
	l.server.Stop()
	l.k.mu.Lock()
	all := slices.Clone(l.all)
	l.k.mu.Unlock()
	for _, c := range all {
		c.conn.Close()
	}
	l.tasks.Wait()
}

// RefuseNext makes the next n registrations fail.
func (k *Kubelet) RefuseNext(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refuse = n
}

// Registrations gives all registrations so far, oldest first.
func (k *Kubelet) Registrations() []Registration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.history)
}

// Resource gives what is known of a resource; the zero value where nothing is.
func (k *Kubelet) Resource(name string) Resource {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.resources[name]; r != nil {
		return *r
	}
	return Resource{Name: name}
}

// Wait returns when ok says yes to what is known of a resource, or with an error that says what was known when ctx ended.
func (k *Kubelet) Wait(ctx context.Context, name string, ok func(Resource) bool) (Resource, error) {
	for {
		k.mu.Lock()
		changed := k.changed
		k.mu.Unlock()
		r := k.Resource(name)
		if ok(r) {
			return r, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r, fmt.Errorf("resource %s: %w; the kubelet has devices %v after %d lists, stopped: %t", name, ctx.Err(), r.IDs(), r.Lists, r.Stopped)
		}
	}
}

// tell wakes all waiters. Called with mu held.
func (k *Kubelet) tell() {
	close(k.changed)
	k.changed = make(chan struct{})
}
