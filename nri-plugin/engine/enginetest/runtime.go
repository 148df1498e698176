package enginetest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
)

// Options describe a runtime. The zero value is a containerd 2.4.2 without pods or plugins of its own.
type Options struct {
	// Name and Version are what the runtime calls itself.
	Name, Version string
	// PluginDir and ConfigDir hold pre-installed plugins and their configuration; empty: none.
	PluginDir, ConfigDir string
	// RequestTimeout and RegistrationTimeout replace NRI's 2 s and 5 s. They are global in the adaptation library:
	// the last runtime started in a process sets them for all.
	RequestTimeout, RegistrationTimeout time.Duration
	// Pods and Containers exist already: a plugin that connects is told of them.
	Pods       []*api.PodSandbox
	Containers []*api.Container
}

// Runtime is a running NRI runtime.
type Runtime struct {
	adaptation *adaptation.Adaptation
	front      net.Listener // the socket that plugins dial
	dir        string       // holds the adaptation's own socket, behind front
	wg         sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	stopped bool
	plugins int
	changed chan struct{} // closed and replaced when plugins changes
}

// Start starts a runtime that listens on socket, as runtimes do: what is there is removed, the folder is made. The
// adaptation keeps its plugins' connections open when it is stopped, which a runtime that ends does not; so it listens
// behind a relay, whose connections Stop and Drop can cut.
func Start(socket string, opts Options) (_ *Runtime, err error) {
	if opts.Name == "" {
		opts.Name, opts.Version = "containerd", "2.4.2"
	}
	adaptation.SetPluginRequestTimeout(orDefault(opts.RequestTimeout, adaptation.DefaultPluginRequestTimeout))
	adaptation.SetPluginRegistrationTimeout(orDefault(opts.RegistrationTimeout, adaptation.DefaultPluginRegistrationTimeout))

	// Below the temporary folder by its short name: a socket's path has room for 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "nri")
	if err != nil {
		return nil, err
	}
	r := &Runtime{dir: dir, conns: map[net.Conn]struct{}{}, changed: make(chan struct{})}
	defer func() {
		if err != nil {
			r.Stop()
		}
	}()
	behind := filepath.Join(dir, "s")
	if opts.PluginDir == "" {
		opts.PluginDir = filepath.Join(dir, "none")
	}
	if opts.ConfigDir == "" {
		opts.ConfigDir = filepath.Join(dir, "none")
	}
	r.adaptation, err = adaptation.New(opts.Name, opts.Version,
		func(ctx context.Context, sync adaptation.SyncCB) error {
			_, err := sync(ctx, opts.Pods, opts.Containers)
			return err
		},
		func(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) { return nil, nil },
		adaptation.WithSocketPath(behind),
		adaptation.WithPluginPath(opts.PluginDir),
		adaptation.WithPluginConfigPath(opts.ConfigDir),
		adaptation.WithMetrics(pluginCounter{r}),
	)
	if err != nil {
		return nil, fmt.Errorf("NRI adaptation: %w", err)
	}
	if err := r.adaptation.Start(); err != nil {
		return nil, fmt.Errorf("NRI adaptation: %w", err)
	}
	if err := r.listen(socket); err != nil {
		return nil, err
	}
	r.wg.Add(1)
	go r.accept(behind)
	return r, nil
}

func orDefault(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return d
}

func (r *Runtime) listen(socket string) error {
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false) // a runtime that is killed leaves its socket file
	r.front = l
	return nil
}

// accept relays each connection to the adaptation.
func (r *Runtime) accept(behind string) {
	defer r.wg.Done()
	for {
		plugin, err := r.front.Accept()
		if err != nil {
			return
		}
		runtime, err := net.Dial("unix", behind)
		if err != nil {
			plugin.Close()
			continue
		}
		if !r.keep(plugin, runtime) {
			return
		}
		r.wg.Add(2)
		go r.relay(plugin, runtime)
		go r.relay(runtime, plugin)
	}
}

// keep registers the two ends, or closes them if the runtime has stopped meanwhile.
func (r *Runtime) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		if r.stopped {
			c.Close()
		} else {
			r.conns[c] = struct{}{}
		}
	}
	return !r.stopped
}

// relay copies one direction. Its end, either way, is the connection's.
func (r *Runtime) relay(to, from net.Conn) {
	defer r.wg.Done()
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, to)
	delete(r.conns, from)
}

// Drop cuts all connections of external plugins. The runtime goes on.
func (r *Runtime) Drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
}

// Stop ends the runtime as a kill would: connections are cut, pre-installed plugins killed, the socket file is left
// behind and nobody listens on it. It may be called again.
func (r *Runtime) Stop() {
	r.mu.Lock()
	again := r.stopped
	r.stopped = true
	r.mu.Unlock()
	if again {
		return
	}
	if r.front != nil {
		r.front.Close()
	}
	r.Drop()
	if r.adaptation != nil {
		r.adaptation.Stop()
	}
	r.wg.Wait()
	os.RemoveAll(r.dir)
}

// WaitPlugins waits until the runtime has n plugins, registered and synchronized. A plugin whose connection has ended
// is counted until the next request or registration: the adaptation notices no earlier.
func (r *Runtime) WaitPlugins(ctx context.Context, n int) error {
	for {
		r.mu.Lock()
		have, changed := r.plugins, r.changed
		r.mu.Unlock()
		if have == n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d NRI plugin(s) connected, not %d: %w", have, n, context.Cause(ctx))
		}
	}
}

// CreateContainer asks all plugins, as a runtime does at CRI CreateContainer. An error means that the container is
// not created; a response without an adjustment that it is created as it was.
func (r *Runtime) CreateContainer(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, error) {
	block := r.adaptation.BlockPluginSync()
	defer block.Unblock()
	response, err := r.adaptation.CreateContainer(ctx, &api.CreateContainerRequest{Pod: pod, Container: ctr})
	if err != nil {
		return nil, err
	}
	return response.GetAdjust(), nil
}

// pluginCounter is the adaptation's metrics sink, of which we need the number of plugins.
type pluginCounter struct{ r *Runtime }

func (pluginCounter) RecordPluginInvocation(string, string, error)      {}
func (pluginCounter) RecordPluginLatency(string, string, time.Duration) {}
func (pluginCounter) RecordPluginAdjustments(string, string, *api.ContainerAdjustment, int, int) {
}

func (c pluginCounter) UpdatePluginCount(n int) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	if n != c.r.plugins {
		c.r.plugins = n
		close(c.r.changed)
		c.r.changed = make(chan struct{})
	}
}
